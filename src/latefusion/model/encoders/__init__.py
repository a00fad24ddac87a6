"""The encoders: a table from name to how one is built and filled with ImageNet weights.

The contract: `widths` (channels at 1/2 .. 1/32), `mean` and `scale` (the encoder sees
(pixels - mean) * scale), and `forward(x)` giving the five features, finest first.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from latefusion.model.encoders import densenet, efficientnet_lite


class EncoderSpec(NamedTuple):
    """`load_imagenet(encoder, path)` takes None where a package brings the weights (`packaged`)."""

    build: Callable[..., Any]
    load_imagenet: Callable[[Any, Path | None], None]
    packaged: bool = False


ENCODERS = {
    "densenet201": EncoderSpec(densenet.DenseNetEncoder, densenet.load_imagenet),
    "efficientnet-lite0": EncoderSpec(
        efficientnet_lite.lite0, efficientnet_lite.load_imagenet, packaged=True
    ),
}
