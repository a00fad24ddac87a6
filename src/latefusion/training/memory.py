"""The memory that a training step takes, estimated for any network, and the memory there is."""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from latefusion.model.matting import MattingNetwork, NetworkConfig, Window
from latefusion.parallel import Memory, usable_memory
from latefusion.training.optimizers import optimization
from latefusion.training.recompute import recompute
from latefusion.training.settings import Settings
from latefusion.training.stages import Stage

# Measured peaks over the tensors alone (benchmarks/train_memory.py): what convolutions rearrange.
MARGIN = 1.2
BF16 = 0.6  # of single precision: convolutions and norms keep half, the losses all


class Need(NamedTuple):
    """Bytes that a step takes: `fixed`, and `picture` for each picture computed at a time."""

    fixed: int
    picture: int

    @property
    def least(self) -> float:
        """What the tensors of one picture take in any case."""
        return self.fixed + self.picture / MARGIN

    def of(self, pictures: int) -> int:
        return self.fixed + pictures * self.picture

    def pictures_in(self, free: int) -> int:
        """How many pictures at a time fit, at least one."""
        return max(1, (free - self.fixed) // self.picture)


class Alive(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, and their peak, also of meta tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.peak = 0
        self.known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, Tensor):
                self.add(each.untyped_storage())
        return made

    def add(self, storage: torch.UntypedStorage) -> None:
        name, size = storage._cdata, storage.nbytes()
        if name in self.known:
            return

        def remove(_: Any) -> None:
            self.bytes -= size
            del self.known[name]

        self.known[name] = weakref.ref(storage, remove)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)


def step_need(config: NetworkConfig, stage: Stage, settings: Settings, bf16: bool = False) -> Need:
    """Estimate the memory of a step of any network: what it computes is counted, not computed.

    The step runs on PyTorch's meta device, where tensors have shapes and no values.
    """
    with torch.device("meta"):
        network = MattingNetwork(config)
        image = torch.empty(1, 3, *settings.input_size)
        alpha = torch.empty(1, 1, *settings.input_size)
    for name, part in network.named_children():
        part.requires_grad_(name in stage.trains).train(name in stage.moves_norm)
    if settings.recompute:
        recompute(network)
    with Alive() as alive:
        if settings.window and "fusion" in stage.trains:
            output = network.windowed(image, middle_window(settings.input_size, settings.window))
        else:
            output = stage.forward(network, image)
        torch.stack(list(stage.loss(output, alpha).values())).sum().backward()
    states = optimization(config.encoder).states
    trained = sum(value.nbytes for value in network.parameters() if value.requires_grad)
    weights = sum(value.nbytes for value in network.state_dict().values())
    fixed = 2 * weights + (1 + states) * trained  # averaged weights; gradients
    return Need(fixed, round(alive.peak * MARGIN * (BF16 if bf16 else 1)))


def middle_window(size: tuple[int, int], window: tuple[int, int]) -> Window:
    """The window in the middle, where its margin is whole on all sides that have room for one."""
    top, left = ((full - side) // 4 * 2 for full, side in zip(size, window, strict=True))
    return Window(top, left, *window)


def device_memory(device: torch.device, processes: int) -> Memory | None:
    """The memory for the tensors of one of so many processes on this machine."""
    if device.type == "cuda":
        return Memory(*torch.cuda.mem_get_info(device))
    found = usable_memory()
    return found and Memory(found.free // processes, found.total // processes)


def is_out_of_memory(error: RuntimeError) -> bool:
    """True for an error of PyTorch's that says that memory ran out, on a GPU or a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
