"""Resizing and padding between a photo's size and the network's, in one place for inference."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.errors import LatefusionError

MULTIPLE = 32  # the encoder halves its input five times
HUGE = 100_000_000  # values of a photo; 400 MB as float32
LARGEST = 2048  # larger inputs have not been tested

Size = tuple[int, int]  # (H, W)


@dataclass(frozen=True)
class Letterbox:
    """Placement of a photo in the network's input: resized to `inner`, centred in `outer`."""

    photo: Size
    inner: Size
    outer: Size

    @property
    def scale(self) -> float:
        """Pixels of the network's input per pixel of the photo."""
        return max(self.inner) / max(self.photo)

    def fit(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Resize and pad a photo (H, W, 3) to the network's input (*outer, 3); edges are repeated.

        Levels are 0 to 255 and not rounded: builds of OpenCV round differently, and the network
        can turn a difference of one level into a larger one.
        """
        # A huge photo is resized channel by channel: slower, but with a third of the memory.
        parts = np.split(image, 3, axis=2) if image.size > HUGE else [image]
        resized = [resize(part.astype(np.float32), self.inner) for part in parts]
        levels = resized[0] if len(resized) == 1 else np.dstack(resized)
        np.clip(levels, 0, 255, out=levels)  # bicubic overshoots
        if self.inner == self.outer:
            return levels
        top, left = self._margin()
        bottom = self.outer[0] - self.inner[0] - top
        right = self.outer[1] - self.inner[1] - left
        return np.asarray(
            cv2.copyMakeBorder(levels, top, bottom, left, right, cv2.BORDER_REPLICATE), np.float32
        )

    def restore(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resize a plane of the network's output, (*outer) in [0, 1], to the photo's size."""
        return resize_plane(np.ascontiguousarray(self.inside(plane)), self.photo)

    def inside(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Crop a plane of the network's output to the photo; a view."""
        top, left = self._margin()
        return plane[top : top + self.inner[0], left : left + self.inner[1]]

    def _margin(self) -> Size:
        return (self.outer[0] - self.inner[0]) // 2, (self.outer[1] - self.inner[1]) // 2


class Box(NamedTuple):
    """A rectangle of a photo in pixels; `bottom` and `right` are exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def letterbox(photo: Size, side: int) -> Letterbox:
    """Fit a photo, its longer side resized to `side`, into the smallest input in multiples of 32.

    Proportions are kept: a photo of 600 x 800 (W x H) becomes 384 x 512 for a side of 512.
    """
    scale = side / max(photo)
    inner = max(1, round(photo[0] * scale)), max(1, round(photo[1] * scale))
    outer = _next_multiple(inner[0]), _next_multiple(inner[1])
    return Letterbox(photo, inner, outer)


def into(photo: Size, outer: Size) -> Letterbox:
    """Fit a photo into a network input of fixed size, as large as possible.

    Proportions are kept: a photo of 600 x 800 (W x H) covers 384 x 512 of an input of 512 x 512.
    """
    scale = min(outer[0] / photo[0], outer[1] / photo[1])
    height, width = (
        min(most, max(1, round(length * scale))) for most, length in zip(outer, photo, strict=True)
    )
    return Letterbox(photo, (height, width), outer)


def scales(seen: float, last: float = 1.0) -> list[float]:
    """Return the scales of the passes that follow a first one at scale `seen`, up to `last`.

    Scale 1 is the photo's own size. Each pass at most doubles the scale of the one before. There is
    one pass if `seen` already reaches `last`.
    """
    gain = max(1.0, last / seen)
    passes = max(1, math.ceil(math.log2(gain) - 1e-6))
    return [float(last * gain ** ((step + 1) / passes - 1)) for step in range(passes)]


def cuts(length: int, longest: int, shared: int) -> list[tuple[int, int]]:
    """Split a length into the fewest equal intervals (start, end) of at most `longest` pixels.

    Neighbouring intervals overlap by at least `shared` pixels.
    """
    count = max(1, math.ceil((length - shared) / (longest - shared)))
    side = min(length, math.ceil((length + (count - 1) * shared) / count))
    starts = (round(number * (length - side) / max(1, count - 1)) for number in range(count))
    return [(start, start + side) for start in starts]


def check_side(side: int) -> int:
    """Return `side` if it is a valid input size; raise LatefusionError with a valid one if not."""
    right = min(max(MULTIPLE, _next_multiple(side)), LARGEST)
    if side > LARGEST:
        raise LatefusionError(f"size {side} is too large; use {right} or less")
    if side != right:
        raise LatefusionError(f"size {side} is not a multiple of {MULTIPLE}; use {right}")
    return side


def cover(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize an image (h, w, 3) to fill `size`, proportions kept, cropped around its centre."""
    height, width = image.shape[:2]
    scale = max(size[0] / height, size[1] / width)
    crop_height = min(height, max(1, round(size[0] / scale)))
    crop_width = min(width, max(1, round(size[1] / scale)))
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    middle = image[top : top + crop_height, left : left + crop_width]
    return np.asarray(resize(np.ascontiguousarray(middle), size), np.uint8)


def _next_multiple(length: int) -> int:
    return -(-length // MULTIPLE) * MULTIPLE


def resize_plane(plane: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Resize a plane (h, w) in [0, 1], clipped because bicubic interpolation overshoots."""
    resized = np.asarray(resize(plane, size), np.float32)
    return np.clip(resized, 0, 1, out=resized)


def resize(pixels: NDArray[Any], size: Size) -> NDArray[Any]:
    """Resize (h, w) or (h, w, C), keeping the dtype: area averaging down, bicubic up."""
    shrinks = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized: NDArray[Any] = cv2.resize(pixels, size[::-1], interpolation=method)
    return resized
