"""What a network says of an image: planes, and how they become levels."""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Level = TypeVar("Level", np.uint8, np.uint16)

ROWS = 256  # full-size arithmetic goes in strips of so many, to hold memory down


class Planes(NamedTuple):
    """All (H, W) float32 in [0, 1]; alpha = blend * fg + (1 - blend) * (1 - bg).

    `fused` is the share of the image's tiles in which the fusion network ran. In the others blend
    is 1/2.
    """

    alpha: Plane
    fg: Plane
    bg: Plane
    blend: Plane
    fused: float = 1.0


# As exported files name them: of whole networks, and of the branches alone for lazy fusion.
OUTPUTS = ("alpha", "fg", "bg", "blend")
SEAM = ("features", "rows", "columns")
PARTS = ("fg", "bg", *SEAM)


def to_levels(plane: Plane) -> NDArray[np.uint8]:
    """A plane in [0, 1] as levels from 0 to 255."""
    return _to_levels(plane, np.empty(plane.shape, np.uint8), 255)


def to_deep_levels(plane: Plane) -> NDArray[np.uint16]:
    """A plane in [0, 1] as levels from 0 to 65,535."""
    return _to_levels(plane, np.empty(plane.shape, np.uint16), 65535)


def _to_levels(plane: Plane, levels: NDArray[Level], most: int) -> NDArray[Level]:
    for top in range(0, plane.shape[0], ROWS):
        strip = slice(top, top + ROWS)
        levels[strip] = np.rint(plane[strip] * np.float32(most))
    return levels
