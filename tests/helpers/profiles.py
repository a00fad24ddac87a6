"""ICC profiles of RGB spaces, made from primaries and curves, and the look of their levels."""

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tests.helpers.corpus import profile

Chromaticity = tuple[float, float]

D50 = np.array([0.9642, 1.0, 0.8249])
D65_WHITE, D50_WHITE = (0.3127, 0.3290), (0.3457, 0.3585)
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def gamma(exponent: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256))


def table(exponent: float, count: int = 1024) -> bytes:
    levels = np.rint(np.linspace(0, 1, count) ** exponent * 65535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", count) + levels.tobytes()


def parametric(kind: int, *numbers: float) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + fixed(*numbers)


SRGB_CURVE = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def rgb_profile(
    red: Chromaticity, green: Chromaticity, blue: Chromaticity, white: Chromaticity, curve: bytes
) -> bytes:
    """A profile of primaries, adapted to D50 by Bradford's matrix, and one curve for all three."""
    corners = [np.array([x / y, 1, (1 - x - y) / y]) for x, y in (red, green, blue, white)]
    matrix = np.stack(corners[:3], axis=1)
    matrix *= np.linalg.solve(matrix, corners[3])
    cones = (BRADFORD @ D50) / (BRADFORD @ corners[3])
    matrix = np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD @ matrix
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(*D50)}
    for name, column in zip((b"r", b"g", b"b"), matrix.T, strict=True):
        tags |= {name + b"XYZ": b"XYZ " + bytes(4) + fixed(*column), name + b"TRC": curve}
    return profile(b"RGB ", b"mntr", tags)


DISPLAY_P3 = rgb_profile((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), D65_WHITE, SRGB_CURVE)
ADOBE_RGB = rgb_profile((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), D65_WHITE, gamma(2.2))
PROPHOTO_PRIMARIES = (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), D50_WHITE
PROPHOTO = rgb_profile(*PROPHOTO_PRIMARIES, gamma(1.8))
ROMM = rgb_profile(*PROPHOTO_PRIMARIES, parametric(3, 1.8, 1, 0, 1 / 16, 0.031248))
BY_TABLE = rgb_profile((0.64, 0.33), (0.3, 0.6), (0.15, 0.06), D65_WHITE, table(1.6))
WIDE = {
    "Display P3": DISPLAY_P3,
    "Adobe RGB": ADOBE_RGB,
    "ProPhoto": PROPHOTO,
    "ROMM": ROMM,
    "curve by table": BY_TABLE,
}


def as_srgb(levels: NDArray[Any], icc: bytes | None) -> NDArray[np.uint8]:
    """Levels (H, W, 3) as a viewer on an sRGB screen shows them."""
    if icc is None:
        return levels
    given, screen = io.BytesIO(icc), ImageCms.createProfile("sRGB")
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    picture = Image.fromarray(levels)
    found = ImageCms.profileToProfile(picture, given, screen, intent, "RGB")
    assert found is not None
    return np.asarray(found)


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The colour difference (CIE 1976) of sRGB levels (..., 3)."""
    return np.asarray(np.linalg.norm(lab(one) - lab(other), axis=-1))


def lab(levels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """L*a*b* of sRGB levels, after CIE 15 and IEC 61966-2-1."""
    share = levels / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = light @ np.array(to_xyz).T / np.sum(to_xyz, axis=1)
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
