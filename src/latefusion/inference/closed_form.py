"""The outline solved from the photo's own colours, starting at the network's alpha.

Closed-form matting (Levin, Lischinski and Weiss, PAMI 2008, eq. 12): in every 3 x 3 window alpha is
to be a linear function of colour. Alpha near 0 and 1 stays as it is; soft alpha is pulled slightly
towards the network's, instead of being limited by a trimap. Only windows with a soft pixel are
solved, and conjugate gradients stop early, because they start near the solution.
"""

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.images.framing import cuts, resize, resize_plane, scales
from latefusion.images.levels import Plane
from latefusion.inference.matte import Matte

SOFT = 0.05  # alpha from SOFT to 1 - SOFT is solved for, and its neighbours
EVEN, EVEN_SIDE = 0.05, 5  # alpha that varies by less in a square of that side has no outline
FINEST = 2048  # longer side in pixels; beyond it, solving is slow and needs --tiles
PART = 1200  # side in pixels of the parts solved one by one, to limit memory
SEAM = 32  # pixels shared by neighbouring parts
EDGE = 8  # outermost pixels of a part, taken from its neighbour

Vector = NDArray[np.float32]  # (n,), a value for each pixel near the outline


class Fit(NamedTuple):
    """The weights of a solution."""

    epsilon: float  # of a window's colour line; below 1e-4 alpha follows the blocks of JPEG
    pull: float  # weight of the given alpha
    steps: int  # of conjugate gradients


OUTLINE = Fit(epsilon=3e-4, pull=1e-2, steps=15)  # of a network's alpha


def solve_outline(found: Matte) -> Matte:
    """The matte with its outline solved; fg, bg and blend are unchanged."""
    views = (found.frame, *(detail.frame for detail in found.details))
    seen = max(view.scale for view in views)
    return replace(found, alpha=refine(found.image, found.alpha, seen))


def refine(image: NDArray[np.uint8], alpha: Plane, seen: float) -> Plane:
    """Alpha (H, W) of a photo (H, W, 3) uint8 RGB, solved from coarse to fine.

    `seen` is the scale at which alpha was found, 1 being the photo's own. Each pass at most doubles
    the scale; the last is 1, or the larger of `seen` and a longer side of FINEST, if that is less.
    """
    photo = alpha.shape[0], alpha.shape[1]
    seen = min(1.0, seen)
    images = []
    for scale in reversed(scales(seen, max(seen, min(1.0, FINEST / max(photo))))):
        size = max(1, round(photo[0] * scale)), max(1, round(photo[1] * scale))
        image = image if size == image.shape[:2] else resize(image, size)
        images.append(image)
    for image in reversed(images):
        size = image.shape[0], image.shape[1]
        alpha = _solve_in_parts(image, alpha if size == alpha.shape else resize_plane(alpha, size))
    return alpha if alpha.shape == photo else resize_plane(alpha, photo)


def _solve_in_parts(image: NDArray[np.uint8], alpha: Plane) -> Plane:
    """Alpha (H, W) of an image (H, W, 3), solved in overlapping parts."""
    solved = alpha.copy()
    for rows in cuts(alpha.shape[0], PART, SEAM):
        for columns in cuts(alpha.shape[1], PART, SEAM):
            part = slice(*rows), slice(*columns)
            inner = tuple(
                slice(EDGE if start else 0, (end if end == length else end - EDGE) - start)
                for (start, end), length in zip((rows, columns), alpha.shape, strict=True)
            )
            found = _solve(np.ascontiguousarray(image[part]), solved[part].copy())
            solved[part][inner] = found[inner]
    return solved


def _solve(image: NDArray[np.uint8], alpha: Plane) -> Plane:
    """Alpha (H, W), changed in place at soft pixels and one pixel around them."""
    return solve_where(image, alpha, _free(alpha), OUTLINE)


def solve_where(image: NDArray[np.uint8], alpha: Plane, free: NDArray[np.uint8], fit: Fit) -> Plane:
    """Alpha (H, W) of a photo (H, W, 3) RGB, changed in place where `free` (H, W) is 1, not 0."""
    windows = _windows(image, free, fit.epsilon)
    if windows is None:
        return alpha
    near = alpha.reshape(-1)[windows.pixels]
    moves = free.reshape(-1)[windows.pixels].astype(np.float32)
    near += _descend(windows, near, moves, fit)
    alpha.reshape(-1)[windows.pixels] = np.clip(near, 0, 1, out=near)
    return alpha


def _free(alpha: Plane) -> NDArray[np.uint8]:
    """1 where alpha is solved for: at and beside soft pixels, except in even haze."""
    soft = ((alpha > SOFT) & (alpha < 1 - SOFT)).astype(np.uint8)
    square = np.ones((EVEN_SIDE, EVEN_SIDE), np.uint8)
    uneven = np.asarray(cv2.dilate(alpha, square) - cv2.erode(alpha, square) > EVEN)
    beside = np.asarray(cv2.dilate(soft, np.ones((3, 3), np.uint8)), np.uint8)
    return beside * uneven


class Windows(NamedTuple):
    """The K windows of 3 x 3 pixels at the outline, and the n pixels that are in one of them.

    A window's part of the matting Laplacian (eq. 12) is I - 11'/9 - C' C, where C is `colours`.
    """

    pixels: NDArray[np.intp]  # (n,) in the flattened image
    members: NDArray[np.intp]  # (9, K): each window's pixels, counted among these n
    colours: tuple[NDArray[np.float32], ...]  # three of (9, K)

    def laplacian(self, values: Vector) -> Vector:
        """The matting Laplacian times a value for each pixel."""
        inside = np.take(values, self.members)
        inside -= inside.mean(axis=0)
        off = inside.copy()
        for colour in self.colours:
            off -= colour * np.einsum("wk,wk->k", colour, inside)
        return self._total(off)

    def diagonal(self) -> Vector:
        """Diagonal of the matting Laplacian."""
        explained = sum(colour**2 for colour in self.colours)
        return self._total(np.asarray(np.float32(8 / 9) - explained))

    def _total(self, values: NDArray[np.float32]) -> Vector:
        """The sum of the windows' values (9, K) at each pixel."""
        total = np.bincount(self.members.reshape(-1), values.reshape(-1), len(self.pixels))
        return total.astype(np.float32)


def _windows(image: NDArray[np.uint8], free: NDArray[np.uint8], epsilon: float) -> Windows | None:
    """All windows with a free pixel; None if there are none."""
    width = free.shape[1]
    square = np.ones((3, 3), np.uint8)
    centred = np.zeros_like(free)
    centred[1:-1, 1:-1] = cv2.dilate(free, square)[1:-1, 1:-1]
    centres = np.flatnonzero(centred)
    if not centres.size:
        return None
    pixels = np.flatnonzero(cv2.dilate(centred, square))
    number = np.empty(free.size, np.intp)
    number[pixels] = np.arange(len(pixels))
    steps = np.array([down * width + right for down in (-1, 0, 1) for right in (-1, 0, 1)])
    members = number[centres + steps[:, None]]
    levels = image.reshape(-1, 3)[pixels].astype(np.float32) / np.float32(255)
    return Windows(pixels, members, _whitened(levels, members, epsilon))


def _whitened(
    levels: NDArray[np.float32], members: NDArray[np.intp], epsilon: float
) -> tuple[NDArray[np.float32], ...]:
    """Colours of windows, their mean removed and decorrelated, three of (9, K).

    L^-1 times colour, with L the Cholesky factor of S + epsilon / 9 and S the window's covariance.
    """
    red, green, blue = (levels[:, channel][members] for channel in range(3))
    for colour in (red, green, blue):
        colour -= colour.mean(axis=0)
    room = np.float32(epsilon / 9)
    first = red / np.sqrt(_covariance(red, red) + room)
    shared = _covariance(green, first)
    second = (green - shared * first) / np.sqrt(_covariance(green, green) + room - shared**2)
    one, two = _covariance(blue, first), _covariance(blue, second)
    rest = _covariance(blue, blue) + room - one**2 - two**2
    third = (blue - one * first - two * second) / np.sqrt(rest)
    return first / 3, second / 3, third / 3


def _covariance(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.einsum("wk,wk->k", one, other) / np.float32(9)


def _descend(windows: Windows, alpha: Vector, moves: Vector, fit: Fit) -> Vector:
    """Change of alpha where `moves` is 1, by conjugate gradients with Jacobi preconditioning."""
    scale = 1 / (windows.diagonal() + np.float32(fit.pull))
    moved = np.zeros_like(alpha)
    left = -moves * windows.laplacian(alpha)
    way = scaled = scale * left
    size = float(left @ scaled)
    for _ in range(fit.steps):
        if size < 1e-12:  # already solved
            break
        ahead = moves * (windows.laplacian(way) + np.float32(fit.pull) * way)
        bend = float(way @ ahead)
        if bend <= 0:  # by rounding, if the colours explain alpha almost fully
            break
        step = size / bend
        moved += step * way
        left -= step * ahead
        scaled = scale * left
        before, size = size, float(left @ scaled)
        way = scaled + (size / before) * way
    return moved
