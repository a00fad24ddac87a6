"""Inverted residual blocks, of which MobileNetV2 and EfficientNet-Lite consist.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

# (inputs, outputs, kernel, stride, groups) -> a convolution with its bias or its batch norm
MakeConv = Callable[[int, int, int, int, int], nn.Module]


class StageSpec(NamedTuple):
    """One row of a network's table; `skip` marks the stages whose output is a feature."""

    kernel: int
    stride: int
    expand: int
    out: int
    repeats: int
    skip: bool


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1."""

    def __init__(
        self, conv: MakeConv, inputs: int, out: int, kernel: int, stride: int, expand: int
    ) -> None:
        super().__init__()
        hidden = inputs * expand
        self.expand = conv(inputs, hidden, 1, 1, 1) if expand != 1 else None
        self.depthwise = conv(hidden, hidden, kernel, stride, hidden)
        self.project = conv(hidden, out, 1, 1, 1)
        self.residual = stride == 1 and inputs == out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


def make_blocks(conv: MakeConv, inputs: int, stages: Sequence[StageSpec]) -> Iterator[Block]:
    """The blocks of all stages in order; the first block of a stage has its stride."""
    for stage in stages:
        for i in range(stage.repeats):
            stride = stage.stride if i == 0 else 1
            yield Block(conv, inputs, stage.out, stage.kernel, stride, stage.expand)
            inputs = stage.out


def feature_blocks(stages: Sequence[StageSpec]) -> frozenset[int]:
    """Indices of the blocks whose output is a feature: the last ones of stages with `skip`."""
    ends = accumulate(stage.repeats for stage in stages)
    return frozenset(end - 1 for end, stage in zip(ends, stages, strict=True) if stage.skip)


def features_of(x: Tensor, blocks: Iterable[nn.Module], wanted: Collection[int]) -> list[Tensor]:
    """The outputs of the blocks with the wanted indices, all blocks run in order on `x`."""
    features = []
    for i, block in enumerate(blocks):
        x = block(x)
        if i in wanted:
            features.append(x)
    return features
