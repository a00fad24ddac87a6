"""The files a run keeps: weights, whole checkpoints, its settings and metrics; and its bar."""

import csv
import io
import logging
import math
from dataclasses import replace
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar, WeightAveraging
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from latefusion.errors import TrainingError, reason
from latefusion.images.regular import read_regular
from latefusion.images.writing import whole_file
from latefusion.model.checkpoint import save_network
from latefusion.schema import brief
from latefusion.training.batch import divide, parts_of, tell_parts
from latefusion.training.distributed import merged
from latefusion.training.module import Training
from latefusion.training.settings import Settings
from latefusion.training.settings_file import SETTINGS, write_settings
from latefusion.training.state import read_state

BEST, LAST = "best.safetensors", "last.safetensors"
METRICS = "metrics.csv"

Row = dict[str, str]

log = logging.getLogger(__name__)

UNTIMED, TIMED = 1, 3  # steps: the first one prepares, the next tell how long a run takes
TOLD_FROM = 600.0  # seconds of a run


def averaging(decay: float) -> WeightAveraging:
    """An exponential moving average of all weights and statistics, from the first step on.

    The decay grows with the steps n as (1 + n) / (10 + n) up to `decay`: a fixed one would keep
    the random start in the average for thousands of steps. Interpolation leaves two equal values
    as they are, so what a stage does not train stays the same to the last bit, which Lightning's
    own `decay * a + (1 - decay) * b` does not promise.
    """

    def average(mean: Tensor, value: Tensor, count: Tensor) -> Tensor:
        if not mean.is_floating_point():
            return value
        steps = float(count)
        return torch.lerp(mean, value, 1 - min(decay, (1 + steps) / (10 + steps)))

    return WeightAveraging(avg_fn=average)


class WholeFiles(TorchCheckpointIO):
    """Lightning's checkpoints as files that appear whole, or OutputError.

    Lightning writes them to the temporary folder first; from another disk, they would be copied
    over the last one, which a full disk would leave cut short.
    """

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The state of a run, on the CPU. Raises TrainingError."""
        return read_state(Path(path))

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        encoded = io.BytesIO()  # torch.save would raise RuntimeError on a full disk
        torch.save(checkpoint, encoded)
        with whole_file(Path(path)) as file:
            file.write(encoded.getbuffer())


class SaveWeights(pl.Callback):
    """Writes the averaged weights after each validation, and the best; the first process only.

    With `keep_epochs` those of each epoch stay, too. It must come before the averaging, `means`, in
    the list of callbacks, which puts its weights into the network for validation and removes them
    when validation ends.
    """

    def __init__(self, out: Path, means: WeightAveraging, keep_epochs: bool = False) -> None:
        self.out = out
        self.means = means
        self.keep_epochs = keep_epochs
        self.best = float("inf")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best = state_dict["best"]
        if not isinstance(best, float) or math.isnan(best):
            raise ValueError(f"the best score cannot be {brief(best)}")
        self.best = best

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        score, overlap = pl_module.mean_scores()
        figures = {"val_mad": f"{score:.5f}", "val_iou": f"{overlap:.5f}"}
        self.save(LAST, pl_module, figures)
        if score < self.best:
            self.best = score
            self.save(BEST, pl_module, figures)
        if self.keep_epochs:
            self.save(epoch_file(trainer), pl_module, figures)
        pl_module.print(f"{epoch_of(trainer)}: validation MAD {score:.4f}, IoU {overlap:.4f}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Without validation photos, borrow the averaged weights as validation would."""
        assert isinstance(pl_module, Training)
        if self.keep_epochs and not trainer.val_dataloaders:
            self.means.on_validation_epoch_start(trainer, pl_module)
            self.save(epoch_file(trainer), pl_module, {})
            self.means.on_validation_epoch_end(trainer, pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Without validation photos the averaged weights at the end count as the best."""
        assert isinstance(pl_module, Training)
        if not trainer.val_dataloaders:
            self.save(LAST, pl_module, {})
            self.save(BEST, pl_module, {})

    @rank_zero_only
    def save(self, name: str, module: Training, figures: dict[str, str]) -> None:
        notes = {
            "stage": module.settings.stage,
            "step": str(module.global_step),
            "input_side": str(max(module.settings.input_size)),
            "data": ", ".join(source.name for source in module.settings.data),
            **figures,
        }
        save_network(self.out / name, module.network, half=False, **notes)


class Parts(pl.Callback):
    """Lets all processes take the parts of a batch that the one with the least memory needs."""

    loader: DataLoader[Any]  # made after the trainer, which tells this process its share

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        own = parts_of(self.loader)
        parts = max(merged({str(trainer.global_rank): own}).values())
        tell_parts(pl_module.settings.accumulate or 1, own, parts)
        divide(self.loader, parts)
        trainer.accumulate_grad_batches = parts
        pl_module.settings = replace(pl_module.settings, accumulate=parts)


class Record(pl.Callback):
    """Writes settings.yaml when training starts, and a row of metrics.csv after each epoch.

    Lightning's CSVLogger has a row a step, empties its folder when a run is resumed, and would not
    replace the row of an epoch that is run again.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.start = 0.0

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the settings with the rate and the epochs that they stand for."""
        assert isinstance(pl_module, Training)
        parts = pl_module.settings.accumulate or 1
        used = replace(
            self.settings,
            accumulate=parts if parts > 1 else self.settings.accumulate,
            max_lr=pl_module.peak,
            epochs=trainer.max_epochs,
            horizon=pl_module.horizon.epochs,
        )
        rows_of(self.settings.out / METRICS)  # not only after an epoch
        write_settings(self.settings.out / SETTINGS, used)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start = perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        means = pl_module.mean_terms()
        scores = {
            name.replace("val/", "val_"): float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        rate = max(group["lr"] for group in trainer.optimizers[0].param_groups)
        figures = {"loss": sum(means.values()), **means, **scores, "learning_rate": rate}
        row = {name: f"{value:.6g}" for name, value in figures.items()}
        place = {"epoch": str(trainer.current_epoch + 1), "step": str(trainer.global_step)}
        self.add({**place, **row, "seconds": f"{perf_counter() - self.start:.1f}"})

    @rank_zero_only
    def add(self, row: Row) -> None:
        """Write the row of an epoch, after those of the epochs before it. Raises OutputError."""
        path = self.settings.out / METRICS
        rows = [each for each in rows_of(path) if int(each["epoch"]) < int(row["epoch"])] + [row]
        text = io.StringIO()
        writer = csv.DictWriter(text, [*dict.fromkeys(chain(*rows))], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with whole_file(path) as file:
            file.write(text.getvalue().encode())


def rows_of(path: Path) -> list[Row]:
    """The rows of metrics.csv, none without the file. Raises TrainingError for a damaged one."""
    try:
        text = io.StringIO(read_regular(path).decode())
        rows = list(csv.DictReader(text, restkey="", strict=True))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise TrainingError(f"{path} cannot be read: {reason(error)}; move it away") from None
    for number, row in enumerate(rows, start=2):
        if None in row.values() or "" in row or not row.get("epoch", "").isdecimal():
            raise TrainingError(f"{path}: line {number} is damaged; move the file away")
    return rows


class Rates(pl.Callback):
    """Logs a curve for each learning rate that differs, under Lightning's names for the groups.

    Lightning's own LearningRateMonitor logs one for each group, which for the paper's optimizer are
    as many as there are parameters: 676.
    """

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        pl_module.log_dict(rates_of(trainer.optimizers[0]))


def rates_of(optimizer: Optimizer) -> dict[str, float]:
    """The rates of the groups by the name of the first group that has each."""
    groups = optimizer.param_groups
    first = {group["initial_lr"]: i for i, group in reversed([*enumerate(groups)])}
    name = f"lr-{type(optimizer).__name__}"
    return {
        name if len(first) == 1 else f"{name}/pg{i + 1}": groups[i]["lr"]
        for i in sorted(first.values())
    }


class Forecast(pl.Callback):
    """Says after a few steps how long the run will take, where that is ten minutes or more."""

    def __init__(self) -> None:
        self.steps = 0
        self.start = 0.0

    @rank_zero_only
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches or self.steps > UNTIMED + TIMED:
            return
        self.steps += 1
        if self.steps == UNTIMED:
            self.start = perf_counter()
        if self.steps == UNTIMED + TIMED:
            assert isinstance(pl_module, Training)
            tell_time(trainer, pl_module.horizon.steps, (perf_counter() - self.start) / TIMED)


def tell_time(trainer: pl.Trainer, steps: int, seconds: float) -> None:
    """Say how long an epoch of so many steps, and the rest of the run, will take."""
    assert trainer.max_epochs is not None
    left = (steps * trainer.max_epochs - trainer.global_step) * seconds
    if left >= TOLD_FROM:
        log.warning(
            "%.1f s a step: about %s an epoch of %d steps, and %s to the end, without validation",
            *(seconds, duration(steps * seconds), steps, duration(left)),
        )


def duration(seconds: float) -> str:
    """Seconds as minutes, hours or days, the largest of them that is at least one."""
    sizes = {"days": 86400, "hours": 3600, "minutes": 60}
    name = next((name for name, size in sizes.items() if seconds >= size), "minutes")
    return f"{seconds / sizes[name]:.1f} {name}"


class Bar(RichProgressBar):
    """Lightning's progress bar, with epochs counted from 1 as in all that is printed."""

    def _get_train_description(self, current_epoch: int) -> str:
        return epoch_of(self.trainer)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """The losses and scores, without the name of the logger's folder."""
        shown: dict[str, Any] = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        return shown


def epoch_file(trainer: pl.Trainer) -> str:
    """The name of the weights of the current epoch, counted from 1."""
    return f"epoch-{trainer.current_epoch + 1:02}.safetensors"


def epoch_of(trainer: pl.Trainer) -> str:
    """The current epoch of all, counted from 1."""
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
