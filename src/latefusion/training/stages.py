"""The three training stages as a table: what trains, through which losses, at which rates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from latefusion.errors import WeightsError
from latefusion.model.matting import MattingNetwork, MattingOutput
from latefusion.training.losses import Terms, fusion_loss, joint_loss, segmentation_loss


@dataclass(frozen=True)
class Stage:
    """One stage of training (paper, section 3.3).

    `trains` names the network's parts whose parameters change. The batch norms of these take their
    statistics from the whole batch, synchronised where several processes share it, and follow them;
    those of all other parts are frozen, and where `freeze_norm` is set all are. `cycle`
    is the paper's cyclical learning rate (base, max), `max_lr` the peak for AdamW. `follows`
    names the stage whose weights this one starts from.
    """

    trains: tuple[str, ...]
    forward: Callable[[MattingNetwork, Tensor], MattingOutput]
    loss: Callable[[MattingOutput, Tensor], Terms]
    epochs: int
    cycle: tuple[float, float]
    max_lr: float
    freeze_norm: bool = False
    follows: str | None = None

    @property
    def moves_norm(self) -> tuple[str, ...]:
        """The parts with synchronised batch norms that follow the batches; others are frozen."""
        return () if self.freeze_norm else self.trains

    @property
    def fuses(self) -> bool:
        """True where the fusion network runs; otherwise blend is 1/2 everywhere."""
        return self.forward is not MattingNetwork.branches


STAGES = {
    "segmentation": Stage(
        trains=("encoder", "fg", "bg"),
        forward=MattingNetwork.branches,
        loss=segmentation_loss,
        epochs=15,
        cycle=(5e-4, 1.5e-3),
        max_lr=1.5e-3,
    ),
    "fusion": Stage(
        trains=("fusion",),
        forward=MattingNetwork.__call__,
        loss=fusion_loss,
        epochs=4,
        cycle=(5e-4, 1.5e-3),
        max_lr=2e-3,
        follows="segmentation",
    ),
    "joint": Stage(
        trains=("encoder", "fg", "bg", "fusion"),
        forward=MattingNetwork.__call__,
        loss=joint_loss,
        epochs=7,
        cycle=(5e-4, 1e-3),
        max_lr=4e-4,
        freeze_norm=True,
        follows="fusion",
    ),
}


def stage_of(notes: Mapping[str, str], path: Path) -> Stage:
    """The stage that a checkpoint's notes name, joint where they name none. WeightsError."""
    name = notes.get("stage", "joint")
    if name not in STAGES:
        raise WeightsError(f"{path} names the stage {name}; expected one of {', '.join(STAGES)}")
    return STAGES[name]
