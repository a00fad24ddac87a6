"""The output of a network: alpha, fg, bg and blend as planes."""

from typing import NamedTuple

from latefusion.images.levels import Plane


class Planes(NamedTuple):
    """Planes (H, W) float32 in [0, 1]; alpha = blend * fg + (1 - blend) * (1 - bg), eq. 2.

    `fused` is the share of tiles in which the fusion network ran; blend is 1/2 in the others.
    """

    alpha: Plane
    fg: Plane
    bg: Plane
    blend: Plane
    fused: float = 1.0


# Output names in exported files: of whole networks, and of the branches alone for lazy fusion.
OUTPUTS = ("alpha", "fg", "bg", "blend")
SEAM = ("features", "rows", "columns")
PARTS = ("fg", "bg", *SEAM)
# In two files for OpenCV: outputs of the first, and input and output of the second for parts of an
# image inside it and at its border.
BRANCHES = ("fg", "bg", "features")
INSIDE, BORDER = ("features", "blend"), ("border_features", "border_blend")
# Of a file for the write-up's C++ program: fg, bg, blend, and what it subtracts from its RGB image.
WRITE_UP_OUTPUTS = (
    "deFG_side_0_out/ResizeNearestNeighbor",
    "deBG_side_0_out/ResizeNearestNeighbor",
    "fusion_sigmoid_output/Sigmoid",
)
WRITE_UP_MEAN = (127.156207, 115.917443, 106.031127)
