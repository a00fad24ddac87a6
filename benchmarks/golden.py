"""Difference between the network and the Keras reference, tensor by tensor.

    python benchmarks/golden.py

float64 reveals a wrong port: it adds no rounding, so the rest is the reference's own. The exit code
is 1 if that exceeds the tolerance. float32 runs with channels last, the layout of Keras, which is
closer to its order of summation; with channels first, rounding moves r2 by 1.2e-5.
"""

from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from latefusion.export.keras_weights import read_keras
from latefusion.model.matting import MattingNetwork

TOLERANCE = 1e-5
FIXTURE = Path(__file__).parents[1] / "tests" / "golden"
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@torch.inference_mode()
def tensors(network: MattingNetwork, image: Tensor) -> dict[str, Tensor]:
    """Tensors of the network by the reference's names, each (1, C, H, W)."""
    features = network.encoder((image - network.mean) * network.scale)
    found = dict(zip(("r1", "r2", "r3", "r4", "bottleneck"), features, strict=True))
    out = network(image)
    found.update(fg=out.fg, bg=out.bg, alpha=out.alpha, blend=out.blend)
    for scale, fg, bg in zip((2, 4, 8), out.fg_scales, out.bg_scales, strict=True):
        found.update({f"fg_{scale}": fg, f"bg_{scale}": bg})
    return found


def differences(dtype: torch.dtype) -> dict[str, float]:
    """The largest absolute difference of each tensor from the reference."""
    network = read_keras(FIXTURE / "keras-small.h5").to(dtype)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with np.load(FIXTURE / "keras-small.npz") as file:
        reference = {name: torch.from_numpy(file[name]) for name in file.files}
    image = reference.pop("image").permute(2, 0, 1)[None].to(dtype)
    found = tensors(network, image.contiguous(memory_format=torch.channels_last))
    return {
        name: (found[name][0].permute(1, 2, 0) - true).abs().max().item()
        for name, true in reference.items()
    }


def main() -> None:
    """Print the table, and exit with 1 if the port is wrong."""
    found = {name: differences(dtype) for name, dtype in DTYPES.items()}
    table = Table("tensor", *found, title="Difference from Keras")
    for name in found["float32"]:
        table.add_row(name, *(f"{column[name]:.1e}" for column in found.values()))
    Console().print(table)
    worst = max(found["float64"].values())
    if worst > TOLERANCE:
        raise SystemExit(f"worst {worst:.1e}, right is at most {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
