"""Light of a clip: sRGB colours in its primaries and transfer, and HDR as the network knows it."""

import numpy as np
from numpy.typing import NDArray

from latefusion.images.spaces import light_of
from latefusion.video.colour import BT709, BT2020, UNSPECIFIED, Colour

# Transfers of ITU-T H.273. All others are taken for sRGB's, as screens show them.
PQ, HLG = 16, 18  # SMPTE ST 2084; ARIB STD-B67

# Chromaticities (x, y) of red, green and blue by the primaries of H.273; white is D65 in all.
PRIMARIES = {
    BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),  # BT.601, 625 lines
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),  # BT.601, 525 lines
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # P3 of the cinema, its white kept white
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
D65 = (0.3127, 0.3290)

WHITE = 203.0  # cd/m2 of graphics white in HDR, ITU-R BT.2408; in HLG 75 % of the signal
PQ_PEAK = 10_000.0  # cd/m2
M1, M2 = 2610 / 16384, 2523 / 4096 * 128  # SMPTE ST 2084
C1, C2, C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2  # the screen for which BT.2408 gives its levels
HLG_A, HLG_B, HLG_C = 0.17883277, 0.28466892, 0.55991073  # BT.2100
KNEE = 0.8  # of white: brighter light is compressed for the network

Light = NDArray[np.float64]  # (..., 3), graphics white is 1


def is_hdr(colour: Colour) -> bool:
    """Return whether a clip is in PQ or HLG."""
    return colour.transfer in (PQ, HLG)


def differs_from_srgb(colour: Colour) -> bool:
    """Return whether the same levels mean other colours in a clip than in sRGB."""
    return is_hdr(colour) or _primaries(colour) != BT709


def from_srgb(pixels: NDArray[np.uint8], colour: Colour) -> NDArray[np.uint8]:
    """Convert sRGB pixels (H, W, 3) to RGB levels of a clip's space.

    White becomes graphics white in HDR (ITU-R BT.2408): 203 cd/m2 in PQ, 75 % of the signal in HLG.
    Colours outside of the clip's primaries are clipped.
    """
    if not differs_from_srgb(colour):
        return pixels
    light = light_of(None).decode(pixels).astype(np.float64) @ _matrix(BT709, _primaries(colour)).T
    encode = {PQ: _to_pq, HLG: _to_hlg}.get(colour.transfer, _to_srgb)
    return np.rint(255 * np.clip(encode(np.clip(light, 0, None)), 0, 1)).astype(np.uint8)


def as_seen(pixels: NDArray[np.uint8], colour: Colour) -> NDArray[np.uint8]:
    """Show PQ levels (H, W, 3) as an ordinary picture, as the network knows them.

    Graphics white becomes white, brighter light is compressed. Primaries stay. HLG is made to look
    right on ordinary screens, so it is left as it is.
    """
    return PQ_AS_SEEN[pixels] if colour.transfer == PQ else pixels


def _primaries(colour: Colour) -> int:
    if colour.primaries in PRIMARIES:
        return colour.primaries
    unstated = colour.primaries == UNSPECIFIED and is_hdr(colour)
    return BT2020 if unstated else BT709


def _to_pq(light: Light) -> Light:
    power = (light * WHITE / PQ_PEAK) ** M1
    return ((C1 + C2 * power) / (1 + C3 * power)) ** M2


def _from_pq(levels: Light) -> Light:
    power = levels ** (1 / M2)
    shown = (np.clip(power - C1, 0, None) / (C2 - C3 * power)) ** (1 / M1)
    return shown * PQ_PEAK / WHITE


def _to_hlg(light: Light) -> Light:
    """Light on the screen -> light of the scene -> signal; luminance is that of BT.2020."""
    shown = light * WHITE / HLG_PEAK
    luminance = np.maximum(shown @ (0.2627, 0.6780, 0.0593), 1e-9)[..., None]
    scene = shown * luminance ** ((1 - HLG_GAMMA) / HLG_GAMMA)
    bright = HLG_A * np.log(np.maximum(12 * scene - HLG_B, 1e-9)) + HLG_C
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def _to_srgb(light: Light) -> Light:
    low, high = light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, low, high)


def _matrix(given: int, wanted: int) -> Light:
    """Return the 3 x 3 matrix from linear RGB of one set of primaries to another."""
    return np.linalg.inv(_to_xyz(wanted)) @ _to_xyz(given)


def _to_xyz(primaries: int) -> Light:
    """Return the 3 x 3 matrix from linear RGB to CIE XYZ; (1, 1, 1) becomes white."""
    columns = np.array([_xyz(*point) for point in PRIMARIES[primaries]]).T
    return np.asarray(columns * np.linalg.solve(columns, _xyz(*D65)))


def _xyz(x: float, y: float) -> Light:
    return np.array([x / y, 1, (1 - x - y) / y])


def _pq_as_seen() -> NDArray[np.uint8]:
    light = _from_pq(np.arange(256) / 255)
    over = np.maximum(light - KNEE, 0) / (1 - KNEE)
    light = np.minimum(light, KNEE) + (1 - KNEE) * over / (1 + over)
    return np.rint(255 * np.clip(_to_srgb(light), 0, 1)).astype(np.uint8)


PQ_AS_SEEN = _pq_as_seen()  # PQ level -> sRGB level
