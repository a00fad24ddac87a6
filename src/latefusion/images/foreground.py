"""Foreground estimation: the subject's own colours, so that a cut-out shows no old background.

A soft pixel is a mix, image = alpha * fg + (1 - alpha) * bg, where fg and bg are colours. They are
estimated at reduced size after Germer, Uelwer, Conrad and Harmeling, "Fast Multi-Level Foreground
Estimation" (ICPR 2020), eq. 5 and 6. At the photo's own size one step fits the mix exactly.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.images.framing import resize
from latefusion.images.levels import ROWS, Plane, to_levels

WORK_PIXELS = 3 * 256 * 256  # upper limit of the reduced size; colours change slowly
WORK_SIDE = 8192  # longest side of the reduced size; cv2.remap is limited to 32,767
COARSEST = 8  # longest side of the coarsest level, in pixels
SWEEPS = 3  # per level; two leave 6 % more error, four 3 % less (docs/log.md)
SMOOTHNESS, ALPHA_WEIGHT = 1e-5, 0.1  # weight of neighbours: constant, and by the change of alpha
PLAIN = 1 / 510  # alpha this close to 0 or 1 is plain: half a level of an 8-bit matte
MARGIN = 8  # pixels around the subject that get its colour, so that resizing later stays clean
CHUNK = 16384  # pixels per full-size step; they fit into a processor's cache

Colours = NDArray[np.float32]  # (H, W, 3), range 0 to 255
Pair = NDArray[np.float32]  # (6, H, W): the planes of fg and bg, the layout NumPy is fastest with
Places = NDArray[np.intp]  # (N,): flat indices of pixels, row by row


def estimate_foreground(
    image: NDArray[np.uint8], alpha: Plane, work_pixels: int = WORK_PIXELS
) -> NDArray[np.uint8]:
    """Estimate the subject's colour (H, W, 3) of an image (H, W, 3) with alpha (H, W) in [0, 1].

    Opaque pixels keep the photo's colour exactly. Soft pixels and a margin of MARGIN pixels around
    them get the estimate. All others are black, so no old background remains. At most `work_pixels`
    pixels are used for the estimate, at least a quarter of that for larger images.

    Source: Germer et al., "Fast Multi-Level Foreground Estimation" (ICPR 2020).
    """
    image, alpha = np.ascontiguousarray(image), np.ascontiguousarray(alpha)
    opacity = to_levels(alpha)
    opaque = (opacity == 255).view(np.uint8)
    estimate = np.zeros_like(image)
    cv2.copyTo(image, opaque, estimate)
    square = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
    wanted = np.asarray(cv2.dilate(np.minimum(opacity, 1), square) > opaque)
    if not wanted.any():
        return estimate
    fg, bg = _solve(image, alpha, work_pixels)
    for top in range(0, len(alpha), ROWS):
        strip = slice(top, top + ROWS)
        places = np.flatnonzero(wanted[strip]) + top * alpha.shape[1]
        for first in range(0, len(places), CHUNK):
            chunk = places[first : first + CHUNK]
            estimate.reshape(-1, 3)[chunk] = _fit(image, alpha, fg, bg, chunk)
    return estimate


def _fit(
    image: NDArray[np.uint8], alpha: Plane, fg: Colours, bg: Colours, places: Places
) -> NDArray[np.uint8]:
    """Fit foreground colours (N, 3): the least change of fg and bg that reproduces the image.

    fg and bg are at reduced size, image and alpha at the photo's size.
    """
    # Alpha is repeated per channel: NumPy is slow along an axis of three.
    a = np.asarray(cv2.cvtColor(alpha.reshape(-1)[places, None], cv2.COLOR_GRAY2RGB)[:, 0])
    b = 1 - a
    fitted, behind = enlarged((fg, bg), places, alpha.shape)
    rest = image.reshape(-1, 3)[places] - a * fitted
    behind *= b
    rest -= behind
    rest *= a / (a * a + b * b)
    fitted += rest
    np.rint(fitted, out=fitted)
    return np.clip(fitted, 0, 255, out=fitted).astype(np.uint8)


def enlarged(
    pictures: Sequence[Colours], places: Places, size: tuple[int, ...]
) -> Iterator[Colours]:
    """Sample pixels (N, 3) of pictures (h, w, 3) as if enlarged to `size`; bilinear, N <= CHUNK."""
    place = places.astype(np.int32)[:, None]
    y = place // size[1]
    x = place - y * size[1]
    rows, columns = (
        (part.astype(np.float32) + 0.5) * (short / long) - 0.5
        for part, short, long in zip((y, x), pictures[0].shape[:2], size, strict=True)
    )
    for picture in pictures:
        found = cv2.remap(picture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        yield np.asarray(found[:, 0], np.float32)


def _solve(image: NDArray[np.uint8], alpha: Plane, work_pixels: int) -> tuple[Colours, Colours]:
    """Estimate smooth colours of subject and background at reduced size, from coarse to fine."""
    while alpha.size > work_pixels or max(alpha.shape) > WORK_SIDE:
        image, alpha = _halved(image), _halved(alpha)
    levels = [(image, alpha)]
    while max(alpha.shape) > COARSEST:
        image, alpha = _halved(image), _halved(alpha)
        levels.append((image, alpha))
    pair = np.tile(image.transpose(2, 0, 1).astype(np.float32), (2, 1, 1))
    for image, alpha in reversed(levels):
        pair = np.stack([cv2.resize(plane, alpha.shape[::-1]) for plane in pair])
        _sweep(image, alpha, pair)
    return cv2.merge(list(pair[:3])), cv2.merge(list(pair[3:]))


def _halved(pixels: NDArray[Any]) -> NDArray[Any]:
    height, width = pixels.shape[:2]
    return resize(pixels, ((height + 1) // 2, (width + 1) // 2))


def _sweep(image: NDArray[np.uint8], alpha: Plane, pair: Pair) -> None:
    """Refine fg and bg in place with red-black Gauss-Seidel sweeps over four neighbours.

    Only soft pixels and those next to them are updated; the coarser level is good enough elsewhere.
    """
    soft = (alpha > PLAIN) & (alpha < 1 - PLAIN)
    near = cv2.dilate(soft.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    black = np.zeros_like(soft)
    black[::2, 1::2] = black[1::2, ::2] = True
    halves = [_half(image, alpha, np.flatnonzero(near & colour)) for colour in (~black, black)]
    flat = pair.reshape(6, -1)
    for _ in range(SWEEPS):
        for half in halves:
            _relax(flat, half)


class _Half(NamedTuple):
    """The N soft pixels of one chessboard colour, with the coefficients of their equations."""

    places: Places  # (N,)
    near: Places  # (4, N): pixels above, below, left and right; the pixel itself at the edges
    weights: Plane  # (4, N): weights of the neighbours' mean; they sum to 1
    mix: NDArray[np.uint8]  # (3, N): the image
    a: Plane  # (N,): alpha
    b: Plane  # (N,): 1 - alpha
    share: Plane  # (N,): fg is corrected by a * share of the residual, bg by b * share
    pulled: NDArray[np.float32]  # (6, 4, N): buffer for the neighbours' colours


def _half(image: NDArray[np.uint8], alpha: Plane, places: Places) -> _Half:
    height, width = alpha.shape
    y = places.astype(np.int32) // width
    x = places.astype(np.int32) - y * width
    up, down, left, right = (y > 0) * width, (y < height - 1) * width, x > 0, x < width - 1
    near = np.stack([places - up, places + down, places - left, places + right])
    a = alpha.reshape(-1)[places]
    b = 1 - a
    weights = SMOOTHNESS + ALPHA_WEIGHT * np.abs(alpha.reshape(-1)[near] - a)
    pull = weights.sum(axis=0)
    mix = np.ascontiguousarray(image.reshape(-1, 3)[places].T)
    pulled = np.empty((6, *near.shape), np.float32)
    return _Half(places, near, weights / pull, mix, a, b, 1 / (a * a + b * b + pull), pulled)


def _relax(flat: NDArray[np.float32], half: _Half) -> None:
    """Solve the equations of half of the pixels in the planes (6, H * W), neighbours fixed.

    The equations of a pixel (eq. 6) are its mix and the weighted mean of its neighbours. By the
    Sherman-Morrison formula the solution is the mean plus a share of the residual of the mix.
    """
    np.take(flat, half.near, axis=1, out=half.pulled, mode="clip")
    np.multiply(half.pulled, half.weights, out=half.pulled)
    mean = half.pulled.sum(axis=1)
    fg, bg = mean[:3], mean[3:]
    rest = half.mix - half.a * fg
    rest -= half.b * bg
    rest *= half.share
    fg += half.a * rest
    bg += half.b * rest
    flat[:, half.places] = np.clip(mean, 0, 255, out=mean)
