"""What runs a network: ONNX Runtime, OpenCV or PyTorch, each as one function from image to planes.

An image here is (1, 3, H, W) float32, RGB 0..255, H and W multiples of 32.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from latefusion.errors import ImageError, WeightsError
from latefusion.images.levels import Plane
from latefusion.runtime.devices import Hardware
from latefusion.runtime.lazy import EPSILON, Reach, Seam, fuse_lazily
from latefusion.runtime.model_file import ModelFile, fusion_file
from latefusion.runtime.planes import OUTPUTS, PARTS, SEAM, Planes

Network: TypeAlias = Callable[[NDArray[np.float32]], Planes]


CURE = "it is no network of latefusion, or not the one of its sidecar: export anew"
AT_WORK = "is it the network of its sidecar, and is there memory for an input of that size?"
LONGEST = 160  # letters of a runtime's own words
DEFAULT = Hardware()


class OnnxNetwork:
    """An .onnx file in ONNX Runtime, lazily fused where it was exported for that.

    Raises WeightsError, DeviceError.
    """

    def __init__(
        self, model: ModelFile, hardware: Hardware = DEFAULT, epsilon: float = EPSILON
    ) -> None:
        if model.path.suffix != ".onnx":
            raise WeightsError(f"{model.path} runs in OpenCV only; export with --target onnx")
        self.model = model
        self.epsilon = epsilon
        providers = hardware.providers(_available_providers())
        self._main = _Session(model.path, model.data, providers, hardware.threads)
        self._main.check(PARTS if model.fusion else OUTPUTS)
        self._fusion = model.fusion and _Session(
            fusion_file(model.path), model.fusion, providers, hardware.threads
        )
        sessions = [self._main, self._fusion] if self._fusion else [self._main]
        self.device = hardware.settle(providers[0], [session.provider for session in sessions])

    def __call__(self, image: NDArray[np.float32]) -> Planes:
        if image.shape[:2] != (1, 3):
            raise ImageError(f"networks take one image, (1, 3, H, W), not {image.shape}")
        if self._fusion:
            fg, bg, seam = self.branches(image)
            reach = Reach(*self.model.card["fusion"]["reach"])
            return fuse_lazily(fg, bg, seam, self.blend, reach, self.epsilon)
        found = self._main.run(OUTPUTS, {self.model.input_name: image})
        return _planes(self.model, found, image)

    def branches(self, image: NDArray[np.float32]) -> tuple[Plane, Plane, Seam]:
        """F and B (H, W), and the seam: the first file of two."""
        fg, bg, *seam = self._main.run(PARTS, {self.model.input_name: image})
        if fg.shape != (1, 1, *image.shape[2:]) or bg.shape != fg.shape:
            raise WeightsError(f"{self.model.path} gives fg as {fg.shape}; {CURE}")
        return fg[0, 0], bg[0, 0], Seam(*seam)

    def blend(self, seam: Seam) -> NDArray[np.float32]:
        """The blending weight (N, 1, h, w) of N parts of an image: the second file of two."""
        assert self._fusion
        return self._fusion.run(["blend"], dict(zip(SEAM, seam, strict=True)))[0]


class _Session:
    """A session of ONNX Runtime whose errors are WeightsErrors of one line."""

    def __init__(
        self, path: Path, data: bytes, providers: Sequence[str], threads: int | None
    ) -> None:
        import onnxruntime  # slow, and not needed for --help
        from onnxruntime.capi import onnxruntime_pybind11_state as runtime

        self._path = path
        self._refusals = (
            *(runtime.Fail, runtime.InvalidGraph, runtime.InvalidProtobuf),
            *(runtime.InvalidArgument, runtime.NotImplemented, runtime.RuntimeException),
            *(runtime.EPFail, MemoryError),
        )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is wrong comes as an exception
        options.intra_op_num_threads = int(threads or 0)
        # A plan of the memory for each size met, kept for ever: of a folder's sizes, 60 MB, and no
        # quicker.
        options.enable_mem_pattern = False
        # The two sessions of lazy fusion take turns: idle threads of one would slow the other.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=providers)
        except self._refusals as error:
            raise WeightsError(f"{path} does not load ({_one_line(error)}); {CURE}") from None
        self.provider: str = self._session.get_providers()[0]

    def check(self, outputs: Sequence[str]) -> None:
        missing = set(outputs) - {output.name for output in self._session.get_outputs()}
        if missing:
            raise WeightsError(f"{self._path} has no output {min(missing)}; {CURE}")

    def run(
        self, outputs: Sequence[str], given: dict[str, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        try:
            found: list[NDArray[np.float32]] = self._session.run(outputs, given)
        except (*self._refusals, ValueError) as error:  # ValueError: no input of that name
            raise WeightsError(
                f"{self._path} does not run ({_one_line(error)}); {AT_WORK}"
            ) from None
        return found


def _available_providers() -> list[str]:
    import onnxruntime

    available: list[str] = onnxruntime.get_available_providers()
    return available


def in_opencv(model: ModelFile) -> Network:
    """An .onnx or .pb file of fixed size in OpenCV's dnn module. WeightsError."""
    import cv2

    if model.size is None:
        raise WeightsError(
            f"{model.path} has no fixed size, which OpenCV needs; export with --target opencv"
        )
    read = {".onnx": "readNetFromONNX", ".pb": "readNetFromTensorflow"}[model.path.suffix]
    if not hasattr(cv2.dnn, read):
        raise WeightsError(
            f"OpenCV {cv2.__version__} has no TensorFlow reader; export with --target opencv"
        )
    try:
        with _silent_opencv():
            net = getattr(cv2.dnn, read)(np.frombuffer(model.data, np.uint8))
    except cv2.error as error:
        raise WeightsError(f"{model.path} does not load ({_one_line(error)}); {CURE}") from None

    def run(image: NDArray[np.float32]) -> Planes:
        try:
            with _silent_opencv():
                net.setInput(image, model.input_name)
                found = net.forward(list(OUTPUTS))  # OpenCV 5 wants every output named
        except cv2.error as error:
            raise WeightsError(f"{model.path} does not run ({_one_line(error)}); {CURE}") from None
        return _planes(model, found, image)

    return run


def _planes(
    model: ModelFile, found: Sequence[NDArray[np.float32]], image: NDArray[np.float32]
) -> Planes:
    """The outputs as (H, W), wherever the axes of length 1 are. Raises WeightsError."""
    size = image.shape[2:]
    for name, plane in zip(OUTPUTS, found, strict=True):
        if plane.size != size[0] * size[1]:
            raise WeightsError(
                f"{model.path} gives {name} as {plane.shape} for an image of {size[0]} x {size[1]};"
                f" {CURE}"
            )
    alpha, fg, bg, blend = (plane.reshape(size) for plane in found)
    return Planes(alpha, fg, bg, blend)


@contextmanager
def _silent_opencv() -> Iterator[None]:
    """Without what OpenCV logs on stderr beside the exception that it raises."""
    import cv2

    logging = getattr(cv2.utils, "logging", cv2)  # it moved between 4.7 and 4.14
    level = logging.getLogLevel()
    logging.setLogLevel(0)
    try:
        yield
    finally:
        logging.setLogLevel(level)


def _one_line(error: Exception) -> str:
    line = " ".join(str(error).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
