"""Writer of frozen TensorFlow graphs: one node per call, in forms that OpenCV reads correctly.

The protobuf classes come with TensorBoard; TensorFlow is not needed. OpenCV's reader silently
deviates from TensorFlow, which explains these forms (all observed in versions 4.6 to 5.0):

- It reads MirrorPad SYMMETRIC as REFLECT, so edge padding is a ConcatV2 of Slices.
- It has no DepthToSpace. It confuses the order of a Reshape in NHWC (4.6), and leaves an unused
  layer behind a Reshape of 6 dimensions, which 5.0 counts as an output. So a pixel shuffle consists
  of Reshapes in NCHW, see `weave`.
- It rearranges every Reshape to 1 x 1 x A x B, so one channel is shuffled as two equal ones.
- It reads the axis of ConcatV2 from int_val only.
"""

from collections.abc import Sequence

import numpy as np
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_INT32

HEIGHT, WIDTH, CHANNELS = 1, 2, 3

Shape = tuple[int, ...]  # (N, H, W, C)


class Writer:
    """A GraphDef that grows by one node per call; a call returns the name of its result."""

    def __init__(self) -> None:
        self.graph = GraphDef()
        self.graph.versions.producer = 27  # TensorFlow 1.13: NHWC graphs of plain operations
        self.shapes: dict[str, Shape] = {}  # of every result except constants

    def node(self, op: str, name: str, inputs: Sequence[str], shape: Sequence[int]) -> NodeDef:
        """Add a node of single precision, for the caller to set further attributes."""
        node = self.graph.node.add(op=op, name=name, input=inputs)
        node.attr["T"].type = DT_FLOAT
        self.shapes[name] = tuple(shape)
        return node

    def constant(self, name: str, values: np.ndarray) -> str:
        kind = DT_FLOAT if values.dtype == np.float32 else DT_INT32
        node = self.graph.node.add(op="Const", name=name)
        node.attr["dtype"].type = kind
        tensor = node.attr["value"].tensor
        tensor.dtype = kind
        for side in values.shape:
            tensor.tensor_shape.dim.add(size=side)
        if values.ndim == 0 and kind == DT_INT32:
            tensor.int_val.append(int(values))  # the only field in which OpenCV looks for an axis
        else:
            tensor.tensor_content = values.tobytes()
        return name

    def integers(self, name: str, values: int | Sequence[int]) -> str:
        return self.constant(name, np.array(values, np.int32))

    def placeholder(self, name: str, shape: Shape) -> str:
        node = self.graph.node.add(op="Placeholder", name=name)
        node.attr["dtype"].type = DT_FLOAT
        for side in shape:
            node.attr["shape"].shape.dim.add(size=side)
        self.shapes[name] = shape
        return name

    def elementwise(self, op: str, name: str, *inputs: str) -> str:
        """Add an operation that keeps the shape of its first input."""
        self.node(op, name, inputs, self.shapes[inputs[0]])
        return name

    def with_constant(self, op: str, name: str, value: str, constant: np.ndarray) -> str:
        """Add `value` op `constant`, where the constant is a scalar or one number per channel."""
        flat = constant.astype(np.float32).reshape(-1)
        if (flat == flat[0]).all():
            flat = flat[0]
        elif flat.shape != self.shapes[value][CHANNELS:]:
            raise ValueError(f"{name}: a constant {constant.shape} is not one number per channel")
        return self.elementwise(op, name, value, self.constant(f"{name}/constant", np.array(flat)))

    def bias(self, name: str, value: str, bias: np.ndarray) -> str:
        node = self.node(
            "BiasAdd", name, [value, self.constant(f"{name}/bias", bias)], self.shapes[value]
        )
        node.attr["data_format"].s = b"NHWC"
        return name

    def concat(self, name: str, values: Sequence[str], axis: int) -> str:
        shape = list(self.shapes[values[0]])
        shape[axis] = sum(self.shapes[value][axis] for value in values)
        node = self.node(
            "ConcatV2", name, [*values, self.integers(f"{name}/axis", axis)], tuple(shape)
        )
        node.attr["N"].i = len(values)
        node.attr["Tidx"].type = DT_INT32
        return name

    def slice(self, name: str, value: str, ranges: dict[int, tuple[int, int]]) -> str:
        """Add the slice of `value` from start to stop along each axis in `ranges`."""
        begin, size = [0, 0, 0, 0], list(self.shapes[value])
        for axis, (start, stop) in ranges.items():
            begin[axis], size[axis] = start, stop - start
        inputs = [value, self.integers(f"{name}/begin", begin), self.integers(f"{name}/size", size)]
        self.node("Slice", name, inputs, size).attr["Index"].type = DT_INT32
        return name

    def reshape(self, name: str, value: str, shape: Sequence[int]) -> str:
        node = self.node("Reshape", name, [value, self.integers(f"{name}/shape", shape)], shape)
        node.attr["Tshape"].type = DT_INT32
        return name

    def transpose(self, name: str, value: str, order: Sequence[int]) -> str:
        shape = tuple(self.shapes[value][axis] for axis in order)
        inputs = [value, self.integers(f"{name}/order", order)]
        self.node("Transpose", name, inputs, shape).attr["Tperm"].type = DT_INT32
        return name

    def edge_pad(self, name: str, value: str) -> str:
        """Repeat the outermost rows and columns once on each side."""
        for axis, end in ((HEIGHT, f"{name}/rows"), (WIDTH, name)):
            side = self.shapes[value][axis]
            first = self.slice(f"{end}/first", value, {axis: (0, 1)})
            last = self.slice(f"{end}/last", value, {axis: (side - 1, side)})
            value = self.concat(end, [first, value, last], axis)
        return value

    def weave(self, name: str, even: str, odd: str) -> str:
        """Interleave two images as the even and odd columns of one, and swap its H and W."""
        n, height, width, channels = self.shapes[even]
        value = self.concat(f"{name}/both", [even, odd], HEIGHT)
        value = self.transpose(f"{name}/ncwh", value, (0, 3, 2, 1))
        value = self.reshape(f"{name}/woven", value, (n, channels, 2 * width, height))
        return self.transpose(name, value, (0, 2, 3, 1))

    def shuffle(self, name: str, phases: Sequence[str]) -> str:
        """Interleave four images of H x W to one of 2H x 2W."""
        if self.shapes[phases[0]][CHANNELS] == 1:
            phases = [self.concat(f"{phase}/twice", [phase] * 2, CHANNELS) for phase in phases]
            return self.slice(name, self.shuffle(f"{name}/twice", phases), {CHANNELS: (0, 1)})
        rows = [self.weave(f"{name}/row{row}", *phases[2 * row : 2 * row + 2]) for row in range(2)]
        return self.weave(name, *rows)

    def window(
        self,
        op: str,
        name: str,
        inputs: Sequence[str],
        padding: str,
        shape: Shape,
        strides: Sequence[int],
    ) -> NodeDef:
        node = self.node(op, name, inputs, shape)
        node.attr["strides"].list.i.extend([1, *strides, 1])
        node.attr["padding"].s = padding.encode()
        node.attr["data_format"].s = b"NHWC"
        return node
