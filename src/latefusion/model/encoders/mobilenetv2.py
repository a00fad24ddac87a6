"""MobileNetV2 with the weights that it has in MODNet: an encoder trained on people already.

Sandler et al., CVPR 2018; weights of Ke et al., "MODNet: Real-Time Trimap-Free Portrait Matting
via Objective Decomposition", AAAI 2022 (Apache-2.0), from the project's exported `modnet.onnx`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latefusion.errors import WeightsError, reason, shown
from latefusion.images.regular import read_regular
from latefusion.model.encoders.inverted import (
    StageSpec,
    feature_blocks,
    features_of,
    make_blocks,
)
from latefusion.model.encoders.stock import check_matches

STAGES = (
    StageSpec(3, 1, 1, 16, 1, skip=True),  # 1/2
    StageSpec(3, 2, 6, 24, 2, skip=True),  # 1/4
    StageSpec(3, 2, 6, 32, 3, skip=True),  # 1/8
    StageSpec(3, 2, 6, 64, 4, skip=False),
    StageSpec(3, 1, 6, 96, 3, skip=True),  # 1/16
    StageSpec(3, 2, 6, 160, 3, skip=False),
    StageSpec(3, 1, 6, 320, 1, skip=True),  # 1/32; `last` widens it
)
STEM, LAST = 32, 1280


def conv(inputs: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution with bias that keeps the size, or halves it with a stride of 2."""
    return nn.Conv2d(inputs, out, kernel, stride, padding=kernel // 2, groups=groups)


class MobileNetV2(nn.Module):
    """Features at 1/2 .. 1/32 of an image scaled to (pixels - 127.5) / 127.5.

    It has no batch norms: MODNet's export has them folded into the convolutions, and they stay
    folded in training.
    """

    mean = (127.5, 127.5, 127.5)
    scale = 1 / 127.5
    widths = (*(stage.out for stage in STAGES[:-1] if stage.skip), LAST)

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, STEM, 3, stride=2)
        self.blocks = nn.ModuleList(make_blocks(conv, STEM, STAGES))
        self.last = conv(STAGES[-1].out, LAST, 1)
        self.wanted = feature_blocks(STAGES)

    def forward(self, x: Tensor) -> list[Tensor]:
        *skips, x = features_of(F.relu6(self.stem(x)), self.blocks, self.wanted)
        return [*skips, F.relu6(self.last(x))]


def load_modnet(encoder: MobileNetV2, path: Path | None) -> None:
    """Fill the encoder from MODNet's ONNX export, whose first 52 convolutions are the encoder's.

    Raises WeightsError where `path` is None or is not such a file.
    """
    if path is None:
        raise WeightsError(
            "MODNet's encoder does not come with the package; give --encoder-weights modnet.onnx"
        )
    # The parameters were registered in the order of the graph.
    names = [name.removesuffix(".weight") for name in encoder.state_dict() if "weight" in name]
    state: dict[str, Tensor] = {}
    for name, (weight, bias) in zip(names, read_convolutions(path), strict=False):
        state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    check_matches(encoder, state, path, "MODNet's export, with its batch norms folded")
    encoder.load_state_dict(state)


def read_convolutions(path: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Kernel and bias of the convolutions of an ONNX file that have both, in graph order.

    Raises WeightsError where the file cannot be read.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import uses_external_data

    try:
        graph = onnx.load_from_string(read_regular(path)).graph
    except (OSError, DecodeError) as error:
        raise WeightsError(f"{path} cannot be read as an ONNX file: {error}") from error
    values = {each.name: each for each in graph.initializer}
    if any(uses_external_data(each) for each in values.values()):
        raise WeightsError(f"{path} has parts in other files, which are not read; give one file")
    for node in graph.node:
        names = node.input[1:]
        if node.op_type == "Conv" and len(names) == 2 and values.keys() >= set(names):
            yield _tensor(values[names[0]], path), _tensor(values[names[1]], path)


def _tensor(value: Any, path: Path) -> Tensor:
    """The values of an initializer. Raises WeightsError where they are damaged."""
    from onnx.numpy_helper import to_array

    try:
        return torch.tensor(to_array(value))
    except (ValueError, TypeError, LookupError, RuntimeError, MemoryError) as error:
        name = shown(value.name)
        raise WeightsError(f"{path}: {name} is damaged ({reason(error)})") from error
