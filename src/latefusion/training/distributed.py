"""The processes of a training run: how many there are, whose share is what, and means over them."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.autograd import Function

from latefusion.errors import LatefusionError, TrainingError

T = TypeVar("T")

LOST_AFTER = timedelta(minutes=10)  # without a word from another process
PARENT = "LATEFUSION_PARENT"  # the process that starts others for --devices
SPEAKS_AFTER = 5.0  # seconds that a process leaves to the first one to tell an error of both


class Launch(NamedTuple):
    """Processes on each machine (one a GPU, where there are any), and machines."""

    devices: int
    nodes: int


def launch(devices: int | None, nodes: int | None) -> Launch:
    """What torchrun has started, or else what was asked for. Raises TrainingError."""
    if dist.is_available() and dist.is_torchelastic_launched():
        if devices or nodes:
            raise TrainingError("torchrun says how many processes; leave --devices and --nodes out")
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        return Launch(here, int(os.environ["WORLD_SIZE"]) // here)
    gpus = torch.cuda.device_count()
    if devices and 0 < gpus < devices:
        raise TrainingError(f"{devices} devices are more than the {gpus} GPUs here; use {gpus}")
    asked = Launch(devices or 1, nodes or 1)
    check_srun(asked)
    return asked


def check_srun(asked: Launch) -> None:
    """Refuse other processes than asked for: each would train alone, into the same folder."""
    started = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if started == 1:
        return
    if started != asked.devices * asked.nodes or "SLURM_NTASKS_PER_NODE" not in os.environ:
        cure = "give it --ntasks-per-node, and the same as --devices, and its --nodes here, too"
        raise TrainingError(f"srun has started {started} processes; {cure}")


def restarted() -> bool:
    """Whether torchrun has started the processes anew, after one of them was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def launch_id() -> str | None:
    """What torchrun calls all that it starts, and starts anew; None without torchrun."""
    return os.environ.get("TORCHELASTIC_RUN_ID")


def is_first() -> bool:
    """Whether this process is the one that prints and writes."""
    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]  # it knows every launcher
    return rank == 0


def end_with_parent() -> None:
    """Let this process end when the one is gone that started it as one of several.

    Before they are connected nothing else tells it: it would wait for minutes.
    """
    if dist.is_available() and dist.is_torchelastic_launched():
        parent = os.getppid()
    elif PARENT in os.environ and os.environ.get("LOCAL_RANK", "0") != "0":
        parent = int(os.environ[PARENT])
    else:
        os.environ[PARENT] = str(os.getpid())  # for those that Lightning will start
        return
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    if os.environ.get("LOCAL_RANK") == "1":  # one of them tells it
        sys.stderr.write("error: the process that started this one has ended; pass --resume\n")
        sys.stderr.flush()
    os._exit(1)


def stop_at_sigterm() -> None:
    """Let SIGTERM interrupt as Ctrl-C does: Lightning would ask the other processes, maybe gone."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, _: Any) -> None:
    raise KeyboardInterrupt(number)


@contextmanager
def told_once() -> Iterator[None]:
    """An error or interrupt of all processes is told by the first, whose end is the others' too.

    An error they tell themselves if they live on: then it is theirs alone.
    """
    try:
        yield
    except LatefusionError:
        if not is_first():
            time.sleep(SPEAKS_AFTER)
        raise
    except KeyboardInterrupt as stopped:
        if not is_first():
            raise SystemExit(128 + int((stopped.args or (signal.SIGINT,))[0])) from None
        raise


def is_loss(error: RuntimeError) -> bool:
    """Whether an error says that the connection to another process broke."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)


def count() -> int:
    """The processes that are connected."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Sum(Function):
    """The sum over the processes; in the other direction that of the gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes, with its gradient; the tensor where one is alone."""
    processes = count()
    return value if processes == 1 else _Sum.apply(value) / processes


def merged(own: dict[str, T]) -> dict[str, T]:
    """The entries of all processes, in the order of their ranks; an entry that two have once."""
    if count() == 1:
        return own
    parts: list[Any] = [None] * count()
    dist.all_gather_object(parts, own)
    return {name: value for part in parts for name, value in part.items()}
