"""Pairs and cut-outs as a torch dataset: photo, alpha and straight foreground on square canvases.

A canvas is the photo stretched to a fixed square, uint8; `aspect` undoes the stretch when a view
is taken from it (data/augment.py). Canvases have one size, so they batch, cache and move to the
device as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from latefusion.data.members import Encoded
from latefusion.data.share import ALONE, Share
from latefusion.data.sources import Cutout, Pair, decode_cutout, decode_image, decode_pair
from latefusion.images.foreground import estimate_foreground
from latefusion.images.framing import resize
from latefusion.parallel import usable_cores

Sample = dict[str, Any]
BEYOND = ((7, 1e-3), (31, 1e-6))  # blurs, in pixels, that give transparent pixels their colour
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


class Numbers(Dataset[tuple[int, int]]):
    """The indices of `WithBackgrounds` in place of its items, which are on the device."""

    def __init__(self, data: WithBackgrounds) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: tuple[int, int]) -> tuple[int, int]:
        return index


class Resident:
    """All canvases as uint8 in the memory of one device, where batches are put together."""

    def __init__(self, data: WithBackgrounds, device: torch.device) -> None:
        samples = decode_all(data.pairs)
        self.keys = [sample["key"] for sample in samples]
        self.fields = {
            name: stacked([sample.pop(name) for sample in samples]).to(device)
            for name in ("pixels", "aspect", "cutout")
        }
        behind = decode_all(data.backgrounds)
        self.backgrounds = stacked(behind).to(device) if behind else None

    def batch(self, items: Tensor, behind: Tensor) -> Sample:
        """The loader's batch for these indices of pairs and cut-outs, and of backgrounds, (B,)."""
        sample: Sample = {name: field[items] for name, field in self.fields.items()}
        if self.backgrounds is not None:
            sample["background"] = self.backgrounds[behind]
        return {**sample, "key": [self.keys[i] for i in items.tolist()]}


def decode_all(data: Decoded) -> list[Any]:
    """Every item, decoded by as many threads as there are cores."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(data.__getitem__, range(len(data))))


def stacked(values: list[Any]) -> Tensor:
    """Equal tensors or numbers as one tensor, filled row by row: there is no second copy."""
    first = torch.as_tensor(values[0])
    whole = torch.empty(len(values), *first.shape, dtype=first.dtype)
    for i in range(len(values)):
        whole[i] = torch.as_tensor(values[i])
        values[i] = None
    return whole


class RandomOrder(Sampler[tuple[int, int]]):
    """A process's share of an epoch: pairs and cut-outs in random order, each with a background.

    The order depends on seed and epoch only, so that a resumed run sees what the uninterrupted one
    would have seen. The shares of several processes never overlap; put together in the order of
    the processes they are the batches of a single process. An epoch has all pairs `passes` times;
    where that is no whole number, the next one goes on with those that are left. Cut-outs, whose
    indices follow those of the pairs, are `portion` of its pictures. Pictures that fill no whole
    batch are left for another epoch. Lightning calls `set_epoch`.
    """

    def __init__(
        self,
        pairs: int,
        backgrounds: int,
        seed: int,
        batch: int = 1,
        share: Share = ALONE,
        cutouts: int = 0,
        portion: float = 0.0,
        passes: float = 1,
    ) -> None:
        self.pairs = pairs
        self.cutouts = cutouts
        self.shown = max(1, round(pairs * passes))  # pairs of an epoch
        self.drawn = round(self.shown * portion / (1 - portion)) if cutouts else 0
        self.backgrounds = max(backgrounds, 1)
        self.seed = seed
        self.batch = batch
        self.share = share
        self.epoch = 0

    def __len__(self) -> int:
        return self.items // self.batch * self.share.batch(self.batch)

    @property
    def items(self) -> int:
        return self.shown + self.drawn

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = self._pairs_of_epoch()
        generator = self._random(self.epoch)
        if self.drawn:
            cutouts = torch.randint(self.cutouts, (self.drawn,), generator=generator) + self.pairs
            mixed = torch.randperm(self.items, generator=generator)
            order = torch.cat([order, cutouts])[mixed]
        behind = torch.randint(self.backgrounds, (self.items,), generator=generator)
        for start in range(0, self.items - self.batch + 1, self.batch):
            batch = slice(start, start + self.batch)
            mine = (self.share.own(drawn[batch]).tolist() for drawn in (order, behind))
            yield from zip(*mine, strict=True)

    def _pairs_of_epoch(self) -> Tensor:
        """The epoch's part of an endless series of all pairs in random orders."""
        first = self.epoch * self.shown
        done, start = divmod(first, self.pairs)
        orders = range(done, -(-(first + self.shown) // self.pairs))
        series = [torch.randperm(self.pairs, generator=self._random(-1 - each)) for each in orders]
        return torch.cat(series)[start : start + self.shown]

    def _random(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 100_003 + number)


def canvas(item: Pair | Cutout, size: int) -> Sample:
    """`pixels` (7, S, S) uint8: image RGB, alpha, straight foreground; `aspect` W / H; `key`.

    Where `cutout` is set the image is the bare foreground; it has to be put on a background.
    """
    return pair_canvas(item, size) if isinstance(item, Pair) else cutout_canvas(item, size)


def cutout_canvas(cutout: Cutout, size: int) -> Sample:
    """The canvas of a cut-out, its colours averaged by opacity and continued beyond the outline."""
    rgba = decode_cutout(cutout).astype(np.float32)
    height, width = rgba.shape[:2]
    opacity = rgba[:, :, 3:] / 255
    whole = resize(np.dstack([rgba[:, :, :3] * opacity, opacity]), (size, size))
    alpha = whole[:, :, 3:]
    for side, weight in BEYOND:
        whole = whole + cv2.blur(whole, (side, side)) * np.float32(weight)
    colour = whole[:, :, :3] / np.maximum(whole[:, :, 3:], 1e-12)
    pixels = np.rint(np.clip(np.dstack([colour, alpha * 255, colour]), 0, 255)).astype(np.uint8)
    aspect = np.float32(width / height)
    planes = channels_first(pixels)
    return {"pixels": planes, "aspect": aspect, "cutout": True, "key": cutout.key}


def pair_canvas(pair: Pair, size: int) -> Sample:
    """The canvas of a pair, its straight foreground estimated."""
    image, alpha = decode_pair(pair)
    height, width = alpha.shape
    image, alpha = resize(image, (size, size)), resize(alpha, (size, size))
    opacity = alpha.astype(np.float32) / np.float32(255)
    foreground = estimate_foreground(image, opacity, ESTIMATE_PIXELS)
    pixels = np.dstack([image, alpha, foreground])
    aspect = np.float32(width / height)
    planes = channels_first(pixels)
    return {"pixels": planes, "aspect": aspect, "cutout": False, "key": pair.key}


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
