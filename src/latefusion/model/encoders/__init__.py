"""The encoders: a table from name to how one is built and filled with pretrained weights.

The contract: `widths` (channels at 1/2 .. 1/32), `mean` and `scale` (the encoder sees
(pixels - mean) * scale), and `forward(x)` giving the five features, finest first.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from latefusion.model.encoders import densenet, efficientnet_lite, mobilenetv2


class EncoderSpec(NamedTuple):
    """`load_pretrained(encoder, path)` takes None where a package brings them (`packaged`)."""

    build: Callable[..., Any]
    load_pretrained: Callable[[Any, Path | None], None]
    packaged: bool = False


ENCODERS = {
    "densenet201": EncoderSpec(densenet.DenseNetEncoder, densenet.load_imagenet),
    "efficientnet-lite0": EncoderSpec(
        efficientnet_lite.lite0, efficientnet_lite.load_imagenet, packaged=True
    ),
    "mobilenetv2": EncoderSpec(mobilenetv2.MobileNetV2, mobilenetv2.load_modnet),
}
