"""From a photo to its Matte: an exported network in ONNX Runtime."""

import os
import threading
from functools import cache, cached_property
from pathlib import Path

from latefusion.devices import AUTO, Hardware
from latefusion.errors import LatefusionError
from latefusion.framing import Letterbox, check_side
from latefusion.lazy import EPSILON
from latefusion.matte import Matte
from latefusion.model_file import PACKAGED, ModelFile, read_model
from latefusion.reading import ImageSource, Photo, read_photo
from latefusion.runtimes import Network, OnnxNetwork


class Matter:
    """A network that is loaded once, at the first photo, and used for many.

    `model` is an exported .onnx file, with its sidecar .json beside it; None takes the package's.
    `size` is the longer side of the network's input, a multiple of 32; None takes the sidecar's.
    `threads` None leaves the number to ONNX Runtime. `device` is one of devices.DEVICES; the CPU
    steps in with a warning where it is not there, and with `strict` that is a DeviceError.
    `epsilon`: the fusion network runs where the branches disagree by that much, |fg + bg - 1|, so
    that alpha is within epsilon / 2 of the whole network's at the network's size, and within
    0.95 epsilon at any photo's; 0 runs it everywhere.
    Loading raises WeightsError and DeviceError, calls those and ImageError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        size: int | None = None,
        threads: int | None = None,
        device: str = AUTO,
        *,
        strict: bool = False,
        epsilon: float = EPSILON,
    ) -> None:
        if not (isinstance(epsilon, int | float) and 0 <= epsilon <= 1):
            raise LatefusionError(f"epsilon {epsilon} is not in 0..1; the default is {EPSILON:.4f}")
        self._path = PACKAGED if model is None else Path(model)
        self._size = size if size is None else check_side(size)
        self._hardware = Hardware(device, threads, strict)
        self._epsilon = epsilon
        self._lock = threading.Lock()
        self._loaded: OnnxNetwork | None = None

    def __call__(self, image: ImageSource) -> Matte:
        """The matte of a path, encoded bytes, a PIL image or a uint8 array, at the photo's size."""
        photo = read_photo(image)
        height, width = photo.image.shape[:2]
        return predict(self._network, photo, self.model.frame((height, width), self._size))

    @cached_property
    def model(self) -> ModelFile:
        """The checked file. Raises WeightsError."""
        return read_model(self._path)

    def load(self) -> None:
        """Load the network now, rather than at the first photo. Raises as a call does."""
        self._network  # noqa: B018

    @property
    def device(self) -> str:
        """Where the network runs, one of devices.DEVICES; loads it."""
        return self._network.device

    @property
    def _network(self) -> OnnxNetwork:
        with self._lock:  # the first photos of several threads load it once
            if self._loaded is None:
                self._loaded = OnnxNetwork(self.model, self._hardware, self._epsilon)
        return self._loaded


def predict(network: Network, photo: Photo, frame: Letterbox) -> Matte:
    """The whole way in any runtime: resize and pad, run, and bring alpha back."""
    pixels = frame.fit(photo.image)
    planes = network(pixels.transpose(2, 0, 1)[None])  # (1, 3, H, W)
    alpha = frame.restore(planes.alpha)
    if photo.opacity is not None:
        alpha *= photo.opacity
    return Matte(photo.image, alpha, planes, frame, photo.icc, photo.dpi)


@cache
def default_predictor() -> Matter:
    """The one Matter of the package's weights that `latefusion.matte` uses."""
    return Matter()


def matte(image: ImageSource) -> Matte:
    """The matte of a photo with the default weights; for settings of your own make a Matter.

    `image` is a path, encoded bytes, a PIL image or a uint8 RGB array. Raises ImageError.
    """
    return default_predictor()(image)
