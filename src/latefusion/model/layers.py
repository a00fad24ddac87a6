"""Layers both decoders share: nearest upsampling and a 3x3 convolution on an upsampled map."""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor


def upsample(x: Tensor) -> Tensor:
    """Nearest upsampling x2, (B, C, H, W) -> (B, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def shuffle(x: Tensor) -> Tensor:
    """pixel_shuffle(x, 2), (B, 4C, H, W) -> (B, C, 2H, 2W), in two transpositions.

    ONNX Runtime does those three times as fast as the operator of that name.
    """
    _, channels, height, width = x.shape
    rows = x.reshape(-1, 2, height * width).transpose(1, 2).reshape(-1, 2, height, 2 * width)
    return rows.transpose(1, 2).reshape(-1, channels // 4, 2 * height, 2 * width)


def interleaved(x: Tensor) -> Tensor:
    """`shuffle` of phases that come one after the other, each with all channels."""
    _, channels, height, width = x.shape
    rows = x.reshape(-1, 2, channels // 4 * height * width).transpose(1, 2)
    rows = rows.reshape(-1, 2, channels // 4 * height, 2 * width)
    return rows.transpose(1, 2).reshape(-1, channels // 4, 2 * height, 2 * width)


def conv_of_upsampled(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3x3 convolution with replicate padding on `upsample(x)`, computed at x's own resolution.

    A 3x3 window on a nearest-upsampled map covers only 2x2 different pixels, so each of the four
    output phases is a 2x2 convolution whose kernel sums the rows and columns that coincide:
    4/9 of the multiplications, and no full-resolution input. Exact, borders included.

    x (B, C, H, W), weight (D, C, 3, 3), bias (D,) -> (B, D, 2H, 2W).
    """
    placed = phases_of_upsampled(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight, bias)
    interleaved = torch.stack(placed, dim=2).flatten(1, 2)  # (B, 4D, H, W), phase fastest
    return F.pixel_shuffle(interleaved, 2)


def phases_of_upsampled(padded: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    """The four phases of `conv_of_upsampled`, columns fastest; padded (B, C, H + 2, W + 2)."""
    even = torch.stack([weight[:, :, 0], weight[:, :, 1] + weight[:, :, 2]], dim=2)
    odd = torch.stack([weight[:, :, 0] + weight[:, :, 1], weight[:, :, 2]], dim=2)
    kernels = [
        torch.stack(columns, dim=3)
        for rows in (even, odd)  # (D, C, 2, 3)
        for columns in (
            (rows[..., 0], rows[..., 1] + rows[..., 2]),
            (rows[..., 0] + rows[..., 1], rows[..., 2]),
        )
    ]
    phases = F.conv2d(padded, torch.cat(kernels), bias.repeat(4)).chunk(4, dim=1)
    first, second = slice(None, -1), slice(1, None)
    return [
        phase[:, :, rows, columns]
        for phase, (rows, columns) in zip(
            phases, product((first, second), (first, second)), strict=True
        )
    ]
