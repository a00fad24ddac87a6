"""Conversion of the network's ONNX graph to a frozen TensorFlow graph for OpenCV's reader.

No general converter is used, because OpenCV refuses to read what onnx2tf 1.29 makes of this
network. Every tensor is NHWC, every constant belongs to one node, and every node is an ordinary
operation in the forms of `graph_def`. OpenCV differs from TensorFlow in two more ways that matter
here. It computes `constant - x` as `x - constant`, so that becomes x * -1 + constant. Version 5.0
accepts as outputs only results that no other node reads, so each output is a copy.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from google.protobuf import text_format
from onnx import NodeProto, helper, numpy_helper
from tensorboard.compat.proto.graph_pb2 import GraphDef

from latefusion.errors import WeightsError
from latefusion.export.graph_def import CHANNELS, HEIGHT, WIDTH, Shape, Writer

NHWC_AXIS = {0: 0, 1: 3, 2: 1, 3: 2}  # axis of NCHW -> axis of NHWC
SHUFFLE = [0, 1, 4, 2, 5, 3]  # N C a b H W -> N C H a W b


def frozen_graph(model: onnx.ModelProto) -> bytes:
    """Convert a graph of fixed size and opset 10, with constants folded, to a serialised GraphDef.

    Raises WeightsError for operations that the networks of this package do not have.
    """
    try:
        graph = Translation(model).run()
    except (ValueError, KeyError) as error:
        raise WeightsError(
            f"this network cannot be converted to TensorFlow ({error}); use --target opencv, "
            "which OpenCV reads too"
        ) from None
    return graph.SerializeToString(deterministic=True)


def graph_text(data: bytes) -> bytes:
    """A serialised GraphDef as text without its weights, which OpenCV takes from the other file."""
    graph = GraphDef.FromString(data)
    nodes = [node for node in graph.node if node.op != "Const"]
    kept = GraphDef(node=nodes, versions=graph.versions)
    return text_format.MessageToBytes(kept)


class Translation:
    """A conversion of ONNX nodes, one method per operation, to the nodes of a Writer."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.shape_inference.infer_shapes(model)
        graph = self.model.graph
        self.constants = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
        self.writer = Writer()
        self.values: dict[str, str] = {}  # the node that holds each ONNX value
        self.phases: dict[str, list[str]] = {}  # values that a pixel shuffle will interleave
        self.outputs = [output.name for output in graph.output]
        self.sides = {
            value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.value_info, *graph.output)
        }

    def run(self) -> GraphDef:
        for value in self.model.graph.input:
            if value.name not in self.constants:
                shape = self.nhwc(value.name)
                self.values[value.name] = self.writer.placeholder(value.name, shape)
        for node in self.model.graph.node:
            self.translate(node)
        for output in self.outputs:
            self.finish(output)
        return self.writer.graph

    def finish(self, output: str) -> None:
        """Add a copy under the output's own name, computed, since OpenCV allows no constant one."""
        one = np.array(1.0)
        if output not in self.constants:
            self.writer.with_constant("Mul", output, self.values[output], one)
            return
        like = next(self.values[other] for other in self.outputs if other in self.values)
        empty = self.writer.with_constant("Mul", f"{output}/empty", like, 0 * one)
        self.writer.with_constant("AddV2", output, empty, self.constants[output])

    def translate(self, node: NodeProto) -> None:
        if node.op_type == "Constant":
            self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            return
        method: Callable[[NodeProto, str], str | None] | None
        method = getattr(self, node.op_type.lower(), None)
        if method is None:
            raise ValueError(f"{node.name}: {node.op_type} has no translation")
        name = node_name(node.output[0])
        if name in self.outputs:
            name += "/value"
        result = method(node, name)
        if result is not None:
            self.values[node.output[0]] = result
            if self.writer.shapes[result] != self.nhwc(node.output[0]):
                raise ValueError(
                    f"{name}: the shape {self.writer.shapes[result]} is not that of the ONNX file"
                )

    def nhwc(self, value: str) -> Shape:
        n, channels, height, width = self.sides[value]
        return n, height, width, channels

    def input(self, node: NodeProto, index: int = 0) -> str:
        return self.values[node.input[index]]

    def split_operands(self, node: NodeProto) -> tuple[list[str], list[np.ndarray]]:
        """The computed inputs and the constant inputs of a node."""
        values = [self.values[name] for name in node.input if name in self.values]
        constants = [self.constants[name] for name in node.input if name in self.constants]
        return values, constants

    # Arithmetic

    def binary(self, op: str, node: NodeProto, name: str) -> str:
        values, constants = self.split_operands(node)
        if constants:
            return self.writer.with_constant(op, name, values[0], constants[0])
        return self.writer.elementwise(op, name, *values)

    def add(self, node: NodeProto, name: str) -> str:
        return self.binary("AddV2", node, name)

    def mul(self, node: NodeProto, name: str) -> str:
        return self.binary("Mul", node, name)

    def sub(self, node: NodeProto, name: str) -> str:
        if node.input[0] not in self.constants:
            return self.binary("Sub", node, name)
        value = self.input(node, 1)
        negated = self.writer.with_constant("Mul", f"{name}/negated", value, np.array(-1.0))
        return self.writer.with_constant("AddV2", name, negated, self.constants[node.input[0]])

    def relu(self, node: NodeProto, name: str) -> str:
        return self.writer.elementwise("Relu", name, self.input(node))

    def sigmoid(self, node: NodeProto, name: str) -> str:
        return self.writer.elementwise("Sigmoid", name, self.input(node))

    def clip(self, node: NodeProto, name: str) -> str:
        limits = [float(self.constants[limit]) for limit in node.input[1:]]
        limits = limits or [attribute(node, "min"), attribute(node, "max")]
        if limits != [0.0, 6.0]:
            raise ValueError(f"{name}: a Clip to {limits}; only 0 to 6 has a translation")
        return self.writer.elementwise("Relu6", name, self.input(node))

    def batchnormalization(self, node: NodeProto, name: str) -> str:
        kinds = ("gamma", "beta", "mean", "variance")
        parts = [
            self.writer.constant(f"{name}/{kind}", self.constants[source])
            for kind, source in zip(kinds, node.input[1:], strict=True)
        ]
        value = self.input(node)
        out = self.writer.node("FusedBatchNorm", name, [value, *parts], self.writer.shapes[value])
        out.attr["epsilon"].f = attribute(node, "epsilon")
        out.attr["is_training"].b = False
        out.attr["data_format"].s = b"NHWC"
        return name

    # Windows

    def conv(self, node: NodeProto, name: str) -> str:
        value, kernel = self.input(node), self.constants[node.input[1]]
        if attribute(node, "strides") == [2, 2] and attribute(node, "pads") == [1, 1, 1, 1]:
            # On even sides the last padding is not reached; with a tap of zeros it is SAME's.
            kernel = np.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 1)))
        groups, channels = attribute(node, "group"), self.writer.shapes[value][CHANNELS]
        if groups == 1:
            op, order = "Conv2D", (2, 3, 1, 0)
        elif groups == channels == len(kernel):
            op, order = "DepthwiseConv2dNative", (2, 3, 0, 1)
        else:
            raise ValueError(
                f"{name}: {groups} groups of {channels} channels; only 1 or {channels} groups"
                " have a translation"
            )
        has_bias = len(node.input) > 2
        inner = f"{name}/conv" if has_bias else name
        weights = self.writer.constant(f"{inner}/weights", kernel.transpose(order))
        padding = padding_name(node, self.writer.shapes[value], kernel.shape[2:])
        shape = self.nhwc(node.output[0])
        out = self.writer.window(
            op, inner, [value, weights], padding, shape, attribute(node, "strides")
        )
        out.attr["dilations"].list.i.extend([1, *attribute(node, "dilations"), 1])
        if has_bias:
            return self.writer.bias(name, inner, self.constants[node.input[2]])
        return inner

    def pool(self, op: str, node: NodeProto, name: str, value: str) -> str:
        shape, strides = self.nhwc(node.output[0]), attribute(node, "strides")
        out = self.writer.window(op, name, [value], "VALID", shape, strides)
        out.attr["ksize"].list.i.extend([1, *attribute(node, "kernel_shape"), 1])
        return name

    def maxpool(self, node: NodeProto, name: str) -> str:
        """Pad by repeating the edge, which leaves the maximum of every window unchanged."""
        value, pads = self.input(node), attribute(node, "pads")
        if pads == [1, 1, 1, 1]:
            value = self.writer.edge_pad(f"{name}/pad", value)
        elif any(pads):
            raise ValueError(f"{name}: only MaxPool padded by one pixel has a translation")
        return self.pool("MaxPool", node, name, value)

    def averagepool(self, node: NodeProto, name: str) -> str:
        if any(attribute(node, "pads")):
            raise ValueError(f"{name}: only AveragePool without padding has a translation")
        return self.pool("AvgPool", node, name, self.input(node))

    # Places

    def pad(self, node: NodeProto, name: str) -> str:
        if attribute(node, "mode") != b"edge" or attribute(node, "pads") != [0, 0, 1, 1] * 2:
            raise ValueError(f"{name}: only edge padding by one pixel has a translation")
        return self.writer.edge_pad(name, self.input(node))

    def resize(self, node: NodeProto, name: str) -> str:
        value, shape = self.input(node), self.nhwc(node.output[0])
        twice = shape[HEIGHT] == 2 * self.writer.shapes[value][HEIGHT]
        if not twice or attribute(node, "mode") != b"nearest":
            raise ValueError(f"{name}: only a nearest Resize to twice the size has a translation")
        size = self.writer.integers(f"{name}/size", shape[HEIGHT : WIDTH + 1])
        out = self.writer.node("ResizeNearestNeighbor", name, [value, size], shape)
        out.attr["align_corners"].b = False
        out.attr["half_pixel_centers"].b = False
        return name

    def split(self, node: NodeProto, name: str) -> None:
        """Add a Slice per part, which is simpler to name than the outputs of a Split."""
        axis, start = NHWC_AXIS[attribute(node, "axis")], 0
        for output in node.output:
            stop = start + self.nhwc(output)[axis]
            self.values[output] = self.writer.slice(
                node_name(output), self.input(node), {axis: (start, stop)}
            )
            start = stop

    def slice(self, node: NodeProto, name: str) -> str:
        starts, ends, axes, steps = (self.constants[source] for source in node.input[1:])
        if any(steps != 1):
            raise ValueError(f"{name}: only a Slice in steps of one has a translation")
        value, ranges = self.input(node), {}
        for start, end, axis in zip(starts, ends, axes, strict=True):
            place = NHWC_AXIS[int(axis) % 4]
            side = self.writer.shapes[value][place]
            ranges[place] = slice(int(start), int(end)).indices(side)[:2]
        return self.writer.slice(name, value, ranges)

    # A pixel shuffle: Unsqueeze x 4, Concat, Reshape, then Transpose and Reshape or DepthToSpace

    def unsqueeze(self, node: NodeProto, name: str) -> None:
        self.phases[node.output[0]] = [self.input(node)]

    def concat(self, node: NodeProto, name: str) -> str | None:
        if node.input[0] in self.phases:
            self.phases[node.output[0]] = [self.phases[source][0] for source in node.input]
            return None
        axis = NHWC_AXIS[attribute(node, "axis") % 4]
        return self.writer.concat(name, [self.values[source] for source in node.input], axis)

    def reshape(self, node: NodeProto, name: str) -> str | None:
        phases = self.phases[node.input[0]]
        n, height, width, channels = self.writer.shapes[phases[0]]
        if self.sides[node.output[0]] == (n, channels, 2 * height, 2 * width):
            return self.writer.shuffle(name, phases)
        self.phases[node.output[0]] = phases
        return None

    def transpose(self, node: NodeProto, name: str) -> None:
        if attribute(node, "perm") != SHUFFLE:
            raise ValueError(f"{name}: only the Transpose of a pixel shuffle has a translation")
        self.phases[node.output[0]] = self.phases[node.input[0]]

    def depthtospace(self, node: NodeProto, name: str) -> str:
        if attribute(node, "mode") != b"CRD" or attribute(node, "blocksize") != 2:
            raise ValueError(f"{name}: only DepthToSpace by 2 and of CRD order has a translation")
        return self.writer.shuffle(name, self.phases[node.input[0]])


def node_name(value: str) -> str:
    """An ONNX name made valid in TensorFlow, where a name begins with a letter."""
    return value if value[0].isalpha() else f"net{value}"


def attribute(node: NodeProto, name: str) -> Any:
    """The attribute of a node, or ONNX's default where the node leaves it out."""
    defaults = {"group": 1, "epsilon": 1e-5, "pads": [0, 0, 0, 0], "axis": 0, "mode": b"nearest"}
    for candidate in node.attribute:
        if candidate.name == name:
            return helper.get_attribute_value(candidate)
    return defaults[name]


def padding_name(node: NodeProto, shape: Shape, kernel: Sequence[int]) -> str:
    """The TensorFlow name of the pads of a convolution with this (height, width): SAME or VALID."""
    pads = attribute(node, "pads")
    if not any(pads):
        return "VALID"
    totals = []  # pixels that SAME adds to the height and to the width
    for side, taps, step in zip(shape[1:3], kernel, attribute(node, "strides"), strict=True):
        totals.append(max((-(-side // step) - 1) * step + taps - side, 0))
    if pads != [total // 2 for total in totals] + [-(-total // 2) for total in totals]:
        raise ValueError(f"{node.name}: pads {pads} are neither SAME nor VALID")
    return "SAME"
