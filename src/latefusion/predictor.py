"""From a photo to its Matte: the exported network in ONNX Runtime."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latefusion.errors import LatefusionError, WeightsError
from latefusion.framing import check_side, letterbox
from latefusion.image import ImageSource, read_photo
from latefusion.matte import Matte

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from onnxruntime import InferenceSession

FORMAT = "latefusion-onnx/1"
OUTPUTS = ("alpha", "fg", "bg", "blend")


@dataclass(frozen=True)
class Weights:
    """An ONNX file, checked against its sidecar."""

    name: str
    onnx: bytes
    input_name: str
    side: int  # the longer side that photos are brought to by default


class Predictor:
    """A network that is loaded once, at the first photo, and used for many.

    `model` is the .onnx file, with its sidecar .json beside it; None takes the package's weights.
    `size` is the longer side of the network's input, a multiple of 32; None takes the sidecar's.
    `threads` None leaves the number to ONNX Runtime. Calls raise ImageError and WeightsError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        size: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._model = model if model is None else Path(model)
        self._size = size if size is None else check_side(size)
        self._threads = threads

    def __call__(self, image: ImageSource) -> Matte:
        """The matte of a path, encoded bytes, a PIL image or a uint8 array, at the photo's size."""
        photo = read_photo(image)
        height, width = photo.image.shape[:2]
        frame = letterbox((height, width), self._size or self.weights.side)
        pixels = frame.fit(photo.image).astype(np.float32)  # 0 to 255
        batch = pixels.transpose(2, 0, 1)[None]  # (1, 3, H, W)
        found = self._session.run(OUTPUTS, {self.weights.input_name: batch})
        alpha, fg, bg, blend = (frame.restore(plane[0, 0]) for plane in found)
        if photo.opacity is not None:
            alpha *= photo.opacity
        return Matte(photo.image, alpha, fg, bg, blend, photo.icc)

    @cached_property
    def weights(self) -> Weights:
        """The checked weights. Raises WeightsError."""
        if self._model is None:
            return load_weights(files("latefusion") / "weights", "lite")
        if self._model.suffix != ".onnx":
            raise WeightsError(f"{self._model} is no .onnx file; `latefusion export` makes one")
        return load_weights(self._model.parent, self._model.stem)

    @cached_property
    def _session(self) -> "InferenceSession":
        import onnxruntime  # slow, and not needed for --help
        from onnxruntime.capi import onnxruntime_pybind11_state as runtime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        options.intra_op_num_threads = self._threads or 0
        try:
            session = onnxruntime.InferenceSession(
                self.weights.onnx, options, providers=["CPUExecutionProvider"]
            )
        except (runtime.Fail, runtime.InvalidGraph, runtime.InvalidProtobuf,
                runtime.InvalidArgument, runtime.NotImplemented) as error:  # fmt: skip
            reason = " ".join(str(error).split())
            raise WeightsError(f"{self.weights.name} does not load: {reason}") from None
        missing = set(OUTPUTS) - {output.name for output in session.get_outputs()}
        if missing:
            raise WeightsError(f"{self.weights.name} has no output {min(missing)}; export it anew")
        return session


@cache
def default_predictor() -> Predictor:
    """The one Predictor of the package's weights that `latefusion.matte` uses."""
    return Predictor()


def matte(image: ImageSource) -> Matte:
    """The matte of a photo with the default weights; for settings of your own make a Predictor.

    `image` is a path, encoded bytes, a PIL image or a uint8 RGB array. Raises ImageError.
    """
    return default_predictor()(image)


def load_weights(folder: "Traversable", stem: str) -> Weights:
    """`stem`.onnx and `stem`.json of a folder, checked against each other. Raises WeightsError."""
    onnx = _read(folder / f"{stem}.onnx", "give the path of an exported .onnx file")
    name = str(folder / f"{stem}.json")
    text = _read(folder / f"{stem}.json", "an exported .onnx file needs its sidecar beside it")
    try:
        sidecar = json.loads(text)
        weights = Weights(
            name=str(folder / f"{stem}.onnx"),
            onnx=onnx,
            input_name=str(sidecar["input"]["name"]),
            side=check_side(max(sidecar["input"]["size"])),
        )
        written_as, sha256 = sidecar["format"], sidecar["sha256"]
    except (ValueError, KeyError, TypeError, LatefusionError) as error:
        raise WeightsError(
            f"{name} is not a sidecar of latefusion ({error}); export it anew"
        ) from None
    if written_as != FORMAT:
        raise WeightsError(f"{name} has the format {written_as}; this version reads {FORMAT}")
    if hashlib.sha256(onnx).hexdigest() != sha256:
        raise WeightsError(
            f"{weights.name} is not the file of its sidecar (sha256); copy both anew"
        )
    return weights


def _read(file: "Traversable", cure: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise WeightsError(f"{file} cannot be read: {error.strerror}; {cure}") from None
