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
from latefusion.framing import check_side
from latefusion.image import whole_file
from latefusion.model.matting import PRESETS, MattingNetwork
from latefusion.predictor import FORMAT, OUTPUTS
from latefusion.stages import STAGES, Stage

OPSET = 17
EXACT = 1e-4  # alpha in the exported graph against PyTorch, both in single precision
ONE_LEVEL = 1 / 255  # alpha after the constants have been rounded to half precision
SMALL = 4000  # constants with fewer values, biases and composed heads, stay in single precision


class Named(nn.Module):
    """The network, run as its stage runs it, with only the outputs that an exported file has."""

    def __init__(self, network: MattingNetwork, stage: Stage) -> None:
        super().__init__()
        self.network = network
        self.run = stage.forward

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        output = self.run(self.network, image)
        return output.alpha, output.fg, output.bg, output.blend


def export_onnx(source: Path, target: Path, size: int | None, extra: dict[str, Any]) -> Path:
    """Write `target` (.onnx, dynamic batch, height and width, fp16 storage) and its .json sidecar.

    `size` is the longer side that photos are brought to by default, that of the training where it
    is None; `extra` is added to the sidecar. The file is run in ONNX Runtime and compared with
    PyTorch first: the graph within 1e-4, and within one 8-bit level once its constants are in half
    precision. Raises WeightsError and OutputError.
    """
    if target.suffix != ".onnx":
        raise OutputError(f"{target} does not end in .onnx; use {target.with_suffix('.onnx')}")
    network, notes = load_network(source), read_notes(source)
    side = check_side(size or int(notes.get("input_side", 512)))
    named = Named(network, STAGES[notes.get("stage", "joint")]).eval()
    model = make_graph(named)
    check(named, model.SerializeToString(), EXACT)
    store_half(model.graph)
    graph = model.SerializeToString()
    check(named, graph, ONE_LEVEL)
    card = extra | sidecar(network, graph, side, notes)
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


def make_graph(named: Named) -> onnx.ModelProto:
    """The network as an ONNX graph with dynamic batch, height and width."""
    axes = {0: "batch", 2: "height", 3: "width"}
    buffer = BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, and so are functions that it calls itself.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message="Constant folding")  # it leaves such nodes be
        torch.onnx.export(
            named,
            (torch.zeros(1, 3, 64, 96),),
            buffer,  # type: ignore[arg-type]  # the tracing exporter writes to any binary file
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_axes=dict.fromkeys(("image", *OUTPUTS), axes),
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(model)
    return model


def store_half(graph: onnx.GraphProto) -> None:
    """Large float32 constants become float16 ones behind a Cast, which runtimes fold at loading."""
    casts = []
    for constant in graph.initializer:
        values = numpy_helper.to_array(constant)
        if constant.data_type != TensorProto.FLOAT or values.size < SMALL:
            continue
        name = constant.name
        with np.errstate(over="ignore"):  # what fp16 cannot hold is infinite: check() sees it
            half = values.astype(np.float16)
        constant.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)


def check(named: Named, graph: bytes, tolerance: float) -> None:
    """Run the graph on made-up pictures of odd proportions; WeightsError where alpha differs."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for height, width in ((64, 64), (160, 96), (96, 224)):
        coarse = rng.uniform(0, 255, (2, 3, height // 16, width // 16)).astype(np.float32)
        image = coarse.repeat(16, axis=2).repeat(16, axis=3)
        alpha = session.run(["alpha"], {"image": image})[0]
        with torch.inference_mode():
            expected = named(torch.from_numpy(image))[0].numpy()
        worst = float(np.abs(alpha - expected).max())
        if not worst <= tolerance:
            raise WeightsError(
                f"the exported graph differs from PyTorch by {worst:.2g} at {height}x{width}; "
                f"at most {tolerance:.2g} is accepted, nothing was kept"
            )


def sidecar(
    network: MattingNetwork, graph: bytes, side: int, notes: dict[str, str]
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
            "size": [side, side],
        },
        "outputs": list(OUTPUTS),
        "sha256": hashlib.sha256(graph).hexdigest(),
        "parameters": sum(parameters_per_part(network).values()),
        "gmac_512": round(sum(gmac_per_part(network).values()), 2),
        "opset": OPSET,
        "stage": notes.get("stage", "joint"),
    }
