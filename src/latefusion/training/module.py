"""One stage of training as Lightning runs it: a step, a validation, and what a resume checks."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from latefusion.data.augment import augment
from latefusion.data.dataset import Resident, Sample, WithBackgrounds
from latefusion.data.share import ALONE, Share
from latefusion.errors import TrainingError
from latefusion.metrics import iou, mad
from latefusion.model.matting import MattingNetwork, MattingOutput, Window
from latefusion.training.distributed import launch_id, mean_over_processes, merged, stop_at_sigterm
from latefusion.training.losses import Terms, in_transition
from latefusion.training.norms import synchronise
from latefusion.training.optimizers import Horizon, optimization
from latefusion.training.recompute import recompute
from latefusion.training.settings import Settings
from latefusion.training.stages import Stage
from latefusion.training.state import check_optimizer

PICTURES = 4  # validation photos shown in TensorBoard


def memory_format(stage: Stage, settings: Settings) -> torch.memory_format:
    """Channels last, except for stages that run the fusion network on whole views on a CPU.

    There its few channels at full resolution are a quarter slower (docs/speed.md).
    """
    slower = stage.fuses and settings.window is None and not torch.cuda.is_available()
    return torch.contiguous_format if slower else torch.channels_last


class Training(pl.LightningModule):
    """One stage as a LightningModule. Augmentation runs here, in batches, on the device.

    `order` is a digest of all that decides which process sees which pair. `canvases`, where given,
    are kept on the device, and the loader gives indices only.
    """

    def __init__(
        self,
        network: MattingNetwork,
        stage: Stage,
        settings: Settings,
        horizon: Horizon,
        share: Share = ALONE,
        order: str = "",
        canvases: WithBackgrounds | None = None,
    ) -> None:
        super().__init__()
        self.layout = memory_format(stage, settings)
        self.network = network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.stage = stage
        self.settings = settings
        self.horizon = horizon
        self.share = share
        self.order = order
        self.scores: dict[str, tuple[float, float]] = {}
        self.rows: list[Tensor] = []
        self.terms: list[Terms] = []  # of the steps of the epoch so far
        self.begun = False  # training, all that it resumes from restored
        self.canvases = canvases
        self.resident: Resident | None = None
        self.run = torch.compile(stage.forward) if settings.compile else stage.forward
        for name, part in network.named_children():
            part.requires_grad_(name in stage.trains)
            if share.world > 1 and name in stage.moves_norm:
                synchronise(part)
        if settings.recompute:
            recompute(network)
        self.train()  # loaded weights come in eval mode, and Lightning leaves modes as they are

    def train(self, mode: bool = True) -> "Training":
        """Training mode, except for the batch norms that this stage freezes."""
        super().train(mode)
        for name, part in self.network.named_children():
            if name not in self.stage.moves_norm:
                part.eval()
        return self

    @property
    def peak(self) -> float:
        """The peak learning rate: the one set, or that of the stage."""
        return self.settings.max_lr or optimization(self.network.config.encoder).peak(self.stage)

    def configure_optimizers(self) -> Any:
        make = optimization(self.network.config.encoder).make
        optimizer, schedule = make(self.network, self.stage, self.horizon, self.peak)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_fit_start(self) -> None:
        """Refuse processes whose shares do not make up one batch; load resident canvases."""
        if len(set(merged({str(self.share.rank): self.order}).values())) > 1:
            raise TrainingError(
                "the processes differ in pairs, batch size or seed; start all of them with the "
                "same settings on the same files"
            )
        if self.canvases:
            self.resident = Resident(self.canvases, self.device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Put a batch of resident canvases together from the loader's indices."""
        if self.resident and self.trainer.training:
            return self.resident.batch(*batch)
        return batch

    def on_train_start(self) -> None:
        stop_at_sigterm()  # not earlier: Lightning would install its own handler over it
        for optimizer in self.trainer.optimizers:
            check_optimizer(optimizer)
        self.begun = True

    def training_step(self, batch: Sample, index: int) -> Tensor:
        parts = self.settings.accumulate or 1
        drawn = self.global_step * parts + index % parts
        torch.manual_seed(self.settings.seed * 1_000_003 + drawn)
        with torch.autocast(self.device.type, enabled=False):  # bf16 coordinates are pixels off
            image, alpha = augment(
                batch["pixels"],
                batch["aspect"],
                batch.get("background"),
                self.settings.input_size,
                self.settings.recipe,
                share=self.share,
                cutout=batch.get("cutout"),
            )
        image = image.contiguous(memory_format=self.layout)
        output = self.views(image, alpha)
        with torch.autocast(self.device.type, enabled=False):
            terms = self.stage.loss(output, alpha)
        losses = torch.stack(list(terms.values()))
        total = losses.sum()
        # All processes must see the same figures, and stop together.
        means = mean_over_processes(losses.detach())
        self.report(means.sum(), dict(zip(terms, means, strict=True)))
        return total

    def report(self, total: Tensor, terms: Terms) -> None:
        """Log the loss of the whole batch and its terms. Raises TrainingError if not finite."""
        if not torch.isfinite(total):
            named = ", ".join(f"{name} {float(value):.4g}" for name, value in terms.items())
            raise TrainingError(f"the loss is not finite at step {self.global_step}: {named}")
        self.terms.append(terms)
        self.log_dict({f"train/{name}": value for name, value in terms.items()})
        self.log("train/loss", total, prog_bar=True)

    def on_train_epoch_start(self) -> None:
        self.terms.clear()

    def mean_terms(self) -> dict[str, float]:
        """The loss's terms, means over the steps of the epoch."""
        return {
            name: float(torch.stack([terms[name] for terms in self.terms]).mean())
            for name in self.terms[0]
        }

    def views(self, image: Tensor, alpha: Tensor) -> MattingOutput:
        """The stage's outputs; those of the fusion network in a window, where one is set."""
        size = self.settings.window
        if size is None or "fusion" not in self.stage.trains:
            return self.run(self.network, image)
        return self.network.windowed(image, softest_window(alpha, size))

    def validation_step(self, batch: Sample, index: int) -> None:
        image, alpha = batch["image"].float(), batch["alpha"]
        output = self.stage.forward(self.network, image)
        pred, true = (x[0, 0].cpu().numpy() for x in (output.alpha, alpha))
        self.scores[batch["key"][0]] = mad(pred, true), iou(pred, true)
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
        """MAD and IoU, means over the validation photos of all processes at the network's size."""
        mean_mad, mean_iou = np.mean([*merged(self.scores).values()], axis=0)
        return float(mean_mad), float(mean_iou)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["run"] = self.identity()
        checkpoint["launch"] = launch_id()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume another stage's or network's run, or one that is complete."""
        ours, saved = self.identity(), checkpoint.get("run", {})
        for name, value in ours.items():
            if saved.get(name, value) != value:
                raise TrainingError(
                    f"{self.settings.out} holds a run with {name} {saved[name]}, not {value}; "
                    f"resume with the settings it was started with"
                )
        done = checkpoint["epoch"] + 1
        wanted = self.trainer.max_epochs or done
        if done >= wanted:
            raise TrainingError(
                f"{self.settings.out} has {done} epochs already; pass --epochs above {done}"
            )

    def identity(self) -> dict[str, str]:
        """The properties that a resumed run must share with the saved one."""
        network = json.dumps(asdict(self.network.config))
        return {"stage": self.settings.stage, "network": network}


def softest_window(alpha: Tensor, size: tuple[int, int], draws: int = 4) -> Window:
    """Draw a few random windows of (B, 1, H, W); give the one with most pixels in transition.

    The fusion network has to learn the outline, and a single random window often misses it. Several
    processes draw the same windows and choose by the pixels of all.
    """
    rows, columns = (f - s for f, s in zip(alpha.shape[-2:], size, strict=True))
    soft = in_transition(alpha)
    drawn = []
    for _ in range(draws):
        top, left = (2 * int(torch.randint(free // 2 + 1, ())) for free in (rows, columns))
        drawn.append(Window(top, left, *size))
    pixels = torch.stack([window.of(soft).sum() for window in drawn])
    most: list[float] = mean_over_processes(pixels).tolist()
    return drawn[most.index(max(most))]


def picture_row(
    image: Tensor, output: MattingOutput, alpha: Tensor, box: tuple[int, int]
) -> Tensor:
    """(3, H, 6 W) in [0, 1]: photo, F, 1 - B, blend, alpha and truth side by side."""
    greys = (output.fg, 1 - output.bg, output.blend, output.alpha, alpha)
    tiles = [image, *(grey.expand(-1, 3, -1, -1) for grey in greys)]
    short = [full - part for full, part in zip(box, image.shape[-2:], strict=True)]
    padded = [F.pad(tile, (0, short[1], 0, short[0])) for tile in tiles]
    return torch.cat(padded, dim=3)[0].cpu()
