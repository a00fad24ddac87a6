"""The four runs behind the shipped `lite` weights, in order, on a folder of tar shards.

    python benchmarks/train_lite.py DATA OUT

DATA holds train-*.tar, background-*.tar and dev.tar; OUT gets a run folder for each. A run whose
best.safetensors is there is left out, so an interrupted road goes on where it stopped.
"""

import sys
from dataclasses import replace
from pathlib import Path

from latefusion.data.augment import Recipe
from latefusion.train import Settings, train

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
    print(weights)


if __name__ == "__main__":
    main()
