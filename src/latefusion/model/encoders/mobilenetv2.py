"""MobileNetV2 as it lies in MODNet: an encoder that has been trained on people already.

Sandler et al., CVPR 2018; weights of Ke et al., "MODNet: Real-Time Trimap-Free Portrait Matting
via Objective Decomposition", AAAI 2022 (Apache-2.0), from the project's exported `modnet.onnx`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latefusion.errors import WeightsError
from latefusion.model.encoders.stock import check_matches


class StageSpec(NamedTuple):
    """One row of the network's table; `skip` marks the stages whose output is a feature."""

    expand: int
    out: int
    repeats: int
    stride: int
    skip: bool = False


STAGES = (
    StageSpec(1, 16, 1, 1, skip=True),  # 1/2
    StageSpec(6, 24, 2, 2, skip=True),  # 1/4
    StageSpec(6, 32, 3, 2, skip=True),  # 1/8
    StageSpec(6, 64, 4, 2),
    StageSpec(6, 96, 3, 1, skip=True),  # 1/16
    StageSpec(6, 160, 3, 2),
    StageSpec(6, 320, 1, 1),
)
STEM, LAST = 32, 1280


def conv3(inputs: int, out: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A 3x3 convolution with bias that keeps the size, or halves it."""
    return nn.Conv2d(inputs, out, 3, stride, padding=1, groups=groups)


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise 3x3, project 1x1."""

    def __init__(self, inputs: int, out: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.expand = nn.Conv2d(inputs, hidden, 1) if expand != 1 else None
        self.depthwise = conv3(hidden, hidden, stride, groups=hidden)
        self.project = nn.Conv2d(hidden, out, 1)
        self.residual = stride == 1 and inputs == out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Features at 1/2 .. 1/32 of an image scaled to (pixels - 127.5) / 127.5.

    There are no batch norms: the source has them folded into the convolutions, and there they stay
    in training, too.
    """

    mean = (127.5, 127.5, 127.5)
    scale = 1 / 127.5
    widths = (*(stage.out for stage in STAGES if stage.skip), LAST)

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv3(3, STEM, stride=2)
        self.blocks = nn.ModuleList(blocks())
        self.last = nn.Conv2d(STAGES[-1].out, LAST, 1)
        lengths = torch.tensor([stage.repeats for stage in STAGES]).cumsum(0).tolist()
        self.ends = frozenset(
            end - 1 for end, stage in zip(lengths, STAGES, strict=True) if stage.skip
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem(x))
        features = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                features.append(x)
        return [*features, F.relu6(self.last(x))]


def blocks() -> Iterator[Block]:
    """The blocks of all stages, one after the other."""
    inputs = STEM
    for stage in STAGES:
        for i in range(stage.repeats):
            yield Block(inputs, stage.out, stage.stride if i == 0 else 1, stage.expand)
            inputs = stage.out


def load_modnet(encoder: MobileNetV2, path: Path | None) -> None:
    """Fill the encoder from MODNet's ONNX export, whose first 52 convolutions it is, in order.

    Raises WeightsError where `path` is None or holds anything else.
    """
    if path is None:
        raise WeightsError(
            "MODNet's encoder does not come with the package; give --encoder-weights modnet.onnx"
        )
    convolutions = read_convolutions(path)
    names = [name.removesuffix(".weight") for name in encoder.state_dict() if "weight" in name]
    state = {
        f"{name}.{kind}": value
        for name, pair in zip(names, convolutions, strict=False)
        for kind, value in zip(("weight", "bias"), pair, strict=True)
    }
    check_matches(encoder, state, path, "MODNet's export, with its norms folded")
    encoder.load_state_dict(state)


def read_convolutions(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Kernel and bias of an ONNX file's convolutions, as far as they have both, in graph order."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.numpy_helper import to_array

    try:
        graph = onnx.load(path).graph
    except (OSError, DecodeError) as error:
        raise WeightsError(f"{path} cannot be read as an ONNX file: {error}") from error
    values = {each.name: each for each in graph.initializer}
    inputs = [node.input[1:] for node in graph.node if node.op_type == "Conv"]
    return [
        tuple(torch.tensor(to_array(values[name])) for name in names)  # type: ignore[misc]
        for names in inputs
        if len(names) == 2 and all(name in values for name in names)
    ]
