"""The share of a batch that one of several training processes takes."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from latefusion.errors import TrainingError

T = TypeVar("T")


class Share(NamedTuple):
    """The part of every batch that process `rank` of `world` takes; the default is all of it.

    Every process draws the random numbers of the whole batch from the same seed and keeps its own
    rows, so that a picture is changed in the same way whatever the number of processes.
    """

    rank: int = 0
    world: int = 1

    def own(self, rows: Tensor) -> Tensor:
        """This process's rows, (B, ...), of those of the whole batch, (world B, ...)."""
        return rows.chunk(self.world)[self.rank]

    def rand(self, count: int, *shape: int, device: torch.device) -> Tensor:
        """(count, *shape) uniform numbers in [0, 1)."""
        return self.own(torch.rand(count * self.world, *shape, device=device))

    def randn(self, count: int, *shape: int, device: torch.device) -> Tensor:
        """(count, *shape) normal numbers."""
        return self.own(torch.randn(count * self.world, *shape, device=device))

    def seeds(self, count: int) -> list[int]:
        """A seed for each picture, for noise that is too expensive to draw for all processes."""
        drawn: list[int] = self.own(torch.randint(2**62, (count * self.world,))).tolist()
        return drawn

    def batch(self, whole: int, pairs: int | None = None) -> int:
        """This process's pictures of a batch of `whole`, of so many pairs. Raises TrainingError."""
        if pairs is not None and pairs < self.world:
            raise TrainingError(f"{pairs} pairs are too few for {self.world} processes")
        if whole % self.world:
            near = {max(1, whole // self.world + more) * self.world for more in (0, 1)}
            better = " or ".join(str(n) for n in sorted(near) if pairs is None or n <= pairs)
            raise TrainingError(
                f"a batch of {whole} does not divide by {self.world} processes; use {better}"
            )
        return whole // self.world

    def filled(self, items: Sequence[T]) -> list[T]:
        """This process's run of the items, as long as every other's: the last one fills it up."""
        each = -(-len(items) // self.world)
        return [
            items[min(i, len(items) - 1)] for i in range(self.rank * each, (self.rank + 1) * each)
        ]


ALONE = Share()
