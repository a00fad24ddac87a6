"""What a network says of an image: alpha, fg, bg and blend as planes."""

from typing import NamedTuple

from latefusion.images.levels import Plane


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
