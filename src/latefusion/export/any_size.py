"""The two files of lazy fusion in forms that OpenCV >= 4.6 computes correctly at any size.

OpenCV 4.6 takes lengths from the file and not from the image, unless a Reshape copies them from its
input (0) or infers them (-1). The interleaving of phases is exported in such steps. A slice cannot
begin at the end either, and there is no conditional: in place of the image's outermost rows and
columns, the second file has the fusion network twice, folded and plain. Parts at the image's border
take the plain one, whose zero padding is that of the image there.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from latefusion.model.folded import (
    ByDifferences,
    convolution,
    first_convolutions,
    fold,
    of_unshuffled,
)
from latefusion.model.layers import phases_of_upsampled
from latefusion.model.matting import MattingNetwork


class Interleaved(torch.autograd.Function):
    """Four phases of C channels brought together, (1, 4C, h, w) -> (1, C, 2h, 2w).

    Even columns and even rows come first, then even columns and odd rows, and so on.
    """

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        phases = x.unflatten(1, (2, 2, -1)).permute(0, 3, 4, 2, 5, 1)  # (1, C, h, row, w, column)
        return phases.flatten(4).flatten(2, 3)

    @staticmethod
    def symbolic(graph: Any, x: Any) -> Any:
        _, phases, height, width = x.type().sizes()
        channels = phases // 4

        def reshaped(value: Any, *lengths: int) -> Any:
            shape = graph.op("Constant", value_t=torch.tensor(lengths))
            return graph.op("Reshape", value, shape)

        rows = reshaped(x, -1, 2 * channels, 0, 0)
        rows = graph.op("Transpose", rows, perm_i=[2, 1, 3, 0])  # (h, row and C, w, column)
        rows = reshaped(rows, 0, 2, channels, -1)
        rows = graph.op("Transpose", rows, perm_i=[2, 0, 1, 3])  # (C, h, row, 2w)
        whole = reshaped(rows, 1, channels, -1, 0)
        whole.setType(x.type().with_sizes([1, channels, 2 * height, 2 * width]))
        return whole


class SizelessBranches(nn.Module):
    """The first file: F, B and the features of an image (1, 3, H, W), as BRANCHES."""

    def __init__(self, network: MattingNetwork) -> None:
        super().__init__()
        self.folded = fold(network)
        self.heads = columns_first(self.folded.heads)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self.folded.encoder((image - self.folded.mean) * self.folded.scale)
        seams = torch.cat([self.folded.fg(found), self.folded.bg(found)], dim=1)
        padded = F.pad(seams, (1, 1, 1, 1), mode="replicate")
        fg, bg = interleaved(self.heads(padded)).sigmoid().split(1, dim=1)
        around = F.pad(self.folded.phases(image), (1, 1, 1, 1))
        return fg, bg, torch.cat([padded, around], dim=1)


class SizelessBlend(nn.Module):
    """The second file: the blending weights (1, 1, h, w) of two parts, from their features.

    The first part lies inside the image and the second at its border: INSIDE and BORDER.
    """

    def __init__(self, network: MattingNetwork) -> None:
        super().__init__()
        self.fusion = fold(network).fusion
        first = self.fusion.first
        self.inside = first if isinstance(first, ByDifferences) else columns_first(first.conv)
        self.border = BorderFirst(network)

    def forward(self, features: Tensor, border_features: Tensor) -> tuple[Tensor, Tensor]:
        inside = F.relu(self.begin(features))
        return self.fusion.finish(inside), self.fusion.finish(self.border(border_features))

    def begin(self, features: Tensor) -> Tensor:
        if isinstance(self.inside, ByDifferences):
            return interleaved(in_columns(self.inside.phases(features)))
        return interleaved(self.inside(features))


class BorderFirst(nn.Module):
    """The fusion network's first three convolutions one after the other, for features of a part.

    The result (1, C, h, w) is exact where the part's edge is the image's.
    """

    def __init__(self, network: MattingNetwork) -> None:
        super().__init__()
        self.width = network.config.width
        self.first, self.fg, self.bg, self.rgb = first_convolutions(network)
        bias = _bias(self.rgb).repeat_interleave(4)
        self.on_phases = columns_first(convolution(of_unshuffled(self.rgb.weight), bias))

    def forward(self, features: Tensor) -> Tensor:
        fg, bg = features[:, : self.width], features[:, self.width : 2 * self.width]
        maps = [
            interleaved(in_columns(phases_of_upsampled(fg, self.fg.weight, _bias(self.fg)))),
            interleaved(in_columns(phases_of_upsampled(bg, self.bg.weight, _bias(self.bg)))),
            interleaved(self.on_phases(features[:, 2 * self.width :])),
        ]
        return F.relu(self.first(torch.cat(maps, dim=1)))


def first_needed_first(graph: onnx.GraphProto) -> None:
    """Move what the first output needs to the front: OpenCV 4 runs all that is before an output."""
    needed = {graph.output[0].name}
    first: list[onnx.NodeProto] = []
    rest: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        part = first if needed.intersection(node.output) else rest
        if part is first:
            needed.update(node.input)
        part.append(node)
    ordered = [*reversed(first), *reversed(rest)]
    del graph.node[:]
    graph.node.extend(ordered)


def begins_at_the_end(graph: onnx.GraphProto) -> bool:
    """True if a slice begins at a distance from the end, which OpenCV 4.6 takes from the start."""
    constants = {constant.name: constant for constant in graph.initializer}
    starts = [node.input[1] for node in graph.node if node.op_type == "Slice"]
    return any((numpy_helper.to_array(constants[name]) < 0).any() for name in starts)


def interleaved(phases: Tensor) -> Tensor:
    """`Interleaved`, with a type."""
    found: Tensor = Interleaved.apply(phases)
    return found


def in_columns(phases: Sequence[Tensor]) -> Tensor:
    """Phases with even rows first, in the order of `Interleaved`."""
    ee, eo, oe, oo = phases  # of each name the first letter is for rows
    return torch.cat([ee, oe, eo, oo], dim=1)


def columns_first(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution to (C, row, column) phases with its output in the order of `Interleaved`."""
    turned = deepcopy(conv)
    for values in (turned.weight, _bias(turned)):
        values.copy_(values.unflatten(0, (-1, 2, 2)).transpose(0, 2).flatten(0, 2))
    return turned


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
