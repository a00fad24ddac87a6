"""The matting network: an image of plain pixels in; F, B, the blending weight and alpha out."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from latefusion.model.decoder import Branch, Decoder
from latefusion.model.encoders import ENCODERS
from latefusion.model.fusion import Fusion


@dataclass(frozen=True)
class NetworkConfig:
    """What rebuilds a network: encoder name, decoder width d, the fusion's five widths."""

    encoder: str
    width: int
    fusion: tuple[int, ...]
    encoder_args: dict[str, Any] = field(default_factory=dict)


PRESETS = {
    "lite": NetworkConfig("efficientnet-lite0", width=32, fusion=(16, 16, 16, 8, 16)),
    "densenet201": NetworkConfig("densenet201", width=128, fusion=(256, 128, 128, 64, 256)),
}


class MattingOutput(NamedTuple):
    """All (B, 1, H, W) in [0, 1]; `fg_scales`, `bg_scales` are the 1/2, 1/4, 1/8 outputs."""

    alpha: Tensor
    fg: Tensor
    bg: Tensor
    blend: Tensor
    fg_scales: tuple[Tensor, Tensor, Tensor]
    bg_scales: tuple[Tensor, Tensor, Tensor]


class MattingNetwork(nn.Module):
    """Late fusion for matting (Zhang et al., CVPR 2019).

    The input is (B, 3, H, W) RGB 0..255, H and W multiples of 32; mean and scale live inside.
    """

    mean: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ENCODERS[config.encoder].build(**config.encoder_args)
        self.scale = self.encoder.scale
        mean = torch.tensor(self.encoder.mean).view(3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.fg = Decoder(self.encoder.widths, config.width)
        self.bg = Decoder(self.encoder.widths, config.width)
        self.fusion = Fusion(config.width, config.fusion)

    def forward(self, image: Tensor) -> MattingOutput:
        x = (image - self.mean) * self.scale
        features = self.encoder(x)
        fg, bg = self.fg(features), self.bg(features)
        blend = self.fusion(x, self.fg.feature(fg.seam), self.bg.feature(bg.seam))
        return fuse(fg, bg, blend)

    def branches(self, image: Tensor) -> MattingOutput:
        """The two branches without the fusion network: blend is 1/2 everywhere."""
        features = self.encoder((image - self.mean) * self.scale)
        fg, bg = self.fg(features), self.bg(features)
        return fuse(fg, bg, torch.full_like(fg.probability, 0.5))


def fuse(fg: Branch, bg: Branch, blend: Tensor) -> MattingOutput:
    """alpha = blend F + (1 - blend)(1 - B), eq. 2 of the paper."""
    alpha = blend * fg.probability + (1 - blend) * (1 - bg.probability)
    return MattingOutput(alpha, fg.probability, bg.probability, blend, fg.scales, bg.scales)
