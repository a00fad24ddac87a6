"""A binary mask becomes a soft alpha: closed-form matting in a band round the outline."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.inference.closed_form import Fit, solve_where

# Half the band's width, as a share of the square root of the subject's area: 3.5 px for a portrait
# of 600 x 800. On 20 soft mattes, thresholded, the mean error is 0.0044 for the mask and 0.0030,
# 0.0032, 0.0037 and 0.0045 for bands of 0.005, 0.0075, 0.01 and 0.015. Not the narrowest, because
# few masks lie as exactly on the outline as a thresholded matte.
BAND = 0.0075
MIN_BAND = 2.0  # pixels
MAX_SOLVED = 1_000_000  # pixels of a crop; a larger one is solved smaller, where FIT is enough
# On 40 soft mattes, thresholded: a MAD of 0.0688 in the band, and 0.0691 if solved exactly.
FIT = Fit(epsilon=1e-5, pull=1e-4, steps=50)
HAZE = 0.05  # of the solution, at both ends, is clipped away
# Of the outline's pixels; a resized binary mask has fewer soft ones, a matte more.
SOFT_SHARE = 0.75


def is_binary(alpha: NDArray[np.uint8]) -> bool:
    """True for an alpha (H, W) 0..255 with hardly any soft pixels for the length of its outline.

    A mask that was resized or stored as JPEG has a soft rim one pixel wide and counts as binary.
    """
    outline = cv2.morphologyEx(_mask(alpha), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    soft = np.count_nonzero((alpha > 12) & (alpha < 243))
    return bool(soft < SOFT_SHARE * np.count_nonzero(outline))


def refine(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The soft alpha (H, W) of a photo (H, W, 3) RGB and its binary mask (H, W), all uint8 0..255.

    Only the band round the outline changes. The method is closed-form matting (Levin, Lischinski
    and Weiss, "A Closed-Form Solution to Natural Image Matting", PAMI 2008).
    """
    known = trimap(mask)
    window = _unknown_window(known)
    if window is None:
        return _mask(mask) * np.uint8(255)
    alpha = known.copy()
    alpha[window] = _solve_bounded(image[window], known[window])
    return np.where(known == 128, alpha, known)


def trimap(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """0 outside, 255 inside and 128 in a band round the outline of a binary mask (H, W).

    The band is as wide as BAND says, but where a part of the subject (a finger) or a gap (between
    arm and body) is thinner than that, its middle stays known.
    """
    inside = _mask(mask)
    radius = max(MIN_BAND, BAND * float(np.count_nonzero(inside)) ** 0.5)
    known = np.full(mask.shape, 128, np.uint8)
    known[_core(inside, radius)] = 255
    known[_core(1 - inside, radius)] = 0
    return known


def _mask(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (alpha > 127).astype(np.uint8)


def _core(region: NDArray[np.uint8], radius: float) -> NDArray[np.bool_]:
    """The pixels of a region (0 or 1) `radius` from its edge, or in the middle of a thin part."""
    depth = cv2.distanceTransform(region, cv2.DIST_L2, 5)
    size = 2 * math.ceil(radius) + 1
    deepest_near = cv2.dilate(depth, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    return (region > 0) & (depth >= np.minimum(radius, deepest_near / 2))


def _unknown_window(known: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    """Rows and columns of the band with two known pixels around it; None where all is known."""
    x, y, width, height = cv2.boundingRect((known == 128).astype(np.uint8))
    if width == 0:
        return None
    return slice(max(0, y - 2), y + height + 2), slice(max(0, x - 2), x + width + 2)


def _solve_bounded(image: NDArray[np.uint8], known: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Alpha 0..255 of a crop, solved at MAX_SOLVED pixels at most, at the crop's own size."""
    height, width = known.shape
    scale = min(1.0, (MAX_SOLVED / (height * width)) ** 0.5)
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    levels = cv2.resize(known, small, interpolation=cv2.INTER_AREA)
    image_small = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
    # What is not wholly known is unknown in the small trimap.
    unknown = (levels > 0) & (levels < 255)
    alpha = np.where(unknown, 0.5, levels / 255).astype(np.float32)
    solved = solve_where(image_small, alpha, unknown.astype(np.uint8), FIT)
    clear = np.clip((solved - HAZE) / (1 - 2 * HAZE), 0, 1)
    alpha = np.asarray(cv2.resize(clear, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.rint(alpha * 255).astype(np.uint8)
