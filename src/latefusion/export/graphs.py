"""The network as an ONNX graph: of any size for ONNX Runtime, of a fixed size for OpenCV."""

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from latefusion.errors import WeightsError
from latefusion.export.any_size import (
    SizelessBlend,
    SizelessBranches,
    begins_at_the_end,
    first_needed_first,
)
from latefusion.images.framing import Size
from latefusion.model.folded import FoldedNetwork, edged, fold
from latefusion.model.matting import MattingNetwork
from latefusion.runtime.planes import (
    BORDER,
    BRANCHES,
    INSIDE,
    OUTPUTS,
    PARTS,
    SEAM,
    WRITE_UP_MEAN,
    WRITE_UP_OUTPUTS,
)
from latefusion.training.stages import Stage

INPUT = "image"
DYNAMIC_OPSET = 17
# From opset 11 on, Clip and Pad have inputs in place of attributes, which OpenCV 4.6 cannot read.
FIXED_OPSET = 10
SMALL = 4000  # constants with fewer values (biases, composed heads) stay in single precision


class Named(nn.Module):
    """The network, run as in its stage, with only the outputs that an exported file has."""

    def __init__(self, network: MattingNetwork, stage: Stage) -> None:
        super().__init__()
        self.network = network
        self.run = stage.forward

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        output = self.run(self.network, image)
        return output.alpha, output.fg, output.bg, output.blend


class Centred(nn.Module):
    """The network as the write-up's program runs it: an image minus the mean in, no alpha out."""

    mean: Tensor

    def __init__(self, named: Named) -> None:
        super().__init__()
        self.named = named
        self.register_buffer("mean", torch.tensor(WRITE_UP_MEAN).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, fg, bg, blend = self.named(image + self.mean)
        return fg, bg, blend


class Folded(nn.Module):
    """The folded network, with the outputs of Named."""

    def __init__(self, network: MattingNetwork, stage: Stage) -> None:
        super().__init__()
        self.network = fold(network)
        self.fuses = stage.fuses

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        if self.fuses:
            return tuple(self.network(image))
        fg, bg, _ = self.network.branches(image)
        blend = torch.full_like(fg, 0.5)
        return blend * fg + (1 - blend) * (1 - bg), fg, bg, blend


class Branches(nn.Module):
    """The first half of a folded network for lazy fusion."""

    def __init__(self, network: FoldedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        fg, bg, seam = self.network.branches(image)
        return fg, bg, *seam


class Blend(nn.Module):
    """The second half of a folded network for lazy fusion.

    `rows` (B, C, 2, w) and `columns` (B, C, h, 2) replace the edges of the first features; with
    B = 0 these stay as they are.
    """

    def __init__(self, network: FoldedNetwork) -> None:
        super().__init__()
        self.fusion = network.fusion
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scripting is deprecated, but exports an if as an If
            self.edged = torch.jit.script(edged_where_given)

    def forward(self, features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return self.fusion.finish(self.edged(self.fusion.begin(features), rows, columns))


def edged_where_given(y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply `edged`, or return y if the batch of `rows` is empty."""
    if rows.shape[0] > 0:
        y = edged(y, rows, columns)
    return y


def dynamic_graph(network: MattingNetwork, stage: Stage) -> onnx.ModelProto:
    """Trace the folded network with dynamic batch, height and width.

    Kernels stay as in the checkpoint. The runtime multiplies them by the factors of the batch norms
    when it loads the file.
    """
    traced = _trace(Folded(network, stage), [_image(64, 96)], [INPUT], OUTPUTS, DYNAMIC_OPSET)
    return _tidied(traced)


def lazy_graphs(network: MattingNetwork) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Trace the folded network as two graphs of any size: the branches, and the fusion network."""
    folded = fold(network)
    image = _image(64, 96)
    with torch.no_grad():
        seam = folded.branches(image)[2]
    first = _trace(Branches(folded), [image], [INPUT], PARTS, DYNAMIC_OPSET)
    second = _trace(Blend(folded), seam, SEAM, ["blend"], DYNAMIC_OPSET)
    return _tidied(first), _tidied(second)


def sizeless_graphs(network: MattingNetwork) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Trace the folded network as two graphs of any size in a form that OpenCV >= 4.6 reads.

    Raises WeightsError for a network that OpenCV 4.6 can compute at one size only.
    """
    image = _image(64, 96)
    with torch.no_grad():
        branches, blend = SizelessBranches(network), SizelessBlend(network)
        features = branches(image)[-1]
    first = _trace(branches, [image], [INPUT], BRANCHES, FIXED_OPSET)
    inputs, outputs = zip(INSIDE, BORDER, strict=True)
    second = _trace(blend, [features] * 2, inputs, outputs, FIXED_OPSET)
    found = simplified(first), simplified(second)
    first_needed_first(found[1].graph)
    for graph in (found[0].graph, found[1].graph):
        if begins_at_the_end(graph):
            raise WeightsError(
                "this network mirrors its borders, which OpenCV 4.6 does at one size only; give"
                " --size H,W"
            )
        _free_sizes(graph)
    return found


def _free_sizes(graph: onnx.GraphProto) -> None:
    """Declare heights and widths as free, and nothing about what lies between in and out."""
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        for name, length in zip(
            ("height", "width"), value.type.tensor_type.shape.dim[2:], strict=True
        ):
            length.dim_param = f"{value.name}_{name}"


def write_up_graph(named: Named, size: Size) -> onnx.ModelProto:
    """`fixed_graph` with the input and the outputs that the write-up's program expects."""
    return fixed_graph(Centred(named), size, WRITE_UP_OUTPUTS)


def fixed_graph(named: nn.Module, size: Size, outputs: Sequence[str] = OUTPUTS) -> onnx.ModelProto:
    """Trace the network for one image of `size` (H, W), in a form that OpenCV >= 4.6 reads.

    The graph has no dynamic shapes and computes nothing from constants alone, since ONNX Runtime
    folds these beforehand. The batch norms are not folded, so that fp16 still holds the kernels
    exactly.
    """
    traced = _trace(named, [_image(*size)], [INPUT], outputs, FIXED_OPSET)
    return simplified(traced, disabled=["ConvBNFusion"])


def simplified(model: onnx.ModelProto, disabled: Sequence[str] = ()) -> onnx.ModelProto:
    """Fold constants with ONNX Runtime's basic optimisations; only standard operators remain."""
    with TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # its own choice would be one bound to each core
        basic = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.graph_optimization_level = basic
        options.optimized_model_filepath = str(Path(folder) / "simplified.onnx")
        onnxruntime.InferenceSession(
            model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(disabled),
        )
        simplified = onnx.load(options.optimized_model_filepath)
    standard = [opset for opset in simplified.opset_import if not opset.domain]
    del simplified.opset_import[:]  # ONNX Runtime lists every opset that it knows
    simplified.opset_import.extend(standard)
    onnx.checker.check_model(simplified)
    return simplified


def _tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Simplify a model, which then loads faster, but keep the kernels as in the checkpoint.

    The kernels are declared as inputs meanwhile, so that nothing is computed from them.
    """
    graph = model.graph
    kernels = [constant for constant in graph.initializer if np.prod(constant.dims) >= SMALL]
    inputs = [
        helper.make_tensor_value_info(kernel.name, kernel.data_type, kernel.dims)
        for kernel in kernels
    ]
    for kernel in kernels:
        graph.initializer.remove(kernel)
    graph.input.extend(inputs)
    tidied = simplified(model)
    names = {kernel.name for kernel in kernels}
    for given in [given for given in tidied.graph.input if given.name in names]:
        tidied.graph.input.remove(given)
    tidied.graph.initializer.extend(kernels)
    merge_padding(tidied.graph)
    onnx.checker.check_model(tidied)
    return tidied


def _image(height: int, width: int) -> Tensor:
    return torch.zeros(1, 3, height, width)


def _trace(
    module: nn.Module,
    given: Sequence[Tensor],
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int,
) -> onnx.ModelProto:
    """Trace a module; batch, height and width are dynamic for DYNAMIC_OPSET.

    Without gradients, for which the trace would keep what every layer computes.
    """
    axes = {name: {0: "batch", 2: f"{name}_height", 3: f"{name}_width"} for name in inputs}
    axes |= {name: {0: "batch", 2: f"{name}_height", 3: f"{name}_width"} for name in outputs}
    buffer = BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter is deprecated, and warns about its own calls and about Resize before
        # opset 11, which doubles pixels just as PyTorch does. `export` verifies the result.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(given),
            buffer,  # type: ignore[arg-type]  # the tracing exporter writes to any binary file
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=opset,
            dynamo=False,
            do_constant_folding=False,
            dynamic_axes=axes if opset == DYNAMIC_OPSET else None,
        )
    model = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(model)
    return model


def merge_padding(graph: onnx.GraphProto) -> None:
    """Turn zero padding before a convolution into its attribute, which saves a pass over memory."""
    constants = {constant.name: constant for constant in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Pad"]:
        readers = [reader for reader in graph.node if node.output[0] in reader.input]
        zeros = all(entry.s == b"constant" for entry in node.attribute if entry.name == "mode")
        for value in filter(None, node.input[2:]):
            zeros &= value in constants and not numpy_helper.to_array(constants[value]).any()
        if (
            not zeros
            or node.input[1] not in constants
            or any(reader.op_type != "Conv" for reader in readers)
        ):
            continue
        name = node.input[1]
        widths = numpy_helper.to_array(constants[name])
        _, _, top, left, _, _, bottom, right = widths.tolist()
        for conv in readers:
            own = next(entry for entry in conv.attribute if entry.name == "pads")
            assert not any(own.ints)
            own.ints[:] = [top, left, bottom, right]
            conv.input[0] = node.input[0]
        graph.node.remove(node)
        if not any(name in reader.input for reader in graph.node):
            graph.initializer.remove(constants[name])


def store_half(graph: onnx.GraphProto, *, lossy: bool) -> bool:
    """Store large float32 constants as float16 with a Cast, which runtimes fold when they load.

    This is done to constants that fp16 holds exactly, such as the kernels of a checkpoint in half
    precision, or to all if `lossy`. Returns True if there were any.
    """
    casts = []
    for constant in graph.initializer:
        values = numpy_helper.to_array(constant)
        if constant.data_type != TensorProto.FLOAT or values.size < SMALL:
            continue
        name = constant.name
        with np.errstate(over="ignore"):  # overflow gives inf, which `export`'s check detects
            half = values.astype(np.float16)
        if not lossy and not np.array_equal(half, values):
            continue
        constant.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
    return bool(casts)
