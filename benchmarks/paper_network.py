"""Train the paper's network narrowly: DenseNet-201 on small half-body portraits, on a CPU.

    python benchmarks/paper_network.py DATA OUT

DATA holds train-00.tar .. train-04.tar and dev.tar, of which portraits (`eg1800-*`) are used: those
of the first four shards for segmentation, of the last two for fusion and joint, every fourth photo
of dev for validation. Views are 64 x 64 and nearly whole photos; the encoder starts from random
values. Stages that are done are left out and one that was interrupted is resumed. At the end OUT
has an ONNX file of each stage and portraits.tar of dev, for benchmarks/ablation.py.
"""

import argparse
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train_lite import DONE, EXCLUDE, is_complete

from latefusion.data.augment import Recipe
from latefusion.export.files import ExportOptions, export
from latefusion.training.callbacks import BEST
from latefusion.training.run import Settings, train
from latefusion.training.settings import STATE

SIDE = 64
RECIPE = Recipe(crop=0.1, whole_scale=(0.9, 1.25), composite=0.0, shift=0.06, rotation=6.0)
FIRST = ("train-00", "train-01", "train-02", "train-03")
LAST = ("train-03", "train-04")


@dataclass(frozen=True)
class Run:
    """One stage, with the peak of its cyclical rate."""

    stage: str
    shards: Sequence[str]
    epochs: int
    rate: float
    window: tuple[int, int] | None = None


ROAD = (
    Run("segmentation", FIRST, 4, 0.05),
    Run("fusion", LAST, 1, 0.03, (SIDE // 2, SIDE // 2)),
    Run("joint", LAST, 2, 0.01, (SIDE // 2, SIDE // 2)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    portraits(args.data, ("dev",), args.out / "portraits.tar")
    validation = portraits(args.data, ("dev",), args.out / "validation.tar", every=4)
    weights: Path | None = None
    for run in ROAD:
        out = args.out / run.stage
        if not (out / DONE).exists():
            data = portraits(args.data, run.shards, args.out / f"{run.stage}.tar")
            settings = settings_of(run, data, validation, out, weights)
            if not is_complete(settings):
                train(settings)
            (out / DONE).touch()
        weights = out / BEST
        export(weights, args.out / f"{run.stage}.onnx", ExportOptions())


def portraits(data: Path, shards: Sequence[str], target: Path, every: int = 1) -> Path:
    """Write the half-body portraits of some shards, but for excluded ones, to one."""
    lines = EXCLUDE.read_text().splitlines()
    excluded = {line.partition("#")[0].strip() for line in lines}
    with tarfile.open(target, "w") as out:
        for shard in shards:
            with tarfile.open(data / f"{shard}.tar") as tar:
                keys = sorted({Path(name).stem for name in tar.getnames()})[::every]
                kept = {key for key in keys if key.startswith("eg1800-")} - excluded
                for member in tar:
                    if Path(member.name).stem in kept:
                        out.addfile(member, tar.extractfile(member))
    return target


def settings_of(
    run: Run, data: Path, validation: Path, out: Path, weights: Path | None
) -> Settings:
    """The settings of a stage, which is resumed where it has begun."""
    return Settings(
        stage=run.stage,
        data=[data],
        out=out,
        validation=[validation],
        preset=None if weights else "densenet201",
        weights=weights,
        input_size=(SIDE, SIDE),
        window=run.window,
        canvas=192,
        epochs=run.epochs,
        batch_size=8,
        max_lr=run.rate,
        recipe=RECIPE,
        ema_decay=0.98,
        resume=(out / STATE).exists(),
        progress=False,
    )


if __name__ == "__main__":
    main()
