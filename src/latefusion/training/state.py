"""The state of a run, `last.ckpt`: read without running code, and checked before it is used."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from latefusion.errors import TrainingError, reason
from latefusion.model.pickled import read_pickled
from latefusion.schema import read_entries
from latefusion.training.distributed import is_loss

CURE = "restore a whole copy of it, or start again with another --out"
VERSION = "pytorch-lightning_version"
# Lightning's own ModelCheckpoint is left out: it would delete files that its state names.
CALLBACKS = ("SaveWeights", "WeightAveraging")

# What Lightning and PyTorch raise when they restore values that do not fit.
MISFITS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)


@dataclass(frozen=True)
class State:
    """The entries of the state that Lightning restores, and those that this package adds."""

    epoch: int
    global_step: int
    state_dict: dict[str, Any]  # of tensors
    current_model_state: dict[str, Any]  # of tensors; state_dict has their averages
    averaging_state: dict[str, Any]
    loops: dict[str, dict[str, Any]]
    callbacks: dict[str, dict[str, Any]]
    optimizer_states: Sequence[dict[str, Any]]
    lr_schedulers: Sequence[dict[str, Any]]
    run: dict[str, str]
    launch: str | None = None


def read_state(path: Path) -> dict[str, Any]:
    """Read the state of a run. Raises TrainingError."""
    try:
        found = read_pickled(path)
        state = read_entries(State, found)
        if not all(isinstance(value, Tensor) for value in state.state_dict.values()):
            raise ValueError("state_dict has more than tensors")
        if "epoch_progress" not in state.loops.get("fit_loop", {}):
            raise ValueError("loops is without the epochs")
        assert isinstance(found, dict)
        if not re.fullmatch(r"\d+\.\d+\.\d+[\w.+]*", str(found.get(VERSION))):
            raise ValueError(f"{VERSION} is no version")
    except ValueError as error:
        raise TrainingError(f"{path} cannot be resumed from: {error}; {CURE}") from error
    kept = {name: state.callbacks[name] for name in CALLBACKS if name in state.callbacks}
    return found | {"callbacks": kept}


def check_optimizer(optimizer: Optimizer) -> None:
    """Raise ValueError where what was restored does not have the shapes of the parameters."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            fits = isinstance(value, Tensor) and value.shape in (parameter.shape, ())
            if not fits or not torch.is_floating_point(value):
                raise ValueError(f"{name} of the optimizer does not fit its parameter")


@contextmanager
def restoring(path: Path, has_begun: Callable[[], bool]) -> Iterator[None]:
    """Turn errors of restoring the state, before training has begun, into TrainingError."""
    try:
        yield
    except MISFITS as error:
        if has_begun() or (isinstance(error, RuntimeError) and is_loss(error)):
            raise
        raise TrainingError(f"{path} cannot be resumed from: {reason(error)}; {CURE}") from error
