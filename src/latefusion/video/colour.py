"""Colours of a clip: matrix, range and their tags, from YUV to RGB and back."""

from dataclasses import dataclass, replace

import av
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

LIMITED, FULL = int(ColorRange.MPEG), int(ColorRange.JPEG)
UNSPECIFIED = 2  # matrix, primaries or transfer in ITU-T H.273
BT709, BT470BG, SMPTE170M, BT2020 = 1, 5, 6, 9

# Matrix in H.273 -> matrix in swscale; all others are rare, and guessed as if untagged.
MATRICES = {BT709: 1, 4: 4, BT470BG: 5, SMPTE170M: 5, 7: 7, BT2020: 9, 10: 9}
LAYOUTS = {3: "rgb24", 4: "rgba"}
HD_SIDE, SD_LINES = 1280, 576  # from the one side, or above the other, players use BT.709


@dataclass(frozen=True)
class Colour:
    """Numbers of ITU-T H.273 for matrix, primaries and transfer; `range` is LIMITED or FULL."""

    matrix: int
    range: int
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    def limited(self) -> "Colour":
        """Return these colours in limited range, for formats that cannot tag full range."""
        return replace(self, range=LIMITED)


def colour_of(frame: av.VideoFrame) -> Colour:
    """Return the colour tags of a decoded frame; missing ones are guessed as players do.

    RGB has no matrix: it gets that of an untagged clip of its size, and limited range.
    """
    guessed = _guess(frame.width, frame.height)
    matrix = frame.colorspace if frame.colorspace in MATRICES else guessed
    full = frame.color_range == FULL and not frame.format.is_rgb
    full |= frame.format.name.startswith("yuvj")
    return Colour(matrix, FULL if full else LIMITED, frame.color_primaries, frame.color_trc)


def _guess(width: int, height: int) -> int:
    longer, shorter = max(width, height), min(width, height)
    return BT709 if longer >= HD_SIDE or shorter > SD_LINES else SMPTE170M


def to_rgb(frame: av.VideoFrame, colour: Colour, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Convert a decoded frame to (H, W, 3) RGB at `size`, because frames of a clip can differ."""
    height, width = size
    given = None if frame.format.is_rgb else MATRICES[colour.matrix]
    rgb = frame.reformat(
        width,
        height,
        "rgb24",
        src_colorspace=given,
        src_color_range=None if frame.format.is_rgb else colour.range,
        dst_color_range=FULL,
        threads=1,
    )
    return np.asarray(rgb.to_ndarray(), np.uint8)


def from_rgb(pixels: NDArray[np.uint8], colour: Colour, format: str) -> av.VideoFrame:
    """Convert (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA to a frame of a YUV format, tagged."""
    if pixels.ndim == 2:  # swscale is up to 4 levels off from grey to limited range, so use RGB
        pixels = np.dstack([pixels] * 3)
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), LAYOUTS[pixels.shape[2]])
    rgb.colorspace = colour.matrix  # PyAV 17 reads BT.2020 only from here
    frame = rgb.reformat(
        format=format,
        src_color_range=FULL,
        dst_colorspace=MATRICES[colour.matrix],
        dst_color_range=colour.range,
        threads=1,
    )
    frame.colorspace, frame.color_range = colour.matrix, colour.range
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame
