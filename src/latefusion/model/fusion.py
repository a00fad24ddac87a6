"""The fusion network: both branches' features and the image in, the blending weight out."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPSILON = 1e-3


class Fusion(nn.Module):
    """Five 3x3 convolutions at full resolution and a sigmoid head (paper, section 3.2).

    The paper draws the fifth convolution as the sigmoid one and a ReLU on the image's own
    convolution; the authors' code, followed here, has a 1x1 head and no ReLU there.
    """

    def __init__(self, width: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.rgb = nn.Conv2d(3, width, 3, padding=1)
        self.rgb_norm = nn.BatchNorm2d(width, eps=NORM_EPSILON)
        inputs = (3 * width, *channels[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1) for i, o in zip(inputs, channels, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o, eps=NORM_EPSILON) for o in channels)
        self.head = nn.Conv2d(channels[-1], 1, 1)

    def forward(self, image: Tensor, fg_feature: Tensor, bg_feature: Tensor) -> Tensor:
        x = torch.cat([fg_feature, bg_feature, self.rgb_norm(self.rgb(image))], dim=1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.layer(conv, norm, x)
        return self.head(x).float().sigmoid()  # (B, 1, H, W)

    def layer(self, conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
        return F.relu(norm(conv(x)))
