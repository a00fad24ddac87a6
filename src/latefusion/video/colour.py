"""How a clip's levels mean colours: matrix, range and their tags, from YUV to RGB and back."""

from dataclasses import dataclass, replace

import av
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

LIMITED, FULL = int(ColorRange.MPEG), int(ColorRange.JPEG)
UNSPECIFIED = 2  # of matrix, primaries and transfer, as in ITU-T H.273
BT709, BT470BG, SMPTE170M, BT2020 = 1, 5, 6, 9

# The matrices of H.273 by number -> swscale's; all others are rare, and taken for one of these.
MATRICES = {BT709: 1, 4: 4, BT470BG: 5, SMPTE170M: 5, 7: 7, BT2020: 9, 10: 9}
LAYOUTS = {3: "rgb24", 4: "rgba"}
HD_SIDE, SD_LINES = 1280, 576  # from here on an untagged clip is BT.709, as players take it


@dataclass(frozen=True)
class Colour:
    """Numbers of ITU-T H.273 for matrix, primaries and transfer; `range` is LIMITED or FULL."""

    matrix: int
    range: int
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    def limited(self) -> "Colour":
        """The same colours in limited range, for formats that can say no other."""
        return replace(self, range=LIMITED)


def colour_of(frame: av.VideoFrame) -> Colour:
    """What a decoded frame says of its colours; what it leaves open as players guess it.

    RGB, which has no matrix, gets the one and the limited range of a clip of its size.
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
    """A decoded frame as (H, W, 3) RGB, at `size`: a clip may change it on its way."""
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
    """Pixels (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA as a frame of a YUV format, with tags."""
    if pixels.ndim == 2:  # as RGB, since swscale takes grey to limited range up to 4 levels off
        pixels = np.dstack([pixels] * 3)
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), LAYOUTS[pixels.shape[2]])
    rgb.colorspace = colour.matrix  # PyAV 17 takes BT.2020 from here only
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
