"""The straight colour of the subject at soft pixels, so that a cut-out carries no old background.

A soft pixel of a photo is a mix, image = alpha * fg + (1 - alpha) * bg with colours fg and bg. The
mix is undone after Germer, Uelwer, Conrad and Harmeling, "Fast Multi-Level Foreground Estimation"
(ICPR 2020), eq. 5 and 6, at reduced size; at the photo's own size one step fits the mix exactly.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.framing import resize
from latefusion.image import to_levels

WORK_PIXELS = 512 * 512  # the network sees no more; colours change slowly
WORK_SIDE = 8192  # of a strip of a photo; cv2.remap ends at 32,767
SWEEPS = 4  # more than 4 change the error by less than a tenth
SMALL_SWEEPS, SMALL_SIDE = 10, 32  # on the coarsest levels sweeps cost nothing and reach far
SMOOTHNESS, ALPHA_WEIGHT = 1e-5, 0.1  # neighbours' pull: everywhere, and more where alpha changes
MARGIN = 8  # pixels outside the subject that get its colour, so that a later resize stays clean
TILE = 256  # the full-size step goes through the photo in tiles, and only where it is needed

Colours = NDArray[np.float32]  # (H, W, 3), range 0 to 255
Plane = NDArray[np.float32]  # (H, W)


def estimate_foreground(
    image: NDArray[np.uint8], alpha: Plane, work_pixels: int = WORK_PIXELS
) -> NDArray[np.uint8]:
    """The subject's own colour (H, W, 3) for an image (H, W, 3) and its alpha (H, W) in [0, 1].

    Opaque pixels keep the photo's colour exactly, soft ones and a margin around them get the
    estimate, and everything further out is black: the old background does not travel along.
    """
    opacity = to_levels(alpha)
    near = cv2.dilate(np.minimum(opacity, 1), np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8))
    estimate = np.where((opacity == 255)[:, :, None], image, np.uint8(0))
    wanted = np.asarray(near > 0) & (opacity < 255)
    if not wanted.any():
        return estimate
    fg, bg = _solve(image, alpha, work_pixels)
    for tile in _tiles(alpha.shape):
        if wanted[tile].any():
            near_fg, near_bg = (_enlarge(colours, tile, alpha.shape) for colours in (fg, bg))
            fitted = _fit(image[tile], alpha[tile][:, :, None], near_fg, near_bg)
            np.copyto(estimate[tile], fitted, where=wanted[tile][:, :, None])
    return estimate


def _fit(image: NDArray[np.uint8], alpha: Plane, fg: Colours, bg: Colours) -> NDArray[np.uint8]:
    """The colours fg moved the least, together with bg, for which the mix is the image."""
    rest = image - alpha * fg - (1 - alpha) * bg
    fitted = fg + rest * (alpha / (alpha**2 + (1 - alpha) ** 2))
    levels: NDArray[np.uint8] = np.clip(np.rint(fitted), 0, 255).astype(np.uint8)
    return levels


def _solve(image: NDArray[np.uint8], alpha: Plane, work_pixels: int) -> tuple[Colours, Colours]:
    """The smooth colours of subject and background at reduced size, from coarse levels to fine."""
    height, width = alpha.shape
    shrink = min(1.0, (work_pixels / (height * width)) ** 0.5, WORK_SIDE / max(height, width))
    work = max(1, round(height * shrink)), max(1, round(width * shrink))
    image, alpha = resize(image, work), resize(alpha, work)
    fg = bg = np.zeros((1, 1, 3), np.float32)
    levels = max(work).bit_length()
    for level in range(levels + 1):
        part = level / levels
        size = round(work[0] ** part), round(work[1] ** part)
        sweeps = SMALL_SWEEPS if max(size) <= SMALL_SIDE else SWEEPS
        fg, bg = resize(fg, size), resize(bg, size)
        fg, bg = _sweep(resize(image, size), resize(alpha, size), fg, bg, sweeps)
    return fg, bg


def _sweep(
    image: NDArray[np.uint8], alpha: Plane, fg: Colours, bg: Colours, sweeps: int
) -> tuple[Colours, Colours]:
    """Jacobi sweeps: every pixel's fg and bg from its mix and its four neighbours' colours."""
    weights = [SMOOTHNESS + ALPHA_WEIGHT * np.abs(near - alpha) for near in _neighbours(alpha)]
    pull = np.sum(weights, axis=0)
    a, b = alpha[:, :, None], 1 - alpha[:, :, None]
    # Per pixel [[aa, ab], [ab, bb]] @ [fg, bg] = [to_fg, to_bg], by Cramer's rule.
    aa, bb, ab = a * a + pull[:, :, None], b * b + pull[:, :, None], a * b
    determinant = aa * bb - ab * ab
    for _ in range(sweeps):
        to_fg, to_bg = a * image, b * image
        for weight, near_fg, near_bg in zip(weights, _neighbours(fg), _neighbours(bg), strict=True):
            to_fg += weight[:, :, None] * near_fg
            to_bg += weight[:, :, None] * near_bg
        fg = np.clip((bb * to_fg - ab * to_bg) / determinant, 0, 255)
        bg = np.clip((aa * to_bg - ab * to_fg) / determinant, 0, 255)
    return fg, bg


def _neighbours(plane: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The plane moved by one pixel down, up, right and left; edge pixels are repeated."""
    around = np.pad(plane, [(1, 1), (1, 1)] + [(0, 0)] * (plane.ndim - 2), mode="edge")
    return [around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]]


def _tiles(size: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    for top in range(0, size[0], TILE):
        for left in range(0, size[1], TILE):
            yield (
                slice(top, min(top + TILE, size[0])),
                slice(left, min(left + TILE, size[1])),
            )


def _enlarge(colours: Colours, tile: tuple[slice, slice], size: tuple[int, ...]) -> Colours:
    """The tile of the reduced colours (h, w, 3) enlarged to `size`, bilinear."""
    y, x = (
        (np.arange(part.start, part.stop, dtype=np.float32) + 0.5) * (short / long) - 0.5
        for part, short, long in zip(tile, colours.shape[:2], size, strict=True)
    )
    columns, rows = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    enlarged = cv2.remap(colours, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(enlarged, np.float32)
