"""One decoder branch: features in, a probability per pixel out (paper, section 3.1)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from latefusion.model.layers import conv_of_upsampled, upsample

NORM_EPSILON = 1.001e-5


class Branch(NamedTuple):
    """The result of a decoder.

    `probability` (B, 1, H, W) at the image's size; `scales` the outputs at 1/2, 1/4 and 1/8
    resized to the image's size; `seam` (B, d, H/2, W/2) from which `Decoder.feature` makes the
    full-resolution feature for the fusion network.
    """

    probability: Tensor
    scales: tuple[Tensor, Tensor, Tensor]
    seam: Tensor


class Deconv(nn.Module):
    """Nearest x2, concat the skip, 1x1 convolution, batch norm, ReLU.

    Upsampling copies pixels and a 1x1 convolution looks at one pixel, so the two commute: the
    upsampled half of the convolution runs at the low resolution. The last block has no skip, and
    there norm and ReLU commute too, so it leaves the upsampling to its reader.
    """

    def __init__(self, width: int, skip: int, out: int) -> None:
        super().__init__()
        self.width = width
        self.conv = nn.Conv2d(width + skip, out, 1, bias=False)
        self.norm = nn.BatchNorm2d(out, eps=NORM_EPSILON)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        y = F.conv2d(x, self.conv.weight[:, : self.width])
        if skip is not None:
            y = upsample(y) + F.conv2d(skip, self.conv.weight[:, self.width :])
        return F.relu(self.norm(y))


class Side(nn.Module):
    """One step of the FPN path: x_k to width d, plus the coarser step, then 3x3; and its output."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1) if channels != width else nn.Identity()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate")
        self.conv3 = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor, coarser: Tensor) -> Tensor:
        return self.conv2(self.conv1(x) + coarser)  # (B, d, h, w), linear

    def output(self, side: Tensor) -> Tensor:
        return self.conv3(side).float().sigmoid()  # (B, 1, h, w), single precision under autocast


class Decoder(nn.Module):
    """Five deconv blocks with skips and an FPN path of width d on top of them.

    `widths` are the encoder's channels at 1/2 .. 1/32. A deconv block is as wide as its skip, but
    at least d. At the finest step the FPN input is a nearest-upsampled half-resolution map (`seam`)
    and nothing non-linear follows but the sigmoid, so the full-resolution probability is one
    3x3 convolution d -> 1 away from it, and the d-channel feature is only made where it is needed.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        r1, r2, r3, r4, bottleneck = widths
        out2, out3, out4, out5 = (max(skip, width) for skip in (r1, r2, r3, r4))
        self.deconv5 = Deconv(bottleneck, r4, out5)
        self.deconv4 = Deconv(out5, r3, out4)
        self.deconv3 = Deconv(out4, r2, out3)
        self.deconv2 = Deconv(out3, r1, out2)
        self.deconv1 = Deconv(out2, 0, out2)
        self.up4 = nn.Conv2d(out5, width, 1)
        self.side3 = Side(out4, width)
        self.side2 = Side(out3, width)
        self.side1 = Side(out2, width)
        self.side0 = Side(out2, width)

    def forward(self, features: Sequence[Tensor]) -> Branch:
        r1, r2, r3, r4, bottleneck = features
        x4 = self.deconv5(bottleneck, r4)  # 1/16
        x3 = self.deconv4(x4, r3)  # 1/8
        x2 = self.deconv3(x3, r2)  # 1/4
        x1 = self.deconv2(x2, r1)  # 1/2
        x0 = self.deconv1(x1)  # 1/1, kept at 1/2
        side3 = self.side3(x3, upsample(F.relu(self.up4(x4))))
        side2 = self.side2(x2, upsample(side3))
        side1 = self.side1(x1, upsample(side2))
        seam = self.side0.conv1(x0) + side1
        height, width = (2 * size for size in seam.shape[-2:])
        scales = tuple(
            F.interpolate(side.output(x), (height, width), mode="bilinear", align_corners=True)
            for side, x in ((self.side1, side1), (self.side2, side2), (self.side3, side3))
        )
        return Branch(self.probability(seam), scales, seam)  # type: ignore[arg-type]

    def probability(self, seam: Tensor) -> Tensor:
        """sigmoid(conv3(feature(seam))), (B, 1, H, W)."""
        return conv_of_upsampled(seam, *self.head()).float().sigmoid()

    def head(self) -> tuple[Tensor, Tensor]:
        """conv3 after conv2 of side_0 as one convolution: kernel (1, d, 3, 3) and bias (1,)."""
        head = self.side0.conv3.weight.flatten(1)  # (1, d)
        kernel = self.side0.conv2.weight  # (d, d, 3, 3)
        weight = (head @ kernel.flatten(1)).view(1, *kernel.shape[1:])
        assert self.side0.conv2.bias is not None
        assert self.side0.conv3.bias is not None
        return weight, head @ self.side0.conv2.bias + self.side0.conv3.bias

    def feature(self, seam: Tensor) -> Tensor:
        """The branch's full-resolution feature side_0, (B, d, H, W), linear."""
        assert self.side0.conv2.bias is not None
        return conv_of_upsampled(seam, self.side0.conv2.weight, self.side0.conv2.bias)
