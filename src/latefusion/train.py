"""Training: one stage of the table on pairs and backgrounds, run by Lightning into a run folder."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import (
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
)
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from latefusion.checkpoint import load_network, save_network
from latefusion.data.augment import Recipe, augment, photometric
from latefusion.data.dataset import (
    Decoded,
    RandomOrder,
    Sample,
    WithBackgrounds,
    background_canvas,
    pair_canvas,
    pair_view,
)
from latefusion.data.sources import read_images, read_pairs
from latefusion.errors import DataError, TrainingError
from latefusion.losses import Terms
from latefusion.metrics import iou, mad
from latefusion.model.encoders import ENCODERS
from latefusion.model.matting import PRESETS, MattingNetwork, MattingOutput
from latefusion.optimizers import OPTIMIZATIONS, Horizon
from latefusion.stages import STAGES, Stage

CACHED_AT_MOST = 6000  # canvases kept in memory; 1.4 MB each at 448 x 448
PICTURES = 4  # validation photos shown in TensorBoard
BEST, LAST, STATE = "best.safetensors", "last.safetensors", "last.ckpt"


@dataclass(frozen=True)
class Settings:
    """One run. `input_size` is (H, W) of the views; `weights` what an earlier stage saved.

    `horizon` is the epoch at which the learning rate has come down (default: `epochs`); give it
    where a run is to be stopped early and resumed, so that both parts follow one schedule.
    """

    stage: str
    data: Sequence[Path]
    out: Path
    backgrounds: Sequence[Path] = ()
    validation: Sequence[Path] = ()
    preset: str = "lite"
    input_size: tuple[int, int] = (256, 256)
    epochs: int | None = None
    horizon: int | None = None
    batch_size: int = 16
    weights: Path | None = None
    encoder_weights: Path | None = None
    resume: bool = False
    seed: int = 0
    workers: int = 0
    canvas: int = 448
    max_lr: float | None = None
    ema_decay: float = 0.998
    recipe: Recipe = field(default_factory=Recipe)
    progress: bool = True


def train(settings: Settings) -> Path:
    """Train one stage; give the path of the best weights, `<out>/best.safetensors`.

    Writes to `settings.out`: best and last .safetensors (averaged weights), last.ckpt (everything
    that resuming needs) and TensorBoard events. Raises DataError, WeightsError, and TrainingError
    when a loss is not finite or there is nothing to resume.
    """
    check_settings(settings)
    torch.manual_seed(settings.seed)
    stage = STAGES[settings.stage]
    epochs = settings.epochs or stage.epochs
    network = start_network(settings)
    loader, views = loaders(settings)
    module = Training(network, stage, settings, Horizon(len(loader), settings.horizon or epochs))
    state = settings.out / STATE
    trainer = pl.Trainer(
        accelerator="auto",
        devices=1,
        precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
        max_epochs=epochs,
        gradient_clip_val=5.0,
        logger=TensorBoardLogger(settings.out, name="", version="events"),
        callbacks=callbacks(settings),
        enable_model_summary=False,
        enable_progress_bar=settings.progress,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
    )
    with warnings.catch_warnings():  # Lightning's advice on workers and loggers; torch's on strides
        warnings.simplefilter("ignore", UserWarning)
        trainer.fit(module, loader, views, ckpt_path=state if settings.resume else None)
    return settings.out / BEST


def check_settings(settings: Settings) -> None:
    """Name what is wrong with the settings, and what would be right, before anything is loaded."""
    for side in settings.input_size:
        if side < 64 or side % 32:
            better = max(64, round(side / 32) * 32)
            raise DataError(f"input size {side} is not a multiple of 32 from 64 up; use {better}")
    state = settings.out / STATE
    if settings.resume and not state.exists():
        raise TrainingError(f"nothing to resume: {state} does not exist; leave --resume out")
    if not settings.resume and state.exists():
        raise TrainingError(f"{settings.out} holds a run already; pass --resume or another --out")


def start_network(settings: Settings) -> MattingNetwork:
    """The network of an earlier stage, or a new one with an ImageNet encoder."""
    if settings.weights:
        return load_network(settings.weights)
    config = PRESETS[settings.preset]
    network = MattingNetwork(config)
    encoder = ENCODERS[config.encoder]
    if settings.encoder_weights or encoder.packaged:
        encoder.load_imagenet(network.encoder, settings.encoder_weights)
    return network


def loaders(settings: Settings) -> tuple[DataLoader[Sample], DataLoader[Sample] | None]:
    """Training canvases in random order, and validation views one by one."""
    pairs = read_pairs(settings.data)
    backgrounds = read_images(settings.backgrounds) if settings.backgrounds else []
    cache = len(pairs) + len(backgrounds) <= CACHED_AT_MOST
    dataset = WithBackgrounds(
        Decoded(pairs, partial(pair_canvas, size=settings.canvas), cache),
        Decoded(backgrounds, partial(background_canvas, size=settings.canvas), cache),
    )
    loader: DataLoader[Sample] = DataLoader(
        dataset,
        batch_size=min(settings.batch_size, len(pairs)),
        sampler=RandomOrder(len(pairs), len(backgrounds), settings.seed),
        drop_last=True,
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
    )
    if not settings.validation:
        return loader, None
    view = partial(pair_view, box=settings.input_size)
    views = Decoded(read_pairs(settings.validation), view, cache=True)
    return loader, DataLoader(views, batch_size=1)


def callbacks(settings: Settings) -> list[pl.Callback]:
    """SaveWeights stands before the averaging, which takes its weights back after validation."""
    return [
        SaveWeights(settings.out),
        EMAWeightAveraging(decay=settings.ema_decay),
        ModelCheckpoint(settings.out, save_last=True, save_top_k=0, enable_version_counter=False),
        LearningRateMonitor("step"),
        *([RichProgressBar()] if settings.progress else []),
    ]


class Training(pl.LightningModule):
    """One stage as Lightning wants it. Augmentation runs here, in batches, on the device."""

    def __init__(
        self, network: MattingNetwork, stage: Stage, settings: Settings, horizon: Horizon
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.stage = stage
        self.settings = settings
        self.horizon = horizon
        self.colours = photometric()
        self.scores: list[tuple[float, float]] = []
        self.rows: list[Tensor] = []
        for name, part in network.named_children():
            part.requires_grad_(name in stage.trains)

    def train(self, mode: bool = True) -> "Training":
        """Training mode, but for the batch norms that this stage freezes."""
        super().train(mode)
        for name, part in self.network.named_children():
            if self.stage.freeze_norm or name not in self.stage.trains:
                part.eval()
        return self

    def configure_optimizers(self) -> Any:
        optimization = OPTIMIZATIONS[self.network.config.encoder]
        rate = self.settings.max_lr or optimization.peak(self.stage)
        optimizer, schedule = optimization.make(self.network, self.stage, self.horizon, rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def training_step(self, batch: Sample, index: int) -> Tensor:
        torch.manual_seed(self.settings.seed * 1_000_003 + self.global_step)
        image, alpha = augment(
            batch["pixels"],
            batch["aspect"],
            batch.get("background"),
            self.settings.input_size,
            self.settings.recipe,
            self.colours,
        )
        image = image.contiguous(memory_format=torch.channels_last)
        output = self.stage.forward(self.network, image)
        with torch.autocast(self.device.type, enabled=False):
            terms = self.stage.loss(full_precision(output), alpha)
        total = torch.stack(list(terms.values())).sum()
        self.check_finite(total, terms)
        self.log_dict({f"train/{name}": value for name, value in terms.items()})
        self.log("train/loss", total, prog_bar=True)
        return total

    def check_finite(self, total: Tensor, terms: Terms) -> None:
        if torch.isfinite(total):
            return
        named = ", ".join(f"{name} {float(value):.4g}" for name, value in terms.items())
        raise TrainingError(f"the loss is not finite at step {self.global_step}: {named}")

    def validation_step(self, batch: Sample, index: int) -> None:
        image, alpha = batch["image"].float(), batch["alpha"]
        output = full_precision(self.stage.forward(self.network, image))
        pred, true = (x[0, 0].cpu().numpy() for x in (output.alpha, alpha))
        self.scores.append((mad(pred, true), iou(pred, true)))
        if index < PICTURES:
            self.rows.append(picture_row(image / 255, output, alpha, self.settings.input_size))

    def on_validation_epoch_end(self) -> None:
        mean_mad, mean_iou = self.mean_scores()
        self.log_dict({"val/mad": mean_mad, "val/iou": mean_iou}, prog_bar=True)
        if isinstance(self.logger, TensorBoardLogger):
            grid = torch.cat(self.rows, dim=1)
            board = self.logger.experiment
            board.add_image("image fg 1-bg blend alpha true", grid, self.global_step)
        self.scores.clear()
        self.rows.clear()

    def mean_scores(self) -> tuple[float, float]:
        """MAD and IoU, means over the validation photos at the network's size."""
        mean_mad, mean_iou = np.mean(self.scores, axis=0)
        return float(mean_mad), float(mean_iou)


class SaveWeights(pl.Callback):
    """Averaged weights as files: the newest after each validation, and the best by MAD."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.best = float("inf")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        score, overlap = pl_module.mean_scores()
        self.save(LAST, pl_module, score, overlap)
        if score < self.best:
            self.best = score
            self.save(BEST, pl_module, score, overlap)
        print(f"epoch {trainer.current_epoch + 1}: validation MAD {score:.4f}, IoU {overlap:.4f}")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.val_dataloaders:
            self.save(LAST, pl_module)
            self.save(BEST, pl_module)

    def save(self, name: str, module: Any, score: float = -1.0, overlap: float = -1.0) -> None:
        notes = {"stage": module.settings.stage, "step": str(module.global_step)}
        if score >= 0:
            notes |= {"val_mad": f"{score:.5f}", "val_iou": f"{overlap:.5f}"}
        save_network(self.out / name, module.network, **notes)


def full_precision(output: MattingOutput) -> MattingOutput:
    """The same output in float32: losses and scores are not computed in half precision."""
    alpha, fg, bg, blend, fg_scales, bg_scales = output
    return MattingOutput(
        *(x.float() for x in (alpha, fg, bg, blend)),
        tuple(x.float() for x in fg_scales),  # type: ignore[arg-type]
        tuple(x.float() for x in bg_scales),  # type: ignore[arg-type]
    )


def picture_row(image: Tensor, output: MattingOutput, alpha: Tensor, box: tuple[int, int]) -> Tensor:
    """(3, H, 6 W) in [0, 1]: photo, F, 1 - B, blend, alpha and truth side by side."""
    greys = (output.fg, 1 - output.bg, output.blend, output.alpha, alpha)
    tiles = [image, *(grey.expand(-1, 3, -1, -1) for grey in greys)]
    short = [full - part for full, part in zip(box, image.shape[-2:], strict=True)]
    padded = [F.pad(tile, (0, short[1], 0, short[0])) for tile in tiles]
    return torch.cat(padded, dim=3)[0].cpu()
