"""The processes of a training run: starting and ending them, and means over them."""

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
SPEAKS_AFTER = 5.0  # seconds for the first process to report an error that all of them have


class Launch(NamedTuple):
    """Processes on each machine (one a GPU, where there are any), and machines."""

    devices: int
    nodes: int


def launch(devices: int | None, nodes: int | None) -> Launch:
    """The processes that torchrun has started, or else the requested ones. Raises TrainingError."""
    if dist.is_available() and dist.is_torchelastic_launched():
        if devices or nodes:
            raise TrainingError("torchrun sets the processes; leave --devices and --nodes out")
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        return Launch(here, int(os.environ["WORLD_SIZE"]) // here)
    gpus = torch.cuda.device_count()
    if devices and 0 < gpus < devices:
        raise TrainingError(f"{devices} devices are more than the {gpus} GPUs here; use {gpus}")
    asked = Launch(devices or 1, nodes or 1)
    check_srun(asked)
    return asked


def check_srun(asked: Launch) -> None:
    """Refuse processes of srun that were not requested: each would train alone, in one folder."""
    started = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if started == 1:
        return
    if started != asked.devices * asked.nodes or "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise TrainingError(
            f"srun has started {started} processes, not {asked.devices} on each of {asked.nodes} "
            "nodes; pass its --ntasks-per-node as --devices, and its --nodes as --nodes"
        )


def restarted() -> bool:
    """True in processes that torchrun has restarted after one of them was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def launch_id() -> str | None:
    """torchrun's name for a launch, restarts included; None without torchrun."""
    return os.environ.get("TORCHELASTIC_RUN_ID")


def is_first() -> bool:
    """True in the one process that prints and writes."""
    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]  # it knows every launcher
    return rank == 0


def end_with_parent() -> None:
    """End this process, if it is one of several, when the process that started it has ended.

    As long as they are not connected nothing else would end it, and it would wait for minutes.
    """
    if dist.is_available() and dist.is_torchelastic_launched():
        parent = os.getppid()
    elif PARENT in os.environ and os.environ.get("LOCAL_RANK", "0") != "0":
        parent = int(os.environ[PARENT])
    else:
        os.environ[PARENT] = str(os.getpid())  # for the processes that Lightning will start
        return
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    if os.environ.get("LOCAL_RANK") == "1":  # only one of them says so
        sys.stderr.write("error: the process that started this one has ended; pass --resume\n")
        sys.stderr.flush()
    os._exit(1)


def stop_at_sigterm() -> None:
    """Treat SIGTERM as Ctrl-C: Lightning would wait for the other processes, which may be gone."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, _: Any) -> None:
    raise KeyboardInterrupt(number)


@contextmanager
def told_once() -> Iterator[None]:
    """Let only the first process report an error or interrupt that all processes have.

    Its end ends the others. A process that is still alive after a while reports its own error.
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
    """True for an error that says that the connection to another process broke."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)


def count() -> int:
    """The processes that are connected."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Sum(Function):
    """The sum over the processes, backward the sum of the gradients.

    torch.distributed.nn.functional.all_reduce does the same and is deprecated.
    """

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
    """The mean of a tensor over the processes, with its gradient."""
    processes = count()
    return value if processes == 1 else _Sum.apply(value) / processes


def merged(own: dict[str, T]) -> dict[str, T]:
    """The entries of all processes in the order of their ranks; equal names are merged."""
    if count() == 1:
        return own
    parts: list[Any] = [None] * count()
    dist.all_gather_object(parts, own)
    return {name: value for part in parts for name, value in part.items()}
