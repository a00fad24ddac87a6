"""The matting network: an image of plain pixels in; F, B, the blending weight and alpha out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from latefusion.model.decoder import Branch, Decoder
from latefusion.model.encoders import ENCODERS
from latefusion.model.fusion import Fusion


@dataclass(frozen=True)
class NetworkConfig:
    """All that a network is rebuilt from: encoder, decoder width d, the fusion's five widths."""

    encoder: str
    width: int
    fusion: tuple[int, ...]
    encoder_args: dict[str, int | tuple[int, ...]] = field(default_factory=dict)


REACH = 6  # pixels to each side that the fusion network sees, by six 3x3 convolutions in a row

PRESETS = {
    "lite": NetworkConfig("efficientnet-lite0", width=32, fusion=(16, 16, 16, 8, 16)),
    "lite-mobilenetv2": NetworkConfig("mobilenetv2", width=32, fusion=(16, 16, 16, 8, 16)),
    "densenet201": NetworkConfig("densenet201", width=128, fusion=(256, 128, 128, 64, 256)),
}


class Window(NamedTuple):
    """A part of a picture, in pixels of the picture; all four even."""

    top: int
    left: int
    height: int
    width: int

    def of(self, picture: Tensor) -> Tensor:
        """(..., H, W) -> (..., height, width)."""
        bottom, right = self.top + self.height, self.left + self.width
        return picture[..., self.top : bottom, self.left : right]

    def grown(self, reach: int, size: Sequence[int]) -> "Window":
        """With `reach` more pixels on every side, as far as the picture (H, W) goes."""
        top, left = max(0, self.top - reach), max(0, self.left - reach)
        bottom = min(size[0], self.top + self.height + reach)
        right = min(size[1], self.left + self.width + reach)
        return Window(top, left, bottom - top, right - left)

    def halved(self) -> "Window":
        """The same part of the picture at half its size."""
        return Window(*(length // 2 for length in self))


class MattingOutput(NamedTuple):
    """All (B, 1, H, W) in [0, 1]; `fg_scales`, `bg_scales` are the 1/2, 1/4, 1/8 outputs.

    Where `window` is set, alpha and blend show that part of the picture only.
    """

    alpha: Tensor
    fg: Tensor
    bg: Tensor
    blend: Tensor
    fg_scales: tuple[Tensor, Tensor, Tensor]
    bg_scales: tuple[Tensor, Tensor, Tensor]
    window: Window | None = None


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

    def windowed(self, image: Tensor, window: Window) -> MattingOutput:
        """As forward, but the fusion network, the most expensive part to train, runs in a window.

        Alpha and blend in it equal those of the whole picture: the window is computed with a
        margin as wide as the fusion network's reach.
        """
        x = (image - self.mean) * self.scale
        features = self.encoder(x)
        fg, bg = self.fg(features), self.bg(features)
        around = window.grown(REACH, image.shape[-2:])
        seam = around.halved()
        blend = self.fusion(
            around.of(x), self.fg.feature(seam.of(fg.seam)), self.bg.feature(seam.of(bg.seam))
        )
        inside = window._replace(top=window.top - around.top, left=window.left - around.left)
        return fuse(fg, bg, inside.of(blend), window)

    def branches(self, image: Tensor) -> MattingOutput:
        """The two branches without the fusion network: blend is 1/2 everywhere."""
        features = self.encoder((image - self.mean) * self.scale)
        fg, bg = self.fg(features), self.bg(features)
        return fuse(fg, bg, torch.full_like(fg.probability, 0.5))


def fuse(fg: Branch, bg: Branch, blend: Tensor, window: Window | None = None) -> MattingOutput:
    """alpha = blend F + (1 - blend)(1 - B), eq. 2 of the paper; in the window that blend shows."""
    f, b = fg.probability, bg.probability
    near_f, near_b = (window.of(f), window.of(b)) if window else (f, b)
    alpha = blend * near_f + (1 - blend) * (1 - near_b)
    return MattingOutput(alpha, f, b, blend, fg.scales, bg.scales, window)
