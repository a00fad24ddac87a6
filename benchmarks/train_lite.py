"""The eight runs behind the shipped `lite` weights, on a folder of tar shards.

    python benchmarks/train_lite.py DATA OUT

DATA holds train-*.tar, background-*.tar and dev.tar; OUT gets a run folder for each. A run that is
done is left out and one that was interrupted is resumed, so the road goes on where it stopped.
Four runs on small views, a sharpening of the heads, then the three stages once more on views of
512 x 384, the joint one twice, and the sharpening again. Where the shipped weights went another
way than this script, docs/training.md says so.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from latefusion.data.augment import Recipe
from latefusion.model.checkpoint import load_network, read_notes, save_network
from latefusion.training.callbacks import BEST
from latefusion.training.run import Settings, train
from latefusion.training.settings import STATE

SHARPER = 2.0  # chosen on dev: see docs/log.md
WIDE = Recipe(whole_scale=(0.9, 1.35))
LARGE = Recipe(
    crop=0.25, crop_scale=(0.45, 0.9), whole_scale=(0.85, 1.3), composite_scale=(0.8, 2.0)
)
# What the checkpoint, and from it every export, says of itself.
DATA = (
    "2,716 pairs: EG1800, Clothing Co-Parsing, CelebAMask-HQ subset, web290; 540 backgrounds:"
    " Houses-dataset, Urban100, Sun-Hays80, room photos; ImageNet EfficientNet-Lite0 encoder"
)
TERMS = (
    "For research and evaluation only. Training data: EG1800 (Flickr photos, research use), "
    "Clothing Co-Parsing (Apache-2.0 in its repository), CelebAMask-HQ subset (non-commercial"
    " research), Human-Segmentation-Dataset by V. Shenoy (no licence stated); backgrounds: "
    "Houses-dataset, Urban100, Sun-Hays80, room photos of a student project (no licence "
    "stated). The code is Apache-2.0; these weights are not."
)


def common_settings(data: Path, out: Path) -> Settings:
    """What all runs share; their stage and folder are replaced."""
    return Settings(
        stage="segmentation",
        data=sorted(data.glob("train-*.tar")),
        out=out,
        backgrounds=sorted(data.glob("background-*.tar")),
        validation=[data / "dev.tar"],
        exclude=Path(__file__).with_name("exclude.txt"),
    )


def small_views(common: Settings) -> list[Settings]:
    """192 to 288 pixels: cheap, and enough to learn what a person is."""
    shards, out = common.data, common.out
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


def large_views(common: Settings) -> list[Settings]:
    """512 x 384, the size the network is used at; the fusion network sees windows of it."""
    shards, out = common.data, common.out
    view = replace(common, input_size=(512, 384), batch_size=6, epochs=1, canvas=640)
    segmentation = replace(
        view,
        out=out / "e-512",
        epochs=2,
        horizon=3,
        max_lr=4e-4,
        ema_decay=0.995,
        recipe=LARGE,
    )
    fusion = replace(
        view,
        stage="fusion",
        data=shards[:2],
        out=out / "f-fusion",
        window=(224, 192),
        ema_decay=0.97,
        recipe=replace(LARGE, crop=0.4, whole_scale=(0.85, 1.2)),
    )
    joint = replace(
        view,
        stage="joint",
        data=shards[1:4],
        out=out / "g-joint",
        window=(192, 160),
        max_lr=2.5e-4,
        ema_decay=0.98,
        recipe=replace(LARGE, whole_scale=(0.85, 1.2), composite=0.3, composite_scale=(0.8, 1.8)),
    )
    longer = replace(
        joint,
        data=shards,
        out=out / "h-joint",
        epochs=3,
        batch_size=4,
        max_lr=5e-4,
        ema_decay=0.99,
        recipe=replace(joint.recipe, composite=0.25),
    )
    return [segmentation, fusion, joint, longer]


def main() -> None:
    data, out = map(Path, sys.argv[1:])
    common = common_settings(data, out)
    small = follow(small_views(common), None)
    sharpened = out / "sharpened.safetensors"
    sharpen(small, sharpened)
    sharpen(follow(large_views(common), sharpened), out / "lite.safetensors")


def follow(runs: list[Settings], weights: Path | None) -> Path:
    """Train the runs that are missing, each from the best weights of the one before."""
    for run in runs:
        done = run.out / "done"
        if not done.exists():
            train(replace(run, weights=weights, resume=(run.out / STATE).exists()))
            done.touch()
        weights = run.out / BEST
    assert weights is not None
    return weights


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
    about = {"data": DATA, "terms": TERMS, "sharpened": str(SHARPER)}
    save_network(target, network, half=True, **kept, **about)


if __name__ == "__main__":
    main()
