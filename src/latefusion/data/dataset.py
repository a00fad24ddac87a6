"""Pairs as a torch dataset: each photo, its alpha and its straight foreground on a square canvas.

A canvas is the photo stretched to a fixed square, uint8; `aspect` undoes the stretch when a view
is taken from it (data/augment.py). Canvases have one size, so they batch, cache and move to the
device as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from latefusion.data.members import Encoded
from latefusion.data.share import ALONE, Share
from latefusion.data.sources import Pair, decode_image, decode_pair
from latefusion.images.foreground import estimate_foreground
from latefusion.images.framing import resize

Sample = dict[str, Any]
ESTIMATE_PIXELS = 3 * 160 * 160  # the foreground is solved at this size; training needs it fast


class Decoded(Dataset[Any]):
    """`decode(item)` for each item, kept in memory after the first time when `cache` is set."""

    def __init__(self, items: Sequence[Any], decode: Callable[[Any], Any], cache: bool) -> None:
        self.items = items
        self.decode = decode
        self.cache: dict[int, Any] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        if self.cache is None:
            return self.decode(self.items[index])
        if index not in self.cache:
            self.cache[index] = self.decode(self.items[index])
        return self.cache[index]


class WithBackgrounds(Dataset[Sample]):
    """Item (i, j): pair i's canvas with background j's as `background` (3, S, S) uint8."""

    def __init__(self, pairs: Decoded, backgrounds: Decoded) -> None:
        self.pairs = pairs
        self.backgrounds = backgrounds

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        pair, background = index
        sample: Sample = self.pairs[pair]
        if len(self.backgrounds) == 0:
            return sample
        return {**sample, "background": self.backgrounds[background]}


class RandomOrder(Sampler[tuple[int, int]]):
    """A process's share of all pairs, in an order, and with backgrounds, of seed and epoch only.

    So a resumed run sees what the uninterrupted one would have seen, and the shares of several
    processes, which never overlap, make up in their order every batch of one process. Pairs that
    fill no batch are left for another epoch. Lightning calls `set_epoch`.
    """

    def __init__(
        self, pairs: int, backgrounds: int, seed: int, batch: int = 1, share: Share = ALONE
    ) -> None:
        self.pairs = pairs
        self.backgrounds = max(backgrounds, 1)
        self.seed = seed
        self.batch = batch
        self.share = share
        self.epoch = 0

    def __len__(self) -> int:
        return self.pairs // self.batch * self.share.batch(self.batch)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.pairs, generator=generator)
        behind = torch.randint(self.backgrounds, (self.pairs,), generator=generator)
        for start in range(0, self.pairs - self.batch + 1, self.batch):
            batch = slice(start, start + self.batch)
            mine = (self.share.own(drawn[batch]).tolist() for drawn in (order, behind))
            yield from zip(*mine, strict=True)


def pair_canvas(pair: Pair, size: int) -> Sample:
    """`pixels` (7, S, S) uint8: image RGB, alpha, straight foreground; `aspect` is W / H; `key`."""
    image, alpha = decode_pair(pair)
    height, width = alpha.shape
    image, alpha = resize(image, (size, size)), resize(alpha, (size, size))
    opacity = alpha.astype(np.float32) / np.float32(255)
    foreground = estimate_foreground(image, opacity, ESTIMATE_PIXELS)
    pixels = np.dstack([image, alpha, foreground])
    aspect = np.float32(width / height)
    return {"pixels": channels_first(pixels), "aspect": aspect, "key": pair.key}


def background_canvas(source: Encoded, size: int) -> Tensor:
    """(3, S, S) uint8 RGB: the middle square of the picture."""
    image = decode_image(source)
    side = min(image.shape[:2])
    top, left = ((full - side) // 2 for full in image.shape[:2])
    return channels_first(resize(image[top : top + side, left : left + side], (size, size)))


def pair_view(pair: Pair, box: tuple[int, int]) -> Sample:
    """The whole photo, untouched but for its size, for validation.

    `image` (3, h, w) uint8 RGB and `alpha` (1, h, w) float32, h and w the multiples of 32 nearest
    to the photo's size scaled to fit the box (H, W).
    """
    image, alpha = decode_pair(pair)
    scale = min(limit / full for limit, full in zip(box, alpha.shape, strict=True))
    height, width = (max(32, round(full * scale / 32) * 32) for full in alpha.shape)
    return {
        "image": channels_first(resize(image, (height, width))),
        "alpha": channels_first(resize(alpha, (height, width))).float() / 255,
        "key": pair.key,
    }


def channels_first(picture: NDArray[np.uint8]) -> Tensor:
    """(H, W) or (H, W, C) as a tensor (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.atleast_3d(picture), 2, 0)))
