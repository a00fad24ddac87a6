"""Training runs of the toy network by name, in as many processes as launch this file.

    python -m tests.helpers.training_runs FOLDER OUT

Each run leaves in its folder, for every rank, what the process saw: `rank-0.json`.
"""

import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from latefusion.errors import TrainingError
from latefusion.model.checkpoint import save_network
from latefusion.training.module import Training
from latefusion.training.run import Settings, train
from tests.helpers.toy_network import (
    add_toy_preset,
    toy_network,
    write_toy_backgrounds,
    write_toy_pairs,
)

CHANGES: dict[str, dict[str, Any]] = {
    "segmentation": {},
    "fusion": {"stage": "fusion", "epochs": 2},
    "joint": {"stage": "joint", "epochs": 2},
    "window": {"stage": "fusion", "window": (32, 48), "epochs": 2},
    "plain": {"backgrounds": (), "validation": (), "workers": 1, "epochs": 2},
    "recompute": {"recompute": True, "epochs": 2},
}
UNLIKE = "unlike"  # the processes see the pairs in different orders
PARTS = "parts"  # the second process needs two parts of a batch
LOST = "lost"  # three epochs of the first one; a process is lost in the second


def write_data(folder: Path) -> Path:
    """13 pairs, of which a batch of 4 leaves one out; photos to validate, one more than even."""
    write_toy_pairs(folder / "train", 13, seed=0)
    write_toy_pairs(folder / "dev", 3, seed=1)
    write_toy_backgrounds(folder / "backgrounds", 3)
    save_network(folder / "start.safetensors", toy_network())
    return folder


def run_settings(folder: Path, out: Path, name: str) -> Settings:
    first = Settings(
        stage="segmentation",
        data=[folder / "train"],
        out=out / name,
        backgrounds=[folder / "backgrounds"],
        validation=[folder / "dev"],
        preset="toy",
        input_size=(64, 64),
        epochs=7,
        horizon=7,
        batch_size=4,
        canvas=64,
        weights=folder / "start.safetensors",
        ema_decay=0.6,
        max_lr=2e-3,
        progress=False,
    )
    return replace(first, **CHANGES.get(name, {"epochs": 3}))


@dataclass
class Recorder(pl.Callback):
    """The losses of the batches, and the keys this process saw, by epoch."""

    losses: list[float] = field(default_factory=list)
    keys: list[list[str]] = field(default_factory=list)
    validated: list[list[str]] = field(default_factory=list)
    rank: int = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rank = trainer.global_rank

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.keys.append([])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, _: int
    ) -> None:
        self.losses.append(float(trainer.callback_metrics["train/loss"]))
        self.keys[-1] += [Path(key).name for key in batch["key"]]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        self.validated.append([Path(key).name for key in pl_module.scores])

    def save(self, folder: Path) -> None:
        seen = {"losses": self.losses, "keys": self.keys, "validated": self.validated}
        (folder / f"rank-{self.rank}.json").write_text(json.dumps(seen))


class Loss(pl.Callback):
    """The second process ends in the second epoch, but not when torchrun has started it again."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        first_time = os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"
        if first_time and trainer.global_rank == 1 and trainer.global_step == 4:
            os._exit(1)


def run(settings: Settings, *watchers: pl.Callback) -> None:
    """Train, and leave what this process saw in the run's folder."""
    recorder = Recorder()
    train(settings, [recorder, *watchers])
    recorder.save(settings.out)


def run_unlike(settings: Settings) -> None:
    """Leave what the processes say that are not started alike."""
    rank = int(os.environ["RANK"])
    try:
        train(replace(settings, seed=rank))
    except TrainingError as error:
        (settings.out / f"rank-{rank}.txt").write_text(str(error))


def run_in_parts(settings: Settings) -> None:
    """Train where the second process needs more parts of a batch than the first."""
    run(replace(settings, accumulate=int(os.environ["RANK"]) + 1))


def main() -> None:
    folder, out = map(Path, sys.argv[1:])
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_toy_preset(monkeypatch)
        run(run_settings(folder, out, LOST), Loss())
        for name in CHANGES:
            run(run_settings(folder, out, name))
        run_in_parts(run_settings(folder, out, PARTS))
        run_unlike(run_settings(folder, out, UNLIKE))


if __name__ == "__main__":
    main()
