"""The four runs behind the shipped `lite` weights, and the last step, on a folder of tar shards.

    python benchmarks/train_lite.py DATA OUT

DATA holds train-*.tar, background-*.tar and dev.tar; OUT gets a run folder for each. A run whose
best.safetensors is there is left out, so an interrupted road goes on where it stopped. The last
step sharpens the heads and writes OUT/lite.safetensors, which is what the package ships.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from latefusion.checkpoint import load_network, read_notes, save_network
from latefusion.data.augment import Recipe
from latefusion.train import Settings, train

SHARPER = 2.0  # chosen on dev: see docs/log.md
WIDE = Recipe(whole_scale=(0.9, 1.35))


def road(data: Path, out: Path) -> list[Settings]:
    """The runs; each starts from the best weights of the one before."""
    shards = sorted(data.glob("train-*.tar"))
    common = Settings(
        stage="segmentation",
        data=shards,
        out=out,
        backgrounds=sorted(data.glob("background-*.tar")),
        validation=[data / "dev.tar"],
    )
    small = replace(
        common, out=out / "a-192", input_size=(192, 192), epochs=9, horizon=12, canvas=416
    )
    large = replace(
        common,
        out=out / "b-288",
        input_size=(288, 288),
        epochs=2,
        batch_size=8,
        max_lr=5e-4,
        ema_decay=0.99,
        recipe=WIDE,
    )
    fusion = replace(
        common,
        stage="fusion",
        out=out / "c-fusion",
        input_size=(192, 192),
        epochs=1,
        ema_decay=0.97,
        recipe=Recipe(crop=0.5),
    )
    joint = replace(
        common,
        stage="joint",
        data=[shards[-1], shards[0]],
        out=out / "d-joint",
        epochs=1,
        batch_size=8,
        max_lr=2e-4,
        ema_decay=0.97,
        recipe=WIDE,
    )
    return [small, large, fusion, joint]


def main() -> None:
    data, out = map(Path, sys.argv[1:])
    weights = None
    for run in road(data, out):
        best = run.out / "best.safetensors"
        if not best.exists():
            train(replace(run, weights=weights))
        weights = best
    assert weights is not None
    sharpen(weights, out / "lite.safetensors")


def sharpen(source: Path, target: Path) -> None:
    """Write the weights with the logits of F and B multiplied by SHARPER, in half precision.

    A temperature: where a branch is above or below 1/2 stays, the haze between goes.
    """
    network, notes = load_network(source), read_notes(source)
    with torch.no_grad():
        for branch in (network.fg, network.bg):
            for side in (branch.side0, branch.side1, branch.side2, branch.side3):
                for parameter in side.conv3.parameters():
                    parameter.mul_(SHARPER)
    kept = {key: notes[key] for key in ("stage", "step", "input_side")}
    save_network(target, network, half=True, **kept, sharpened=str(SHARPER))


if __name__ == "__main__":
    main()
