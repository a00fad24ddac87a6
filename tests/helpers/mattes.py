"""Small mattes made by hand."""

import numpy as np
from numpy.typing import NDArray

from latefusion.images.framing import Letterbox
from latefusion.images.levels import Plane
from latefusion.inference.matte import Matte
from latefusion.runtime.planes import Planes


def red_on_green(height: int = 40, width: int = 60) -> Matte:
    """A red subject at the left, green to the right, the soft edge at a third of the width."""
    ramp = np.clip((width / 3 - np.arange(width, dtype=np.float32)) / 4 + 0.5, 0, 1)
    alpha = np.repeat(ramp[None], height, axis=0).astype(np.float32)
    image = alpha[:, :, None] * np.array([220, 10, 10]) + (1 - alpha[:, :, None]) * (0, 190, 0)
    fg, bg = np.sqrt(alpha), 1 - alpha**2
    return whole(np.rint(image).astype(np.uint8), alpha, fg, bg, np.full_like(alpha, 0.25))


def whole(image: NDArray[np.uint8], alpha: Plane, fg: Plane, bg: Plane, blend: Plane) -> Matte:
    """A matte of a photo that has the network's size."""
    size = image.shape[0], image.shape[1]
    return Matte(image, alpha, Planes(alpha, fg, bg, blend), Letterbox(size, size, size))
