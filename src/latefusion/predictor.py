"""From a photo to its Matte: an exported network in ONNX Runtime."""

import os
from functools import cache, cached_property
from pathlib import Path

from latefusion.framing import Letterbox, check_side
from latefusion.image import ImageSource, Photo, read_photo
from latefusion.matte import Matte
from latefusion.model_file import PACKAGED, ModelFile, read_model
from latefusion.runtimes import Network, in_onnxruntime


class Predictor:
    """A network that is loaded once, at the first photo, and used for many.

    `model` is an exported .onnx file, with its sidecar .json beside it; None takes the package's.
    `size` is the longer side of the network's input, a multiple of 32; None takes the sidecar's.
    `threads` None leaves the number to ONNX Runtime. Calls raise ImageError and WeightsError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        size: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._path = PACKAGED if model is None else Path(model)
        self._size = size if size is None else check_side(size)
        self._threads = threads

    def __call__(self, image: ImageSource) -> Matte:
        """The matte of a path, encoded bytes, a PIL image or a uint8 array, at the photo's size."""
        photo = read_photo(image)
        height, width = photo.image.shape[:2]
        return predict(self._network, photo, self.model.frame((height, width), self._size))

    @cached_property
    def model(self) -> ModelFile:
        """The checked file. Raises WeightsError."""
        return read_model(self._path)

    @cached_property
    def _network(self) -> Network:
        return in_onnxruntime(self.model, self._threads)


def predict(network: Network, photo: Photo, frame: Letterbox) -> Matte:
    """The whole way in any runtime: resize and pad, run, and bring the planes back."""
    pixels = frame.fit(photo.image)
    planes = network(pixels.transpose(2, 0, 1)[None])  # (1, 3, H, W)
    alpha, fg, bg, blend = (frame.restore(planes[name]) for name in ("alpha", "fg", "bg", "blend"))
    if photo.opacity is not None:
        alpha *= photo.opacity
    return Matte(photo.image, alpha, fg, bg, blend, photo.icc)


@cache
def default_predictor() -> Predictor:
    """The one Predictor of the package's weights that `latefusion.matte` uses."""
    return Predictor()


def matte(image: ImageSource) -> Matte:
    """The matte of a photo with the default weights; for settings of your own make a Predictor.

    `image` is a path, encoded bytes, a PIL image or a uint8 RGB array. Raises ImageError.
    """
    return default_predictor()(image)
