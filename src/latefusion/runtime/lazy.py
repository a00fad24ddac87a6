"""Lazy fusion: the blending weight only where the branches disagree, with a bound on the error.

alpha = blend F + (1 - blend)(1 - B), so alpha moves by at most |F + B - 1| as blend goes from 0 to
1 (eq. 3 of the paper). Where that doubt is at most epsilon, blend = 1/2 gives an alpha within
epsilon / 2 of that of any other blend, and the fusion network need not run.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latefusion.images.levels import Plane
from latefusion.runtime.planes import Planes

# Alpha within half a level of an 8-bit matte at the network's size, and within one at any photo's:
# the absolute values of OpenCV's bicubic weights add up to 1.375 at most, along each of the axes.
EPSILON = 1 / 255
TILES = (32, 64, 128, 256)  # pixels a side; even. docs/speed.md has the curve of error and time
BATCH = 40_000  # pixels of the parts that the fusion network sees at once, or else one part


class Seam(NamedTuple):
    """What the branches leave to the fusion network, of an image (1, ...) or of N parts (N, ...).

    `features` (N, C, h/2 + 2, w/2 + 2) at half the resolution with a border of one pixel, `rows`
    (N, D, 2, w) and `columns` (N, D, h, 2) the outermost ones of its first convolution; N may be 0
    for these two in parts that lie inside the image.
    """

    features: NDArray[np.float32]
    rows: NDArray[np.float32]
    columns: NDArray[np.float32]


class Reach(NamedTuple):
    """How many pixels around a part its blending weight depends on: inside, and at the border."""

    inside: int
    border: int


class Part(NamedTuple):
    """A rectangle of the image that the fusion network sees, for one tile of it; pixels, even."""

    tile: tuple[slice, slice]
    top: int
    left: int
    height: int
    width: int

    def of(self, seam: Seam) -> Seam:
        """What belongs to this rectangle, (1, ...)."""
        bottom, right = self.top + self.height, self.left + self.width
        inner = np.s_[:, :, self.top // 2 : bottom // 2 + 2, self.left // 2 : right // 2 + 2]
        return Seam(
            seam.features[inner],
            seam.rows[:, :, :, self.left : right],
            seam.columns[:, :, self.top : bottom],
        )

    def shown(self, blend: NDArray[np.float32]) -> NDArray[np.float32]:
        """The tile's pixels of the rectangle's (1, h, w)."""
        rows, columns = self.tile
        return blend[
            0,
            rows.start - self.top : rows.stop - self.top,
            columns.start - self.left : columns.stop - self.left,
        ]


Fusion: TypeAlias = Callable[[Seam], NDArray[np.float32]]  # N parts -> (N, 1, h, w)


def fuse_lazily(
    fg: Plane,
    bg: Plane,
    seam: Seam,
    fusion: Fusion,
    reach: Reach,
    epsilon: float = EPSILON,
    tiles: Sequence[int] = TILES,
) -> Planes:
    """The planes of an image from its F and B (H, W), H and W even, and its seam.

    `fusion` gives the blending weight of parts of the image. Epsilon 0 runs it on every tile. Of
    the sizes in `tiles` that one is taken for which the fusion network sees the fewest pixels:
    small tiles where little is in doubt, and large ones, which overlap less, where much is.
    """
    size = fg.shape[0], fg.shape[1]
    doubt = np.abs(fg + bg - 1)
    in_doubt_of = {tile: in_doubt(doubt, tile, epsilon) for tile in tiles}
    seen = {
        tile: in_doubt_of[tile].sum() * math.prod(min(tile + 2 * reach.inside, s) for s in size)
        for tile in tiles
    }
    tile = min(tiles, key=seen.__getitem__)
    doubtful = in_doubt_of[tile]
    blend = np.full_like(fg, 0.5)
    places = [_tile(place, tile, size) for place in np.argwhere(doubtful)]
    inside = [_part(place, reach.inside, tile, size) for place in places]
    bordering = [_touches(part, size) for part in inside]
    within = [part for part, borders in zip(inside, bordering, strict=True) if not borders]
    at_border = [
        _part(place, reach.border, tile, size)
        for place, borders in zip(places, bordering, strict=True)
        if borders
    ]
    for parts, with_edges in ((within, False), (at_border, True)):
        for group in _groups(parts):
            found = fusion(_stack([part.of(seam) for part in group], with_edges))
            for part, pixels in zip(group, found, strict=True):
                blend[part.tile] = part.shown(pixels)
    alpha = blend * fg + (1 - blend) * (1 - bg)
    return Planes(alpha, fg, bg, blend, float(doubtful.mean()))


def in_doubt(doubt: Plane, tile: int, epsilon: float) -> NDArray[np.bool_]:
    """Which tiles hold a pixel of doubt epsilon or more (H, W); the last ones may be cut."""
    tops, lefts = (range(0, length, tile) for length in doubt.shape)
    rows = np.maximum.reduceat(doubt, tops, axis=0)
    worst: Plane = np.maximum.reduceat(rows, lefts, axis=1)
    return worst >= epsilon


def _tile(place: NDArray[np.intp], tile: int, size: tuple[int, int]) -> tuple[slice, slice]:
    top, left = (int(index) * tile for index in place)
    return slice(top, min(top + tile, size[0])), slice(left, min(left + tile, size[1]))


def _part(tile: tuple[slice, slice], reach: int, side: int, size: tuple[int, int]) -> Part:
    """The tile with `reach` pixels around it, moved into the image; all parts are of one size."""
    height, width = (min(side + 2 * reach, length) for length in size)
    top, left = (
        min(max(0, extent.start - reach), whole - length)
        for extent, whole, length in zip(tile, size, (height, width), strict=True)
    )
    return Part(tile, top, left, height, width)


def _touches(part: Part, size: tuple[int, int]) -> bool:
    """Whether an edge of the part is one of the image."""
    bottom, right = part.top + part.height, part.left + part.width
    return part.top == 0 or part.left == 0 or bottom == size[0] or right == size[1]


def _groups(parts: list[Part]) -> list[list[Part]]:
    if not parts:
        return []
    count = max(1, BATCH // (parts[0].height * parts[0].width))
    return [parts[first : first + count] for first in range(0, len(parts), count)]


def _stack(seams: list[Seam], with_edges: bool) -> Seam:
    features, rows, columns = (np.concatenate(kind) for kind in zip(*seams, strict=True))
    end = len(features) if with_edges else 0
    return Seam(features, rows[:end], columns[:end])
