"""The settings of a training run, and their check before anything is loaded."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latefusion.data.augment import Recipe
from latefusion.errors import DataError, TrainingError
from latefusion.model.checkpoint import read_notes
from latefusion.model.matting import PRESETS
from latefusion.runtime.model_file import BUILT_IN, packaged
from latefusion.training.stages import STAGES

PACKAGED_NAMES = (BUILT_IN,)  # stand for a file of the package where a path may be given
COUNTS = ("epochs", "horizon", "batch_size", "accumulate", "canvas", "devices", "nodes")
ABOVE_ZERO = {"passes": 1, "max_lr": 0.001}  # with an example each
LEAST_CANVAS = 448  # by default; a view of 256 x 256 may show a fifth of a photo
STATE = "last.ckpt"  # in the run's folder: everything that resuming needs


@dataclass(frozen=True)
class Settings:
    """Settings of one run. `input_size` is (H, W) of the views.

    `weights` is the file that an earlier stage saved, or `lite` for the packaged one. `preset` is
    `lite` where neither it nor `weights` is given.
    `horizon` is the epoch at which the learning rate has come down (default: `epochs`); set it for
    a run that is stopped early and resumed, so that both parts follow one schedule.
    `window` (H, W) trains the fusion network on a window of each batch's views, the one with most
    outline of four random ones, which makes a step about three times quicker.
    `cutouts` are RGBA pictures, which always go on a background; they make up `cutout_portion` of
    an epoch. An epoch has every pair `passes` times, a half or a third of them for 1/2 or 1/3.
    `canvas` is the side in pixels of the squares that photos are kept as, from which views are
    taken; by default it follows `input_size` (`canvas_side`).
    `resident` keeps all canvases in the memory of the device. `compile` compiles the network where
    it runs on whole views.
    `exclude` is a text file with the keys of pairs, cut-outs and backgrounds to leave out, one a
    line; comments begin with #.
    `keep_epochs` keeps the weights of each epoch, beside the best and the last.
    `batch_size` is that of a step, which all processes share. Each process computes its pictures
    in `accumulate` parts, one after the other, and adds up their gradients; by default in as few
    as the memory holds. A number that does not divide them is raised to one that does.
    `recompute` keeps less for the backward pass and computes it again.
    `devices` is the number of processes on this machine, one a GPU where there are any, `nodes`
    that of machines; torchrun sets both.
    """

    stage: str
    data: Sequence[Path]
    out: Path
    backgrounds: Sequence[Path] = ()
    cutouts: Sequence[Path] = ()
    cutout_portion: float = 0.2
    passes: float = 1
    resident: bool = False
    compile: bool = False
    validation: Sequence[Path] = ()
    exclude: Path | None = None
    preset: str | None = None
    input_size: tuple[int, int] = (256, 256)
    window: tuple[int, int] | None = None
    epochs: int | None = None
    horizon: int | None = None
    batch_size: int = 16
    accumulate: int | None = None
    recompute: bool = False
    weights: Path | None = None
    encoder_weights: Path | None = None
    resume: bool = False
    keep_epochs: bool = False
    seed: int = 0
    workers: int = 0
    devices: int | None = None
    nodes: int | None = None
    canvas: int | None = None
    max_lr: float | None = None
    ema_decay: float = 0.998
    recipe: Recipe = field(default_factory=Recipe)
    progress: bool = True

    @property
    def canvas_side(self) -> int:
        """The side of the canvases: the one set, or a quarter more than the longer side of views.

        The quarter is for views that show a part of a photo (docs/training.md has the figures).
        """
        longer = max(self.input_size)
        return self.canvas or max(LEAST_CANVAS, math.ceil(longer * 1.25 / 32) * 32)

    @property
    def start(self) -> Path | None:
        """The file of `weights`. Raises WeightsError for a packaged one that is not there."""
        return packaged(self.weights, ".safetensors") if self.weights else None


def check_settings(settings: Settings) -> None:
    """Raise an error that names a wrong setting and a right one."""
    check_name("stage", settings.stage, STAGES)
    check_name("preset", settings.preset or "lite", PRESETS)
    for side in settings.input_size:
        if side < 64 or side % 32:
            better = max(64, round(side / 32) * 32)
            raise DataError(f"input size {side} is not a multiple of 32 from 64 up; use {better}")
    check_window(settings)
    check_cutouts(settings)
    check_numbers(settings)
    if settings.weights and settings.encoder_weights:
        raise TrainingError("weights hold an encoder already; leave --encoder-weights out")
    check_stage(settings)
    state = settings.out / STATE
    if settings.resume and not state.exists():
        raise TrainingError(f"nothing to resume: {state} does not exist; leave --resume out")
    if not settings.resume and state.exists():
        raise TrainingError(f"{settings.out} holds a run already; pass --resume or another --out")


def check_numbers(settings: Settings) -> None:
    """Require counts from 1 up, and rates and shares above zero. Raises TrainingError."""
    for name in COUNTS:
        number = getattr(settings, name)
        if number is not None and number < 1:
            raise TrainingError(f"{name} is {number}; use 1 or more")
    for name, example in ABOVE_ZERO.items():
        number = getattr(settings, name)
        if number is not None and not 0 < number < math.inf:
            raise TrainingError(f"{name} is {number}; use a number above 0, for example {example}")
    if settings.compile and settings.recompute:
        raise TrainingError("compile and recompute exclude each other; leave one of them out")


def check_cutouts(settings: Settings) -> None:
    """Require backgrounds for cut-outs, and a portion that leaves pairs. Raises TrainingError."""
    if settings.cutouts and not settings.backgrounds:
        raise TrainingError("cut-outs have no background of their own; pass --backgrounds as well")
    if not 0 < settings.cutout_portion < 1:
        portion = f"cutout portion {settings.cutout_portion}"
        raise TrainingError(f"{portion} is not between 0 and 1; use 0.2, for example")


def check_window(settings: Settings) -> None:
    """Require even sides, since half the window is needed too, within the view. DataError."""
    for side, full in zip(settings.window or (), settings.input_size, strict=False):
        if side < 32 or side % 2 or side > full:
            better = max(32, full // 4 * 2)
            raise DataError(
                f"window side {side} is not an even number from 32 to {full}; use {better}"
            )


def check_stage(settings: Settings) -> None:
    """Require weights of the stage before, or of the stage itself. Raises TrainingError."""
    follows = STAGES[settings.stage].follows
    if follows and not settings.weights:
        raise TrainingError(
            f"stage {settings.stage} starts from the weights of stage {follows}; "
            f"pass --weights with the best.safetensors of a {follows} run"
        )
    start = settings.start
    if not follows or not start:
        return
    order = list(STAGES)
    done = read_notes(start).get("stage", follows)  # an imported file names no stage
    check_name(f"{settings.weights}: stage", done, STAGES)
    if order.index(done) < order.index(follows):
        raise TrainingError(
            f"{settings.weights} comes from stage {done}, but stage {settings.stage} starts from "
            f"{follows}; train {follows} first"
        )


def check_name(what: str, name: str, table: Mapping[str, object]) -> None:
    """Raise TrainingError, with the right names, where `name` is not in the table."""
    if name not in table:
        raise TrainingError(f"{what} {name!r} is unknown; use one of {', '.join(table)}")
