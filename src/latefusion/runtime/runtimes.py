"""Runtimes of exported networks: ONNX Runtime and OpenCV, each a function from image to planes.

An image here is (1, 3, H, W) float32 RGB with levels from 0 to 255, H and W multiples of 32.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from latefusion.errors import ImageError, WeightsError
from latefusion.images.levels import Plane
from latefusion.parallel import cores_for, usable_cores
from latefusion.runtime.devices import Hardware
from latefusion.runtime.lazy import EPSILON, Reach, Seam, fuse_lazily
from latefusion.runtime.model_file import OPENCV, WRITE_UP, ModelFile, fusion_file
from latefusion.runtime.planes import (
    BORDER,
    BRANCHES,
    INSIDE,
    OUTPUTS,
    PARTS,
    SEAM,
    WRITE_UP_MEAN,
    WRITE_UP_OUTPUTS,
    Planes,
)

Network: TypeAlias = Callable[[NDArray[np.float32]], Planes]


CURE = "it is not a network of latefusion, or does not match its sidecar: export again"
RUN_CURE = "check that it matches its sidecar and that the memory suffices for this input size"
LONGEST = 160  # characters quoted of a runtime's own message
DEFAULT = Hardware()


class OnnxNetwork:
    """An .onnx file in ONNX Runtime, with lazy fusion if it was exported for that.

    `epsilon` in [0, 1] is the doubt from which the fusion network runs (see `fuse_lazily`).
    `device` is the one in use. A call takes an image and returns its planes.

    Raises WeightsError and DeviceError.
    """

    def __init__(
        self, model: ModelFile, hardware: Hardware = DEFAULT, epsilon: float = EPSILON
    ) -> None:
        if model.path.suffix != ".onnx" or (model.target == OPENCV and model.fusion):
            cure = "export with --target onnx or lazy"
            raise WeightsError(f"{model.path} runs in OpenCV only; {cure}")
        _limit_opencv()
        self.model = model
        self.epsilon = epsilon
        providers = hardware.providers(_available_providers())
        self._main = _Session(model.path, model.data, providers, hardware.threads)
        self._main.check(PARTS if model.fusion else OUTPUTS)
        self._fusion = model.fusion and _Session(
            fusion_file(model.path), model.fusion, providers, hardware.threads
        )
        sessions = [self._main, self._fusion] if self._fusion else [self._main]
        self.device = hardware.device_in_use(providers[0], [found.provider for found in sessions])

    def __call__(self, image: NDArray[np.float32]) -> Planes:
        if image.shape[:2] != (1, 3):
            raise ImageError(f"a network takes one image, (1, 3, H, W), not {image.shape}")
        if self._fusion:
            fg, bg, seam = self.branches(image)
            reach = Reach(*self.model.card["fusion"]["reach"])
            return fuse_lazily(fg, bg, seam, self.blend, reach, self.epsilon)
        found = self._main.run(OUTPUTS, {self.model.input_name: image})
        return _planes(self.model, found, image)

    def branches(self, image: NDArray[np.float32]) -> tuple[Plane, Plane, Seam]:
        """Run the first file of two: F and B (H, W), and the seam."""
        fg, bg, *seam = self._main.run(PARTS, {self.model.input_name: image})
        if fg.shape != (1, 1, *image.shape[2:]) or bg.shape != fg.shape:
            raise WeightsError(f"{self.model.path} returns fg as {fg.shape}; {CURE}")
        return fg[0, 0], bg[0, 0], Seam(*seam)

    def blend(self, seam: Seam) -> NDArray[np.float32]:
        """Run the second file of two: the blending weight (N, 1, h, w) of N parts of an image."""
        assert self._fusion
        return self._fusion.run(["blend"], dict(zip(SEAM, seam, strict=True)))[0]


class _Session:
    """A session of ONNX Runtime that raises its errors as WeightsErrors of one line."""

    def __init__(
        self, path: Path, data: bytes, providers: Sequence[str], threads: int | None
    ) -> None:
        import onnxruntime  # imported here because it is slow, and --help does not need it
        from onnxruntime.capi import onnxruntime_pybind11_state as runtime

        self._path = path
        self._refusals = (
            *(runtime.Fail, runtime.InvalidGraph, runtime.InvalidProtobuf),
            *(runtime.InvalidArgument, runtime.NotImplemented, runtime.RuntimeException),
            *(runtime.EPFail, MemoryError),
        )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised as exceptions anyway
        # Never left to ONNX Runtime, which counts the machine's cores and binds a thread to each.
        options.intra_op_num_threads = cores_for(threads)
        # Memory patterns keep a plan for each input size: 60 MB for a folder, and no gain in speed.
        options.enable_mem_pattern = False
        # The two sessions of lazy fusion take turns: idle threads of one would slow down the other.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                # With the processor alone, a second try would print to stdout, and fail, too.
                data,
                options,
                providers=providers,
                enable_fallback=int(len(providers) > 1),
            )
        except (*self._refusals, ValueError) as error:  # ValueError: its message is not text
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
                f"{self._path} does not run ({_one_line(error)}); {RUN_CURE}"
            ) from None
        return found


def _available_providers() -> list[str]:
    import onnxruntime

    available: list[str] = onnxruntime.get_available_providers()
    return available


def in_opencv(model: ModelFile) -> Network:
    """Load a file for OpenCV in its dnn module: of fixed size, or two of any. Raises WeightsError.

    Of two files the fusion network runs everywhere.
    """
    if model.fusion and model.target == OPENCV:
        return _two_in_opencv(model)
    if model.size is None:
        raise WeightsError(
            f"{model.path} has no fixed size, which OpenCV needs; export with --target opencv"
        )
    net = _OpenCVNet(model.path, model.data, model.text)

    def run(image: NDArray[np.float32]) -> Planes:
        return _planes(model, net.run({model.input_name: image}, OUTPUTS), image)

    def run_as_program(image: NDArray[np.float32]) -> Planes:
        mean = np.array(WRITE_UP_MEAN, np.float32).reshape(3, 1, 1)
        fg, bg, blend = net.run({model.input_name: image - mean}, WRITE_UP_OUTPUTS)
        return _planes(model, [blend * fg + (1 - blend) * (1 - bg), fg, bg, blend], image)

    return run_as_program if model.target == WRITE_UP else run


def _two_in_opencv(model: ModelFile) -> Network:
    """The two files of any size: as the C++ library runs them, but for its bound of the error."""
    assert model.fusion
    branches = _OpenCVNet(model.path, model.data)
    # Parts inside the image and at its border have their own network: OpenCV sets up for one size.
    inside, border = (_OpenCVNet(fusion_file(model.path), model.fusion) for _ in range(2))
    outputs = (INSIDE[1], BORDER[1])

    def blend(seam: Seam) -> NDArray[np.float32]:
        nothing = np.zeros((1, *seam.features.shape[1:2], 4, 4), np.float32)
        found = []
        for part in seam.features[:, None]:
            if len(seam.rows):
                given = {INSIDE[0]: nothing, BORDER[0]: part}
                found.append(border.run(given, outputs)[1])
            else:
                found.append(inside.run({INSIDE[0]: part, BORDER[0]: nothing}, outputs)[0])
        return np.concatenate(found)

    def run(image: NDArray[np.float32]) -> Planes:
        fg, bg, features = branches.run({model.input_name: image}, BRANCHES)
        height, width = image.shape[2:]
        edges = np.empty((1, 0, 2, width), np.float32), np.empty((1, 0, height, 2), np.float32)
        reach = Reach(*model.card["fusion"]["reach"])
        return fuse_lazily(fg[0, 0], bg[0, 0], Seam(features, *edges), blend, reach, epsilon=0)

    return run


class _OpenCVNet:
    """A file in OpenCV's dnn module that raises its errors as WeightsErrors of one line."""

    def __init__(self, path: Path, data: bytes, text: bytes | None = None) -> None:
        import cv2

        self._path = path
        read = {".onnx": "readNetFromONNX", ".pb": "readNetFromTensorflow"}[path.suffix]
        if not hasattr(cv2.dnn, read):
            raise WeightsError(
                f"OpenCV {cv2.__version__} has no TensorFlow reader; export with --target opencv"
            )
        parts = [np.frombuffer(part, np.uint8) for part in ((data, text) if text else (data,))]
        try:
            with _silent_opencv():
                self._net = getattr(cv2.dnn, read)(*parts)
        except cv2.error as error:
            raise WeightsError(f"{path} does not load ({_one_line(error)}); {CURE}") from None

    def run(
        self, given: dict[str, NDArray[np.float32]], outputs: Sequence[str]
    ) -> Sequence[NDArray[np.float32]]:
        import cv2

        try:
            with _silent_opencv():
                for name, values in given.items():
                    self._net.setInput(values, name)
                # OpenCV 5 requires the names of all outputs.
                found: Sequence[NDArray[np.float32]] = self._net.forward(list(outputs))
        except cv2.error as error:
            raise WeightsError(f"{self._path} does not run ({_one_line(error)}); {CURE}") from None
        return found


def _planes(
    model: ModelFile, found: Sequence[NDArray[np.float32]], image: NDArray[np.float32]
) -> Planes:
    """Reshape the outputs to (H, W), whatever axes of length 1 they have. Raises WeightsError."""
    size = image.shape[2:]
    for name, plane in zip(OUTPUTS, found, strict=True):
        if plane.size != size[0] * size[1]:
            raise WeightsError(
                f"{model.path} returns {name} as {plane.shape} for an image of {size[0]} x"
                f" {size[1]}; {CURE}"
            )
    alpha, fg, bg, blend = (plane.reshape(size) for plane in found)
    return Planes(alpha, fg, bg, blend)


def _limit_opencv() -> None:
    """Lower OpenCV's number of threads, which may be the machine's, to the usable cores."""
    import cv2

    if cv2.getNumThreads() > usable_cores():
        cv2.setNumThreads(usable_cores())


@contextmanager
def _silent_opencv() -> Iterator[None]:
    """Silence OpenCV's log on stderr, which repeats the exception that it raises."""
    import cv2

    logging = getattr(cv2.utils, "logging", cv2)  # moved between OpenCV 4.7 and 4.14
    level = logging.getLogLevel()
    logging.setLogLevel(0)
    try:
        yield
    finally:
        logging.setLogLevel(level)


def _one_line(error: Exception) -> str:
    line = " ".join(str(error).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
