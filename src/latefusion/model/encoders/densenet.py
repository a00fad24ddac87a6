"""The paper's encoder: DenseNet-201 with mirrored borders, under the stock parameter names."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latefusion.errors import WeightsError
from latefusion.model.encoders.stock import check_matches, read_state_dict
from latefusion.runtime.planes import WRITE_UP_MEAN

BLOCKS = (6, 12, 48, 32)  # layers of the dense blocks; these make it DenseNet-201
GROWTH = 32  # channels that each layer adds
STEM = 64
BOTTLENECK = 4  # the 1x1 convolution of a dense layer gives 4 * growth channels
NORM_EPSILON = 1.001e-5  # the Keras network's, not PyTorch's 1e-5

# What stock ImageNet weights expect: (pixels / 255 - mean) / std.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def symmetric_pad(x: Tensor, n: int) -> Tensor:
    """Pad (B, C, H, W) by n pixels a side, mirrored with the edge pixel repeated; needs H, W >= n.

    Concatenated single rows and columns instead of a flip: OpenCV 4.6 refuses the negative step
    that a flip has in ONNX.
    """
    for dim in (2, 3):
        before = [_one(x, dim, i) for i in reversed(range(n))]
        after = [_one(x, dim, -1 - i) for i in range(n)]
        x = torch.cat([*before, x, *after], dim=dim)
    return x


def _one(x: Tensor, dim: int, at: int) -> Tensor:
    """Row (dim 2) or column (dim 3) `at` with its dimension kept; negative counts from the end."""
    piece = slice(at, at + 1 if at != -1 else None)
    return x[:, :, piece] if dim == 2 else x[:, :, :, piece]


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=NORM_EPSILON)


def _norm_relu(norm: nn.Module, x: Tensor) -> Tensor:
    return F.relu(norm(x), inplace=True)


class DenseLayer(nn.Module):
    """BN-ReLU-1x1, BN-ReLU-3x3; appends `growth` channels to its input."""

    FOLDS = (("conv1", "norm2"),)

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        inner = BOTTLENECK * growth
        self.norm1 = _norm(width)
        self.conv1 = nn.Conv2d(width, inner, 1, bias=False)
        self.norm2 = _norm(inner)
        # SYMMETRIC padding by one pixel is the same as replicate.
        self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, padding_mode="replicate", bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(_norm_relu(self.norm1, x))
        new = self.conv2(_norm_relu(self.norm2, new))
        return torch.cat([x, new], dim=1)


class Transition(nn.Module):
    """BN-ReLU-1x1 to half the channels, then half the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.conv = nn.Conv2d(width, width // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # The convolution looks at one pixel each, so pooling may come first: a quarter of the work.
        return self.conv(F.avg_pool2d(_norm_relu(self.norm, x), 2))


class DenseNetEncoder(nn.Module):
    """DenseNet without classifier (Huang et al., CVPR 2017); the default is DenseNet-201.

    forward: (B, 3, H, W) pixels minus `mean`, H and W multiples of 32 -> five features at 1/2 ..
    1/32 with `widths` channels: the ReLU after the stem, the raw outputs of dense blocks 1 to 3
    (before the transition), and the last block after its batch norm, without ReLU.
    """

    FOLDS = (("features.conv0", "features.norm0"),)

    mean = WRITE_UP_MEAN  # RGB, of the authors' training set
    scale = 1.0

    def __init__(self, blocks: Sequence[int] = BLOCKS, growth: int = GROWTH) -> None:
        super().__init__()
        if len(blocks) != 4:
            raise ValueError(f"{len(blocks)} dense blocks; an encoder for 1/4 .. 1/32 has 4")
        self.blocks = tuple(blocks)
        self.features = nn.ModuleDict(
            {
                "conv0": nn.Conv2d(3, STEM, 7, stride=2, bias=False),  # forward pads it
                "norm0": _norm(STEM),
            }
        )
        width, widths = STEM, [STEM]
        for b, layers in enumerate(self.blocks, start=1):
            self.features[f"denseblock{b}"] = _block(width, layers, growth)
            width += layers * growth
            widths.append(width)
            if b < len(self.blocks):
                self.features[f"transition{b}"] = Transition(width)
                width //= 2
        self.features["norm5"] = _norm(width)
        self.widths = (widths[0], widths[1], widths[2], widths[3], widths[4])

    def forward(self, x: Tensor) -> list[Tensor]:
        part = self.features
        r1 = _norm_relu(part["norm0"], part["conv0"](symmetric_pad(x, 3)))  # (B, 64, H/2, W/2)
        x = F.max_pool2d(r1, 3, stride=2, padding=1)
        r2 = part["denseblock1"](x)
        r3 = part["denseblock2"](part["transition1"](r2))
        r4 = part["denseblock3"](part["transition2"](r3))
        bottleneck = part["norm5"](part["denseblock4"](part["transition3"](r4)))
        return [r1, r2, r3, r4, bottleneck]


def _block(width: int, layers: int, growth: int) -> nn.Sequential:
    block = nn.Sequential()
    for i in range(layers):
        block.add_module(f"denselayer{i + 1}", DenseLayer(width + i * growth, growth))
    return block


def load_imagenet(encoder: DenseNetEncoder, path: Path | None) -> None:
    """Fill the encoder from the file of a stock DenseNet-201 state dict, .pth, .pt or .safetensors.

    Key styles norm1/conv1 and the older norm.1/conv.1, with or without the classifier. The stock
    input convention is folded into the stem. Nothing in the file is executed. Raises WeightsError
    for any other file or state dict.
    """
    if path is None:
        raise WeightsError(
            "no ImageNet weights for the DenseNet encoder come with the package; "
            "give the file of a stock DenseNet-201 state dict (.pth or .safetensors)"
        )
    stock = {_new_style(key): value for key, value in read_state_dict(path).items()}
    stock = {key: value for key, value in stock.items() if not key.startswith("classifier.")}
    blocks = ", ".join(map(str, encoder.blocks))
    right = f"a stock state dict with dense blocks of {blocks} (DenseNet-201: 6, 12, 48, 32)"
    check_matches(encoder, stock, path, right)
    encoder.load_state_dict(_fold_input(stock, encoder.mean), strict=False)


def _new_style(key: str) -> str:
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", key)


def _fold_input(stock: Mapping[str, Tensor], mean: Sequence[float]) -> dict[str, Tensor]:
    """Stock weights for (pixels / 255 - m) / s, rewritten for pixels - mean.

    (pixels / 255 - m) / s = ((pixels - mean) + (mean - 255 m)) / (255 s). The factor goes into the
    stem's kernel. The constant of each colour meets no zeros at a mirrored border, so it adds one
    number to each output channel, which the running mean of the next batch norm takes up exactly.
    """
    std255 = torch.tensor(IMAGENET_STD, dtype=torch.float64) * 255
    offset = (
        torch.tensor(mean, dtype=torch.float64)
        - torch.tensor(IMAGENET_MEAN, dtype=torch.float64) * 255
    )
    kernel = stock["features.conv0.weight"].double() / std255.view(1, 3, 1, 1)  # (64, 3, 7, 7)
    constant = kernel.sum(dim=(2, 3)) @ offset  # (64,)
    running_mean = stock["features.norm0.running_mean"].double() - constant
    return {
        **stock,
        "features.conv0.weight": kernel.float(),
        "features.norm0.running_mean": running_mean.float(),
    }
