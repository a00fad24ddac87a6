"""The files a run keeps: averaged weights, the newest and the best, and whole checkpoints."""

import io
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from latefusion.images.writing import whole_file
from latefusion.model.checkpoint import save_network
from latefusion.training.module import Training

BEST, LAST = "best.safetensors", "last.safetensors"


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

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        encoded = io.BytesIO()  # torch.save would raise RuntimeError on a full disk
        torch.save(checkpoint, encoded)
        with whole_file(Path(path)) as file:
            file.write(encoded.getbuffer())


class SaveWeights(pl.Callback):
    """Writes the averaged weights after each validation, and the best; the first process only.

    It must come before the averaging in the list of callbacks, which puts its weights into the
    network for validation and removes them when validation ends.
    """

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
        figures = {"val_mad": f"{score:.5f}", "val_iou": f"{overlap:.5f}"}
        self.save(LAST, pl_module, figures)
        if score < self.best:
            self.best = score
            self.save(BEST, pl_module, figures)
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        pl_module.print(f"{epoch}: validation MAD {score:.4f}, IoU {overlap:.4f}")

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
