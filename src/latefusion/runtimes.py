"""What runs a network: ONNX Runtime, OpenCV or PyTorch, each as one function from image to planes.

An image here is (1, 3, H, W) float32, RGB 0..255, H and W multiples of 32; the planes come by name.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from latefusion.errors import WeightsError
from latefusion.model_file import OUTPUTS, ModelFile

Planes: TypeAlias = dict[str, NDArray[np.float32]]  # name of the output -> (H, W) in [0, 1]
Network: TypeAlias = Callable[[NDArray[np.float32]], Planes]


CURE = "it is no network of latefusion, or not the one of its sidecar: export anew"
LONGEST = 160  # letters of a runtime's own words


def in_onnxruntime(model: ModelFile, threads: int | None = None) -> Network:
    """An .onnx file in ONNX Runtime; `threads` None leaves the number to it. WeightsError."""
    import onnxruntime  # slow, and not needed for --help
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    if model.path.suffix != ".onnx":
        raise WeightsError(f"{model.path} runs in OpenCV only; export with --target onnx")
    refusals = (
        *(runtime.Fail, runtime.InvalidGraph, runtime.InvalidProtobuf),
        *(runtime.InvalidArgument, runtime.NotImplemented),
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong comes as an exception
    options.intra_op_num_threads = threads or 0
    try:
        session = onnxruntime.InferenceSession(
            model.data, options, providers=["CPUExecutionProvider"]
        )
    except refusals as error:
        raise WeightsError(f"{model.path} does not load ({_one_line(error)}); {CURE}") from None
    missing = set(OUTPUTS) - {output.name for output in session.get_outputs()}
    if missing:
        raise WeightsError(f"{model.path} has no output {min(missing)}; {CURE}")

    def run(image: NDArray[np.float32]) -> Planes:
        try:
            found = session.run(OUTPUTS, {model.input_name: image})
        except (*refusals, ValueError) as error:  # ValueError: no input of that name
            raise WeightsError(f"{model.path} does not run ({_one_line(error)}); {CURE}") from None
        return _planes(model, found, image)

    return run


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


def in_pytorch(checkpoint: Path) -> Network:
    """A checkpoint, run as its stage runs it. Raises WeightsError."""
    import torch

    from latefusion.checkpoint import load_network, read_notes
    from latefusion.stages import stage_of

    network = load_network(checkpoint)
    stage = stage_of(read_notes(checkpoint), checkpoint)

    def run(image: NDArray[np.float32]) -> Planes:
        with torch.inference_mode():
            found = stage.forward(network, torch.from_numpy(image))
        return {name: getattr(found, name)[0, 0].numpy() for name in OUTPUTS}

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
    return {name: plane.reshape(size) for name, plane in zip(OUTPUTS, found, strict=True)}


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
