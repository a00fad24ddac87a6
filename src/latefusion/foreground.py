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
from latefusion.planes import to_levels

WORK_PIXELS = 256 * 256  # colours change slowly
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
    """Jacobi sweeps: every pixel's fg and bg from its mix and its four neighbours' colours.

    Colour by colour (3, H, W) inside, which NumPy multiplies by planes twice as fast.
    """
    weights = [SMOOTHNESS + ALPHA_WEIGHT * np.abs(near - alpha) for near in _near(_padded(alpha))]
    pull = np.sum(weights, axis=0)
    # Per pixel [[aa, ab], [ab, bb]] @ [fg, bg] = [to_fg, to_bg], by Cramer's rule.
    a, b = alpha, 1 - alpha
    aa, bb, ab = a * a + pull, b * b + pull, a * b
    determinant = aa * bb - ab * ab
    aa, bb, ab = aa / determinant, bb / determinant, ab / determinant
    mix = image.transpose(2, 0, 1).astype(np.float32)
    of_mix = np.stack([a * mix, b * mix])
    colours = np.stack([fg.transpose(2, 0, 1), bg.transpose(2, 0, 1)])
    pulled, to = np.empty_like(colours), np.empty_like(colours)
    for _ in range(sweeps):
        np.copyto(to, of_mix)
        for weight, near in zip(weights, _near(_padded(colours)), strict=True):
            to += np.multiply(weight, near, out=pulled)
        np.subtract(bb * to[0], ab * to[1], out=colours[0])
        np.subtract(aa * to[1], ab * to[0], out=colours[1])
        np.clip(colours, 0, 255, out=colours)
    found_fg, found_bg = np.ascontiguousarray(colours.transpose(0, 2, 3, 1))
    return found_fg, found_bg


def _padded(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Planes (..., H, W) with one more pixel on every side, the outermost ones repeated."""
    height, width = planes.shape[-2:]
    padded = np.empty((*planes.shape[:-2], height + 2, width + 2), np.float32)
    padded[..., 1:-1, 1:-1] = planes
    padded[..., [0, -1], 1:-1] = planes[..., [0, -1], :]
    padded[..., :, [0, -1]] = padded[..., :, [1, -2]]
    return padded


def _near(padded: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """The planes inside, moved by one pixel down, up, right and left."""
    return (
        padded[..., :-2, 1:-1],
        padded[..., 2:, 1:-1],
        padded[..., 1:-1, :-2],
        padded[..., 1:-1, 2:],
    )


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
