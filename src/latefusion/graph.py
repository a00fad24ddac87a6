"""A network as an ONNX graph: of any size for ONNX Runtime, of one size for OpenCV."""

import warnings
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from latefusion.framing import Size
from latefusion.model.matting import MattingNetwork
from latefusion.model_file import OUTPUTS
from latefusion.stages import Stage

INPUT = "image"
DYNAMIC_OPSET = 17
# OpenCV 4.6 reads neither Clip nor Pad with inputs in place of attributes, as from opset 11 on.
FIXED_OPSET = 10
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


def dynamic_graph(named: Named) -> onnx.ModelProto:
    """With dynamic batch, height and width; kernels as the checkpoint holds them.

    Composed kernels and batch norms are left to the runtime, which folds them when it loads.
    """
    axes = {0: "batch", 2: "height", 3: "width"}
    dynamic = dict.fromkeys((INPUT, *OUTPUTS), axes)
    return _trace(named, (64, 96), DYNAMIC_OPSET, dynamic_axes=dynamic)


def fixed_graph(named: Named, size: Size) -> onnx.ModelProto:
    """For one image of `size` (H, W), in what all OpenCVs from 4.6 on read.

    That is: no dynamic shapes, and nothing computed from constants alone. ONNX Runtime folds those
    beforehand; only the batch norms stay apart, so that kernels keep what fp16 can store.
    """
    traced = _trace(named, size, FIXED_OPSET)
    with TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        basic = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.graph_optimization_level = basic
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        onnxruntime.InferenceSession(
            traced.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["ConvBNFusion"],
        )
        folded = onnx.load(options.optimized_model_filepath)
    standard = [opset for opset in folded.opset_import if not opset.domain]
    del folded.opset_import[:]  # ONNX Runtime lists all that it knows
    folded.opset_import.extend(standard)
    onnx.checker.check_model(folded)
    return folded


def _trace(named: Named, size: Size, opset: int, **options: Any) -> onnx.ModelProto:
    buffer = BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, warns of what it calls itself, and of Resize before
        # opset 11, which doubles pixels as PyTorch does. What comes out is tried by `export`.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            named,
            (torch.zeros(1, 3, *size),),
            buffer,  # type: ignore[arg-type]  # the tracing exporter writes to any binary file
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            opset_version=opset,
            dynamo=False,
            do_constant_folding=False,
            **options,
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
        with np.errstate(over="ignore"):  # what fp16 cannot hold is infinite: the check sees it
            half = values.astype(np.float16)
        constant.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
