"""Lazy fusion: run the fusion network only where the branches disagree, with a bounded error.

alpha = blend F + (1 - blend)(1 - B), so alpha changes by at most the doubt |F + B - 1| as blend
goes from 0 to 1 (eq. 3 of the paper). Where the doubt is at most epsilon, blend = 1/2 gives an
alpha within epsilon / 2 of that of any other blend, and the fusion network is skipped.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latefusion.images.levels import Plane
from latefusion.runtime.planes import Planes

# The error of alpha is at most half a level of an 8-bit matte at the network's size, and at most
# one level at any photo's size: the absolute values of OpenCV's bicubic weights sum to at most
# 1.375 along each axis.
EPSILON = 1 / 255
TILES = (32, 64, 128, 256)  # sides in pixels, even; docs/speed.md has the curve of error and time
BATCH = 40_000  # pixels per call of the fusion network, unless one part alone has more


class Seam(NamedTuple):
    """The input of the fusion network for an image (N = 1) or for N parts of h x w pixels.

    `features` (N, C, h/2 + 2, w/2 + 2) are at half the resolution, with a border of one pixel.
    `rows` (N, D, 2, w) and `columns` (N, D, h, 2) are the outermost ones of the first convolution.
    For parts inside the image N is 0 in these two.
    """

    features: NDArray[np.float32]
    rows: NDArray[np.float32]
    columns: NDArray[np.float32]


class Reach(NamedTuple):
    """Receptive field of the fusion network in pixels around a part.

    `inside` is for parts inside the image, `border` for those that touch its edge.
    """

    inside: int
    border: int


class Part(NamedTuple):
    """The rectangle of the image from which the fusion network computes one tile.

    All sizes and positions are even, in pixels.
    """

    tile: tuple[slice, slice]
    top: int
    left: int
    height: int
    width: int

    def crop_seam(self, seam: Seam) -> Seam:
        """Crop the seam of the image to this rectangle, (1, ...)."""
        bottom, right = self.top + self.height, self.left + self.width
        inner = np.s_[:, :, self.top // 2 : bottom // 2 + 2, self.left // 2 : right // 2 + 2]
        return Seam(
            seam.features[inner],
            seam.rows[:, :, :, self.left : right],
            seam.columns[:, :, self.top : bottom],
        )

    def crop_tile(self, blend: NDArray[np.float32]) -> NDArray[np.float32]:
        """Crop the rectangle's blend (1, h, w) to its tile."""
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
    """Compute the planes of an image from its F and B (H, W), H and W even, and its seam.

    `fusion` computes the blending weight of parts of the image. It runs on the tiles that hold a
    pixel with a doubt of at least `epsilon`; 0 means all. Alpha is then within epsilon / 2 of that
    of the whole network. Of the sizes in `tiles`, the one with the fewest pixels to compute is
    used: small tiles if few pixels are in doubt, and large ones, which overlap less, if many are.

    Source: eq. 2 and 3 of the paper.
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
            found = fusion(_stack([part.crop_seam(seam) for part in group], with_edges))
            for part, pixels in zip(group, found, strict=True):
                blend[part.tile] = part.crop_tile(pixels)
    alpha = blend * fg + (1 - blend) * (1 - bg)
    return Planes(alpha, fg, bg, blend, float(doubtful.mean()))


def in_doubt(doubt: Plane, tile: int, epsilon: float) -> NDArray[np.bool_]:
    """Mark the tiles of a doubt (H, W) that hold a pixel of at least epsilon: (rows, columns).

    The last tiles of a row or column may be smaller.
    """
    tops, lefts = (range(0, length, tile) for length in doubt.shape)
    rows = np.maximum.reduceat(doubt, tops, axis=0)
    worst: Plane = np.maximum.reduceat(rows, lefts, axis=1)
    return worst >= epsilon


def _tile(place: NDArray[np.intp], tile: int, size: tuple[int, int]) -> tuple[slice, slice]:
    top, left = (int(index) * tile for index in place)
    return slice(top, min(top + tile, size[0])), slice(left, min(left + tile, size[1]))


def _part(tile: tuple[slice, slice], reach: int, side: int, size: tuple[int, int]) -> Part:
    """Return the tile with `reach` pixels around it, shifted into the image.

    All parts have the same size, so that they fit into one batch.
    """
    height, width = (min(side + 2 * reach, length) for length in size)
    top, left = (
        min(max(0, extent.start - reach), whole - length)
        for extent, whole, length in zip(tile, size, (height, width), strict=True)
    )
    return Part(tile, top, left, height, width)


def _touches(part: Part, size: tuple[int, int]) -> bool:
    """Return whether the part touches an edge of the image."""
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
