"""Planes of one value per pixel, and their conversion to integer levels."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

Level = TypeVar("Level", np.uint8, np.uint16)

ROWS = 256  # rows per strip in full-size arithmetic, to limit memory


def to_levels(plane: Plane) -> NDArray[np.uint8]:
    """Convert a plane in [0, 1] to levels from 0 to 255."""
    return _to_levels(plane, np.empty(plane.shape, np.uint8), 255)


def to_deep_levels(plane: Plane) -> NDArray[np.uint16]:
    """Convert a plane in [0, 1] to levels from 0 to 65,535."""
    return _to_levels(plane, np.empty(plane.shape, np.uint16), 65535)


def _to_levels(plane: Plane, levels: NDArray[Level], most: int) -> NDArray[Level]:
    for top in range(0, plane.shape[0], ROWS):
        strip = slice(top, top + ROWS)
        levels[strip] = np.rint(plane[strip] * np.float32(most))
    return levels
