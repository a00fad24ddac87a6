"""A network of a few thousand values with an encoder of its own, and pairs small enough for it."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latefusion.export.files import ExportOptions, export
from latefusion.model.checkpoint import save_network
from latefusion.model.encoders import ENCODERS, EncoderSpec
from latefusion.model.matting import PRESETS, MattingNetwork, NetworkConfig

WIDTHS = (4, 5, 7, 8, 9)
TOY = NetworkConfig("toy", width=6, fusion=(4, 5, 4, 3, 4), encoder_args={"widths": WIDTHS})


class ToyEncoder(nn.Module):
    """Five strided convolutions; the file an author of a third encoder would write."""

    mean = (120.0, 110.0, 100.0)
    scale = 1 / 64

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.widths = widths
        inputs = (3, *widths[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, 2, 1) for i, o in zip(inputs, widths, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
            features.append(x)
        return features


def no_imagenet(encoder: ToyEncoder, path: Path | None) -> None:
    raise NotImplementedError


def add_toy_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one table row that a third encoder needs, and a preset that uses it."""
    monkeypatch.setitem(ENCODERS, "toy", EncoderSpec(ToyEncoder, no_imagenet))
    monkeypatch.setitem(PRESETS, "toy", TOY)


def toy_network(seed: int = 0) -> MattingNetwork:
    """The toy preset in eval mode with every value moved off its initial one."""
    torch.manual_seed(seed)
    network = MattingNetwork(TOY).eval()
    perturb_norms(network)
    return network


def perturb_norms(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)


def write_toy_pairs(folder: Path, count: int, seed: int) -> Path:
    """Wide photos with a reddish, soft-edged subject left of the middle; KEY.jpg with KEY.png."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:48, 0:80]
    for i in range(count):
        column, row = rng.uniform(18, 30), rng.uniform(18, 30)
        distance = np.hypot((x - column) / 12, (y - row) / 16)
        alpha = np.clip((1.3 - distance) / 0.6, 0, 1)[:, :, None]
        behind = np.dstack([x + 20, 3 * y + 40, np.full_like(x, 90 + 20 * i)])
        photo = alpha * (210, 60, 40) + (1 - alpha) * behind + rng.normal(0, 6, (48, 80, 1))
        bgr = photo.clip(0, 255).astype(np.uint8)[:, :, ::-1]
        cv2.imwrite(str(folder / f"{i:02}.jpg"), bgr)
        cv2.imwrite(str(folder / f"{i:02}.png"), np.rint(alpha * 255).astype(np.uint8))
    return folder


def write_toy_backgrounds(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(9)
    for i in range(count):
        coarse = rng.integers(0, 256, (4, 6, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), cv2.resize(coarse, (90, 60)))
    return folder


def write_toy_cutouts(folder: Path, count: int) -> Path:
    """Subjects like those of the pairs, each of another green, as RGBA."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[0:48, 0:80]
    alpha = np.clip((1.3 - np.hypot((x - 24) / 12, (y - 24) / 16)) / 0.6, 0, 1)
    for i in range(count):
        bgra = np.dstack([np.full((48, 80, 3), (40, 200 - 9 * i, 30)), alpha * 255])
        cv2.imwrite(str(folder / f"cut-{i}.png"), np.rint(bgra).astype(np.uint8))
    return folder


def export_toy(
    folder: Path, make: Callable[[], MattingNetwork], exports: dict[str, ExportOptions]
) -> Path:
    """The folder with a toy network's exports in it, by their names: made once for a module."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_toy_preset(monkeypatch)
        source = folder / "toy.safetensors"
        save_network(source, make(), stage="joint")
        for name, options in exports.items():
            export(source, folder / name, options)
    return folder


def perturbed(config: NetworkConfig, seed: int = 0) -> MattingNetwork:
    """A network in eval mode with no value at its initial one, and heads that do not saturate."""
    torch.manual_seed(seed)
    network = MattingNetwork(config).eval()
    perturb_norms(network)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.Conv2d) and part.bias is not None:
                part.bias.normal_(0, 0.3)
        spread_out(network)
    return network


def spread_out(network: MattingNetwork) -> None:
    """Scale the heads so that every output varies by some percent over a picture of noise."""
    image = torch.rand(1, 3, 64, 96) * 255
    for name, head in (
        ("fg", network.fg.side0.conv3),
        ("bg", network.bg.side0.conv3),
        ("blend", network.fusion.head),
    ):
        logits = getattr(network(image), name).double().logit()
        assert head.bias is not None
        head.bias.copy_((head.bias - logits.mean()) / logits.std())
        head.weight /= logits.std()
