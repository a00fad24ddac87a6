"""The network as in the paper's figure, each step at its own resolution: the reference for `fold`.

It runs the weights of a MattingNetwork without reordering or composing steps: each decoder step is
upsampled before its convolution, and the fusion network gets 3 d channels at full resolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from latefusion.model.decoder import Decoder, Deconv, Side
from latefusion.model.layers import upsample
from latefusion.model.matting import MattingNetwork


class PlainNetwork(nn.Module):
    """Image (B, 3, H, W) -> alpha, fg, bg, blend, all (B, 1, H, W)."""

    def __init__(self, network: MattingNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        network = self.network
        x = (image - network.mean) * network.scale
        features = network.encoder(x)
        (fg, fg_feature), (bg, bg_feature) = (
            decode(branch, features) for branch in (network.fg, network.bg)
        )
        blend = network.fusion(x, fg_feature, bg_feature)
        return blend * fg + (1 - blend) * (1 - bg), fg, bg, blend


def decode(decoder: Decoder, features: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The probability of a branch and its full-resolution feature side_0."""
    r1, r2, r3, r4, x = features
    x4 = deconv(decoder.deconv5, x, r4)
    x3 = deconv(decoder.deconv4, x4, r3)
    x2 = deconv(decoder.deconv3, x3, r2)
    x1 = deconv(decoder.deconv2, x2, r1)
    x0 = deconv(decoder.deconv1, x1)
    side3 = side(decoder.side3, x3, F.relu(decoder.up4(x4)))
    side2 = side(decoder.side2, x2, side3)
    side1 = side(decoder.side1, x1, side2)
    side0 = side(decoder.side0, x0, side1)
    return decoder.side0.conv3(side0).sigmoid(), side0


def deconv(block: Deconv, x: Tensor, *skip: Tensor) -> Tensor:
    return F.relu(block.norm(block.conv(torch.cat([upsample(x), *skip], dim=1))))


def side(block: Side, x: Tensor, coarser: Tensor) -> Tensor:
    found: Tensor = block.conv2(block.conv1(x) + upsample(coarser))
    return found


def gmac(module: nn.Module, *shapes: tuple[int, ...]) -> float:
    """Giga multiply-accumulates for inputs of these shapes; the module's weights are discarded."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.to("meta")(*(torch.zeros(shape, device="meta") for shape in shapes))
    return float(counter.get_total_flops() / 2e9)
