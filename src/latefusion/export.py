"""Export: a checkpoint becomes one ONNX file and its sidecar, checked before either is kept."""

import hashlib
import json
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from latefusion.checkpoint import load_network, read_notes
from latefusion.complexity import gmac_per_part, parameters_per_part
from latefusion.errors import OutputError, WeightsError
from latefusion.image import whole_file
from latefusion.model.matting import PRESETS, MattingNetwork
from latefusion.stages import STAGES, Stage

FORMAT = "latefusion-onnx/1"
OPSET = 17
OUTPUTS = ("alpha", "fg", "bg", "blend")
TOLERANCE = 2e-3  # alpha, exported against PyTorch; half-precision storage alone costs 5e-4
SMALL = 64  # constants with fewer values stay in single precision


class Named(nn.Module):
    """The network, run as its stage runs it, with only the outputs that an exported file has."""

    def __init__(self, network: MattingNetwork, stage: Stage) -> None:
        super().__init__()
        self.network = network
        self.run = stage.forward

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        output = self.run(self.network, image)
        return output.alpha, output.fg, output.bg, output.blend


def export_onnx(source: Path, target: Path, size: tuple[int, int], extra: dict[str, Any]) -> Path:
    """Write `target` (.onnx, dynamic batch, height and width, fp16 storage) and its .json sidecar.

    `size` (H, W) is the recommended box for photos; `extra` is copied into the sidecar. The file
    is run in ONNX Runtime and compared with PyTorch first. Raises WeightsError where alpha differs
    by more than 2e-3, and OutputError.
    """
    if target.suffix != ".onnx":
        raise OutputError(f"{target} does not end in .onnx; use {target.with_suffix('.onnx')}")
    network, notes = load_network(source), read_notes(source)
    named = Named(network, STAGES[notes.get("stage", "joint")]).eval()
    graph = make_graph(named)
    check(named, graph)
    card = sidecar(network, graph, size, notes) | extra
    with whole_file(target) as file, whole_file(target.with_suffix(".json")) as card_file:
        file.write(graph)
        card_file.write((json.dumps(card, indent=2) + "\n").encode())
    return target


def read_card(path: Path) -> dict[str, Any]:
    """A JSON object for the sidecar. Raises WeightsError for anything else."""
    try:
        card = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is no readable JSON: {error}") from error
    if not isinstance(card, dict):
        raise WeightsError(f"{path} holds no JSON object; give one with training, dev and terms")
    return card


def make_graph(named: Named) -> bytes:
    """The network as an ONNX file's bytes, weights stored in half precision, computed in single."""
    axes = {0: "batch", 2: "height", 3: "width"}
    buffer = BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter is deprecated as a whole; no other warning is expected of it.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.onnx")
        torch.onnx.export(
            named,
            (torch.zeros(1, 3, 64, 96),),
            buffer,
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_axes={name: axes for name in ("image", *OUTPUTS)},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    store_half(model.graph)
    onnx.checker.check_model(model)
    encoded: bytes = model.SerializeToString()
    return encoded


def store_half(graph: onnx.GraphProto) -> None:
    """Large float32 constants become float16 ones behind a Cast, which runtimes fold at loading."""
    casts = []
    for constant in graph.initializer:
        values = numpy_helper.to_array(constant)
        if constant.data_type != TensorProto.FLOAT or values.size < SMALL:
            continue
        name = constant.name
        with np.errstate(over="ignore"):  # a value beyond fp16 becomes infinite, which check() finds
            half = values.astype(np.float16)
        constant.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)


def check(named: Named, graph: bytes) -> None:
    """Run the graph on made-up pictures of odd proportions and compare alpha. Raises WeightsError."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for height, width in ((64, 64), (160, 96), (96, 224)):
        coarse = rng.uniform(0, 255, (2, 3, height // 16, width // 16)).astype(np.float32)
        image = coarse.repeat(16, axis=2).repeat(16, axis=3)
        alpha = session.run(["alpha"], {"image": image})[0]
        with torch.inference_mode():
            expected = named(torch.from_numpy(image))[0].numpy()
        worst = float(np.abs(alpha - expected).max())
        if not worst <= TOLERANCE:
            raise WeightsError(
                f"the exported graph differs from PyTorch by {worst:.2g} at {height}x{width}; "
                f"at most {TOLERANCE} is accepted, nothing was kept"
            )


def sidecar(
    network: MattingNetwork, graph: bytes, size: tuple[int, int], notes: dict[str, str]
) -> dict[str, Any]:
    """What a reader of the exported file must know, as the JSON beside it."""
    names = [name for name, config in PRESETS.items() if config == network.config]
    return {
        "format": FORMAT,
        "preset": names[0] if names else "custom",
        "input": {
            "name": "image",
            "layout": "NCHW",
            "channels": "RGB",
            "range": [0, 255],
            "multiple": 32,
            "size": list(size),
        },
        "outputs": list(OUTPUTS),
        "sha256": hashlib.sha256(graph).hexdigest(),
        "parameters": sum(parameters_per_part(network).values()),
        "gmac_512": round(sum(gmac_per_part(network).values()), 2),
        "opset": OPSET,
        "stage": notes.get("stage", "joint"),
    }
