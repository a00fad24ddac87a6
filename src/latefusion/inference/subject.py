"""One subject of several in a matte, and small holes in it; soft edges stay soft."""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.errors import LatefusionError
from latefusion.images.levels import Plane

Point: TypeAlias = tuple[int, int]  # x, y of a pixel of the photo

ALL, LARGEST = "all", "largest"
FAINT = 0.05  # pixels with less alpha are no part of a subject, not even of its hair
SOLID = 0.5  # pixels with more alpha connect the parts of a subject
WORK_SIDE = 1024  # longest side at which components are found
HOLE_SHARE = 0.02  # of the subject's area; larger gaps, as between arm and body, stay


def parse_subject(given: str | Point) -> str | Point:
    """Parse `all`, `largest`, or a point as X,Y or (x, y). Raises LatefusionError."""
    if isinstance(given, str):
        if given in (ALL, LARGEST):
            return given
        parts = given.split(",")
        if len(parts) == 2 and all(part.strip().isdecimal() for part in parts):
            return int(parts[0]), int(parts[1])
    elif isinstance(given, tuple | list) and len(given) == 2 and all(map(_is_whole, given)):
        return int(given[0]), int(given[1])
    raise LatefusionError(f"unknown subject {given!r}; use {ALL}, {LARGEST} or X,Y, e.g. 300,200")


def _is_whole(number: object) -> bool:
    return isinstance(number, int | np.integer)


def keep_subject(alpha: Plane, which: str | Point) -> Plane:
    """Alpha of one connected subject: the largest, or the one at or nearest a point.

    Parts are connected where alpha is above 1/2; each softer pixel belongs to the nearest part, so
    hair stays with its head. `all` leaves alpha as it is. Raises LatefusionError for a point
    outside of the photo.
    """
    if which == ALL:
        return alpha
    height, width = alpha.shape
    if not isinstance(which, str) and not (0 <= which[0] < width and 0 <= which[1] < height):
        raise LatefusionError(
            f"the subject's point {which} is outside of the {width} x {height} photo"
        )
    small = _reduced(alpha)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(
        (small > SOLID).astype(np.uint8), connectivity=8
    )
    if count <= 2:  # the background and one part
        return alpha
    owner = _nearest_part(np.asarray(parts, np.int32))
    if isinstance(which, str):
        wanted = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    else:
        x, y = which[0] * small.shape[1] // width, which[1] * small.shape[0] // height
        wanted = int(owner[y, x])
    mine = np.asarray(owner == wanted).astype(np.float32)
    if mine.shape != alpha.shape:
        mine = np.asarray(cv2.resize(mine, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.multiply(alpha, mine, out=mine)


def unmet(alpha: Plane, which: str | Point) -> tuple[str, ...]:
    """What `keep_subject` cannot do for a point: one sentence, or none.

    It takes the nearest part if nothing is at the point, and keeps all if all is connected.
    """
    if isinstance(which, str):
        return ()
    small = _reduced(alpha)
    x = which[0] * small.shape[1] // alpha.shape[1]
    y = which[1] * small.shape[0] // alpha.shape[0]
    count, _ = cv2.connectedComponents((small > SOLID).astype(np.uint8), connectivity=8)
    if count < 2:  # the background alone
        return ()
    if small[y, x] < FAINT:
        return (f"no subject at {which[0]},{which[1]}; the nearest one was kept",)
    if count == 2:
        return (f"all of the subject at {which[0]},{which[1]} is connected; nothing was removed",)
    return ()


def fill_holes(alpha: Plane) -> Plane:
    """Alpha with small gaps inside the subject filled.

    A gap is background that is connected to no edge of the photo. It is filled to 1 if its area is
    below a fiftieth of the subject's; open gaps and larger ones are left alone.
    """
    small = _reduced(alpha)
    solid = small > SOLID
    count, parts, stats, _ = cv2.connectedComponentsWithStats(
        (~solid).astype(np.uint8), connectivity=4
    )
    edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    limit = HOLE_SHARE * solid.sum()
    holes = [
        part
        for part in range(1, count)
        if part not in edge and stats[part, cv2.CC_STAT_AREA] <= limit
    ]
    if not holes:
        return alpha
    # Their rims too: soft pixels around a gap are part of it.
    filled = cv2.dilate(np.isin(parts, holes).astype(np.float32), np.ones((5, 5), np.uint8))
    inside = cv2.erode(
        _closed(solid, np.asarray(parts, np.int32), np.asarray(edge, np.int32)),
        np.ones((3, 3), np.uint8),
    )
    filled = np.minimum(filled, inside)
    if filled.shape != alpha.shape:
        size = alpha.shape[1], alpha.shape[0]
        filled = np.asarray(cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR))
    return np.maximum(alpha, filled)


def _closed(solid: NDArray[np.bool_], parts: NDArray[np.int32], edge: NDArray[np.int32]) -> Plane:
    """The subject with all that it encloses."""
    return np.asarray(solid | ~np.isin(parts, edge)).astype(np.float32)


def _reduced(alpha: Plane) -> Plane:
    scale = min(1.0, WORK_SIDE / max(alpha.shape))
    if scale == 1:
        return alpha
    size = max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale))
    return np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)


def _nearest_part(parts: NDArray[np.int32]) -> NDArray[np.int32]:
    """Number of the part that each pixel is in or nearest to, (H, W)."""
    _, labels = cv2.distanceTransformWithLabels(
        (parts == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    inside = parts > 0
    part_of_label = np.zeros(int(labels.max()) + 1, np.int32)
    part_of_label[labels[inside]] = parts[inside]
    return np.asarray(part_of_label[labels])
