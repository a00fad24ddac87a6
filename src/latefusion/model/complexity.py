"""The size and cost of a network: parameters and multiplications of each part."""

from copy import deepcopy
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from latefusion.model.matting import PRESETS, MattingNetwork

PARTS = ("encoder", "fg", "bg", "fusion")
SIZE = (512, 512)  # (H, W) at which multiplications are counted where none is given


def parameters_per_part(network: MattingNetwork) -> dict[str, int]:
    """Trainable values of each part; batch-norm statistics are not counted."""
    return {part: sum(p.numel() for p in getattr(network, part).parameters()) for part in PARTS}


def gmac_per_part(network: MattingNetwork, size: tuple[int, int] = SIZE) -> dict[str, float]:
    """Giga multiply-accumulates of each part for one image of `size` (H, W), as executed.

    Counted on a copy without values, so nothing is computed. The full-resolution features of the
    two branches are made between the parts; they count with the branches.
    """
    shape = deepcopy(network).to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shape(torch.zeros(1, 3, *size, device="meta"))
    flops = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    owner = type(network).__name__
    gmac = {part: flops[f"{owner}.{part}"] / 2e9 for part in PARTS}
    features = counter.get_total_flops() / 2e9 - sum(gmac.values())
    for branch in ("fg", "bg"):
        gmac[branch] += features / 2
    return gmac


def cost(network: MattingNetwork, size: tuple[int, int] = SIZE) -> dict[str, dict[str, Any]]:
    """`parameters` and `gmac` of each part and in total, as the sidecar of an export has them."""
    parameters, gmac = parameters_per_part(network), gmac_per_part(network, size)
    rounded = {part: round(value, 2) for part, value in gmac.items()}
    return {
        "parameters": {**parameters, "total": sum(parameters.values())},
        "gmac": {"at": list(size), **rounded, "total": round(sum(gmac.values()), 2)},
    }


def preset_of(network: MattingNetwork) -> str:
    """The name of the preset that a network is of, `custom` for any other."""
    names = [name for name, config in PRESETS.items() if config == network.config]
    return names[0] if names else "custom"
