"""Colours of a clip: matrix, range and their tags, from YUV to RGB and back."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from latefusion.images.levels import Plane

LIMITED, FULL = int(ColorRange.MPEG), int(ColorRange.JPEG)
UNSPECIFIED = 2  # matrix, primaries or transfer in ITU-T H.273
BT709, BT470BG, SMPTE170M, BT2020 = 1, 5, 6, 9

# Matrix in H.273 -> matrix in swscale; all others are rare, and guessed as if untagged.
MATRICES = {BT709: 1, 4: 4, BT470BG: 5, SMPTE170M: 5, 7: 7, BT2020: 9, 10: 9}
LAYOUTS = {(3, 1): "rgb24", (4, 1): "rgba", (3, 2): "rgb48le", (4, 2): "rgba64le"}  # bytes second
HD_SIDE, SD_LINES = 1280, 576  # from the one side, or above the other, players use BT.709


class Mastering(NamedTuple):
    """The screen on which HDR was made and how bright it gets, as FFmpeg's structures in int32."""

    screen: tuple[int, ...]  # fractions: x and y of red, green, blue, white; least and most cd/m2
    content: tuple[int, ...]  # the most, and the most of a frame's mean, in cd/m2


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


def mastering_of(frame: av.VideoFrame) -> Mastering:
    """Return the HDR metadata of a decoded frame; its parts are empty if it has none."""
    try:
        beside = cast(SideDataContainer, frame.side_data)
    except ValueError:  # PyAV 18 cannot list a kind that it does not know, such as EXIF
        return Mastering((), ())
    kinds = SideData.MASTERING_DISPLAY_METADATA, SideData.CONTENT_LIGHT_LEVEL
    found = [np.frombuffer(bytes(beside[k]), np.int32) if k in beside else () for k in kinds]
    screen, content = (tuple(int(each) for each in numbers) for numbers in found)
    complete = len(screen) >= 22 and all(screen[20:22])  # has_primaries and has_luminance
    return Mastering(screen[:20] if complete and all(screen[1:20:2]) else (), content[:2])


def _guess(width: int, height: int) -> int:
    longer, shorter = max(width, height), min(width, height)
    return BT709 if longer >= HD_SIDE or shorter > SD_LINES else SMPTE170M


def is_deep(frame: av.VideoFrame) -> bool:
    """Return whether a frame has more than 8 bits."""
    return any(each.bits > 8 for each in frame.format.components)


def to_rgb(
    frame: av.VideoFrame, colour: Colour, size: tuple[int, int], layout: str = "rgb24"
) -> NDArray[Any]:
    """Convert a decoded frame to (H, W, 3) RGB at `size`, because frames of a clip can differ.

    The levels are uint8, or with the layout `rgb48le` uint16.
    """
    height, width = size
    given = None if frame.format.is_rgb else MATRICES[colour.matrix]
    rgb = frame.reformat(
        width,
        height,
        layout,
        src_colorspace=given,
        src_color_range=None if frame.format.is_rgb else colour.range,
        dst_color_range=FULL,
        threads=1,
    )
    return np.asarray(rgb.to_ndarray())


def with_finer_steps(
    pixels: NDArray[np.uint8], image: NDArray[np.uint8], deep: NDArray[np.uint16], alpha: Plane
) -> NDArray[np.uint16]:
    """Return a picture made of the 8-bit `image` with the steps of its 16-bit original `deep`.

    `pixels` is (H, W, 3) or (H, W, 4). Where alpha is 1 it is the image itself, so what was lost by
    rounding is added again; less where the background takes part.
    """
    finer = pixels.astype(np.float32) * 257
    finer[:, :, :3] += (deep - np.float32(257) * image) * alpha[:, :, None]
    return np.clip(np.rint(finer), 0, 65535).astype(np.uint16)


def opacity_of(frame: av.VideoFrame, size: tuple[int, int]) -> Plane | None:
    """Return the alpha of a decoded frame, (H, W) in [0, 1] at `size`, or None if it has none."""
    alpha = [each for each in frame.format.components if each.is_alpha]
    if not alpha and not frame.format.has_palette:
        return None
    layout, kind = ("gbrap16le", "<u2") if is_deep(frame) else ("gbrap", "u1")
    height, width = size
    plane = frame.reformat(width, height, layout, threads=1).planes[3]
    rows = np.frombuffer(memoryview(plane), kind).reshape(height, -1)[:, :width]
    return rows.astype(np.float32) / np.float32(np.iinfo(kind).max)


def from_rgb(pixels: NDArray[Any], colour: Colour, format: str) -> av.VideoFrame:
    """Convert (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA to a frame of a YUV format, tagged.

    The levels are uint8 or uint16.
    """
    if pixels.ndim == 2:  # swscale is up to 4 levels off from grey to limited range, so use RGB
        pixels = np.dstack([pixels] * 3)
    layout = LAYOUTS[pixels.shape[2], pixels.itemsize]
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), layout)
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
