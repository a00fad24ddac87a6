"""Colours brought from one RGB space into another, and into linear light; None stands for sRGB.

Most profiles of photos are three primaries and three curves (ICC.1:2022, 8.3.3). A plain colour
goes through these here, because Pillow's littlecms, which does all else, works in 8 bits only.
"""

import io
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RGB = NDArray[np.uint8]  # (H, W, 3)
Curve = NDArray[np.float64]  # (STEPS,)

# Samples of a curve: every level of 8 bits is one of them, and there are 15 between two levels.
BETWEEN = 16
STEPS = 255 * BETWEEN + 1
GRID = np.linspace(0, 1, STEPS)
FINE = 65535  # steps of the way back, over the root of the light, which resolves the darkest levels
# Spaces that differ by less are one, because several profiles are sRGB.
SAME_MATRIX, SAME_CURVE = 5e-4, 1e-3

HEADER, ENTRY = 128, 12  # bytes of an ICC profile
MOST_TAGS, MOST_SAMPLES = 100, 0x7FFF  # of a profile, and of a curve, as in littlecms
DAMAGE = (KeyError, IndexError, ValueError, ArithmeticError, struct.error)
# IEC 61966-2-1, adapted to D50 as profiles are: linear RGB -> XYZ.
SRGB_MATRIX = (
    (0.4360747, 0.3850649, 0.1430804),
    (0.2225045, 0.7168786, 0.0606169),
    (0.0139322, 0.0971045, 0.7141733),
)
WHITE = (0.9642, 1.0, 0.8249)  # D50, as XYZ
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0, 0)  # g, a to f

# ICC.1:2022, 10.18, table 68: a parametric curve is (a x + b)^g + e where x >= d, else c x + f.
# For each of its kinds: how many parameters are stored, and a to f from those after g.
FORMS: tuple[tuple[int, Callable[..., tuple[float, ...]]], ...] = (
    (1, lambda: (1, 0, 0, 0, 0, 0)),
    (3, lambda a, b: (a, b, 0, -b / a, 0, 0)),
    (4, lambda a, b, c: (a, b, 0, -b / a, c, c)),
    (5, lambda a, b, c, d: (a, b, c, d, 0, 0)),
    (7, lambda a, b, c, d, e, f: (a, b, c, d, e, f)),
)


class Space(NamedTuple):
    """An RGB space of primaries and curves."""

    matrix: NDArray[np.float64]  # (3, 3), from linear light to XYZ, adapted to D50
    curves: NDArray[np.float64]  # (3, STEPS), from levels / 255 to linear light in [0, 1]


class Light(NamedTuple):
    """The curves of a space as tables: levels of 8 bits to linear light and back."""

    decoded: NDArray[np.float32]  # (3, 256), in [0, 1]
    encoded: NDArray[np.float32]  # (3, FINE + 1), levels from 0 to 255 over the root of the light

    def decode(self, levels: RGB) -> NDArray[np.float32]:
        """Linear light (..., 3) in [0, 1] of levels (..., 3)."""
        return np.stack([self.decoded[c][levels[..., c]] for c in range(3)], axis=-1)

    def encode(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        """Levels (..., 3) from 0 to 255, not rounded, of linear light (..., 3), clipped."""
        place = np.sqrt(np.clip(light, 0, 1))
        place *= np.float32(FINE)
        place += np.float32(0.5)
        places = place.astype(np.uint16)
        return np.stack([self.encoded[c][places[..., c]] for c in range(3)], axis=-1)


def convert(pixels: RGB, source: bytes | None, target: bytes | None) -> RGB:
    """Bring pixels (H, W, 3) from the space of one ICC profile into that of another.

    White stays white (relative colorimetric). Colours that `target` does not hold are clipped to
    the nearest levels. Pixels stay as they are where the two spaces are the same, and where a
    profile is damaged or has no way into it, such as a scanner's.
    """
    if source == target:
        return pixels
    given, wanted = space_of(source), space_of(target)
    if given and wanted and _same(given, wanted):
        return pixels
    if given and wanted and pixels.shape[:2] == (1, 1):
        return _nearest(pixels, given, wanted)
    return _by_littlecms(pixels, source, target)


def _nearest(colour: RGB, given: Space, wanted: Space) -> RGB:
    """The levels (1, 1, 3) of `wanted` that look most like a colour (1, 1, 3) of `given`.

    Rounding each channel by itself is off by a colour difference of up to 1.5 in ProPhoto.
    """
    xyz = _xyz(colour, given)
    light = np.linalg.solve(wanted.matrix, xyz.reshape(3))
    ideal = [255 * np.interp(light[c], wanted.curves[c], GRID) for c in range(3)]
    steps = (-1, 0, 1)
    levels = [np.unique(np.clip(np.rint(level) + steps, 0, 255)) for level in ideal]
    choices = np.stack(np.meshgrid(*levels, indexing="ij"), axis=-1).reshape(1, -1, 3)
    found = choices.astype(np.uint8)
    off = np.linalg.norm(_lab(_xyz(found, wanted)) - _lab(xyz), axis=-1)
    return found[:, [int(off.argmin())]]


def _xyz(levels: RGB, space: Space) -> NDArray[np.float64]:
    light = [space.curves[c][levels[..., c].astype(int) * BETWEEN] for c in range(3)]
    return np.asarray(np.stack(light, axis=-1) @ space.matrix.T)


def _lab(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE 1976 L*a*b* of XYZ (..., 3)."""
    share = xyz / WHITE
    x, y, z = np.moveaxis(
        np.where(share > 216 / 24389, np.cbrt(share), share * 841 / 108 + 4 / 29), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@lru_cache(maxsize=8)
def light_of(icc: bytes | None) -> Light:
    """The curves of a profile as tables; those of sRGB for a profile that is not made of curves."""
    curves = (space_of(icc) or SRGB).curves
    roots = np.linspace(0, 1, FINE + 1) ** 2
    encoded = np.stack([255 * np.interp(roots, curve, GRID) for curve in curves])
    return Light(curves[:, ::BETWEEN].astype(np.float32), encoded.astype(np.float32))


@lru_cache(maxsize=8)
def space_of(icc: bytes | None) -> Space | None:
    """The primaries and curves of a profile; None if it has tables, or is damaged."""
    if icc is None:
        return SRGB
    try:
        tags = _tags(icc)
        columns = [_numbers(tags[name], 8, 3) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        curves = np.stack([_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")])
    except DAMAGE:
        return None
    matrix = np.array(columns).T
    # Tables come before primaries and curves, where a profile has both.
    tables = any(name[:3] in (b"A2B", b"B2A", b"D2B", b"B2D") for name in tags)
    sound = np.isfinite(curves).all() and (np.ptp(curves, axis=1) > 0).all()
    if tables or not sound or abs(np.linalg.det(matrix)) < 1e-6:
        return None
    return Space(matrix, np.maximum.accumulate(np.clip(curves, 0, 1), axis=1))


def _same(one: Space, other: Space) -> bool:
    return bool(
        np.abs(one.matrix - other.matrix).max() < SAME_MATRIX
        and np.abs(one.curves - other.curves).max() < SAME_CURVE
    )


def _tags(icc: bytes) -> dict[bytes, memoryview]:
    """The data of each tag of a profile, not copied because tags may overlap. Raises DAMAGE."""
    (count,) = struct.unpack_from(">I", icc, HEADER)
    if count > MOST_TAGS:
        raise ValueError(f"{count} tags")
    whole, tags = memoryview(icc), {}
    for place in range(HEADER + 4, min(HEADER + 4 + ENTRY * count, len(icc)), ENTRY):
        name, start, size = struct.unpack_from(">4sII", icc, place)
        tags[name] = whole[start : start + size]
    return tags


def _numbers(data: memoryview, start: int, count: int) -> tuple[float, ...]:
    """Numbers of the type s15Fixed16. Raises struct.error."""
    return tuple(n / 65536 for n in struct.unpack_from(f">{count}i", data, start))


def _curve(data: memoryview) -> Curve:
    """A curve as samples. Raises some of DAMAGE for a damaged one."""
    kind = bytes(data[:4])
    if kind == b"para":
        count, form = FORMS[struct.unpack_from(">H", data, 8)[0]]
        g, *others = _numbers(data, 12, count)
        return _parametric(g, *form(*others))
    if kind != b"curv":
        raise ValueError("not a curve")
    (count,) = struct.unpack_from(">I", data, 8)
    if count == 0:
        return GRID
    if count == 1:
        return np.asarray(GRID ** (struct.unpack_from(">H", data, 12)[0] / 256))
    if count > MOST_SAMPLES:
        raise ValueError(f"{count} samples")
    samples = np.frombuffer(data, ">u2", count, 12) / 65535
    return np.interp(GRID, np.linspace(0, 1, count), samples)


def _parametric(g: float, a: float, b: float, c: float, d: float, e: float, f: float) -> Curve:
    power = np.maximum(a * GRID + b, 0) ** g + e
    return np.where(d > GRID, c * GRID + f, power)


SRGB = Space(np.array(SRGB_MATRIX), np.stack([_parametric(*SRGB_CURVE)] * 3))


def _by_littlecms(pixels: RGB, source: bytes | None, target: bytes | None) -> RGB:
    """Convert by littlecms, with black point compensation, as photo editors do."""
    from PIL import ImageCms  # imported here because few photos need it

    given, wanted = (
        ImageCms.createProfile("sRGB") if icc is None else io.BytesIO(icc)
        for icc in (source, target)
    )
    try:
        converted = ImageCms.profileToProfile(
            Image.fromarray(np.ascontiguousarray(pixels)),
            given,
            wanted,
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            "RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError:
        return pixels
    return pixels if converted is None else np.asarray(converted)
