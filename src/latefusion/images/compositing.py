"""Backgrounds for a cut-out: a colour, an image, or the photo's own background, blurred."""

from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from latefusion.errors import ImageError
from latefusion.images.framing import Size, cover, resize
from latefusion.images.levels import ROWS
from latefusion.images.reading import ImageSource, Photo, read_photo
from latefusion.images.spaces import convert, light_of

Background: TypeAlias = ImageSource | Photo | tuple[int, int, int]
RGB: TypeAlias = NDArray[np.uint8]  # (H, W, 3)

BLUR = "blur"
BLUR_SHARE = 0.02  # default radius, as a share of the longer side
FINE = 6  # pixels; a larger radius is applied at reduced size
# Longer side at which the subject's area is filled in, blurred by an eighth of it.
COARSE_SIDE = 300


def read_background(background: Background, size: Size, icc: bytes | None = None) -> RGB:
    """Return a background as RGB: (H, W, 3), scaled and cropped to `size`, or (1, 1, 3) if plain.

    `background` is a colour name or `#rrggbb`, an (r, g, b) tuple of levels from 0 to 255, or an
    image as a Photo, a path, bytes, a PIL image or a uint8 array. A string that is both a colour
    and a file name is a colour. Colours and arrays are sRGB, images have their profile; the result
    is in the space of the profile `icc`, or in sRGB.

    Raises ImageError.
    """
    if isinstance(background, Photo):
        return _fitted(background, size, icc)
    if isinstance(background, tuple):
        return convert(_colour(background), None, icc)
    if isinstance(background, str):
        colour = _named(background)
        if colour is not None:
            return convert(colour, None, icc)
        return _fitted(_read(background), size, icc)
    return _fitted(read_photo(background), size, icc)


def _fitted(photo: Photo, size: Size, icc: bytes | None) -> RGB:
    return convert(cover(photo.image, size), photo.icc, icc)


def as_background(text: str) -> Background:
    """Parse a background option: a colour, a blur, or an image, which is read here, once.

    Raises ImageError.
    """
    if needs_no_file(text):
        return text
    return _read(text)


def _read(name: str) -> Photo:
    if not Path(name).exists():
        raise ImageError(f"{name!r} is neither a colour nor a file; use e.g. white or #1e90ff")
    return read_photo(name)


def needs_no_file(text: str) -> bool:
    """Return whether `text` names a colour or a blur rather than a file. Raises ImageError."""
    return parse_blur(text) is not None or _named(text) is not None


def parse_blur(background: object) -> float | None:
    """Return the radius in pixels of `blur` (0, the default one) or `blur:RADIUS`.

    Returns None for a background of another kind. Raises ImageError for a malformed radius.
    """
    if not isinstance(background, str) or background.partition(":")[0] != BLUR:
        return None
    _, colon, radius = background.partition(":")
    try:
        pixels = float(radius) if colon else 0.0
    except ValueError:
        pixels = -1.0
    if not 0 <= pixels < 1e5 or (colon and not pixels):
        raise ImageError(
            f"{background!r} is not a blur; use blur, or e.g. blur:20 for a radius in pixels"
        )
    return pixels


def blurred(image: RGB, alpha: NDArray[np.float32], radius: float) -> RGB:
    """Blur the background of a photo (H, W, 3), without a halo of the subject's colours.

    A normalised Gaussian blur: each pixel is weighted by (1 - alpha)^2, and the area hidden by the
    subject is filled from its surroundings. `radius` is the standard deviation in pixels; 0 takes a
    fiftieth of the longer side. Returns (H, W, 3) uint8.
    """
    radius = radius or BLUR_SHARE * max(alpha.shape)
    shrink = min(1.0, FINE / radius)
    height, width = (max(1, round(length * shrink)) for length in alpha.shape)
    small = resize(image, (height, width)).astype(np.float32)
    behind = np.clip(1 - resize(alpha, (height, width)), 0, 1)[:, :, None] ** 2
    near, far = _spread(small, behind, radius * shrink), _filling(small, behind + 1e-4)
    mixed = (near[0] + 1e-3 * far[0] / far[1]) / (near[1] + 1e-3)
    levels = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(levels, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR))


def _filling(
    image: NDArray[np.float32], weight: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fill the area hidden by the subject from its wider surroundings; colours and their weight.

    Computed at reduced size: at full size it would take minutes.
    """
    height, width = weight.shape[:2]
    shrink = min(1.0, COARSE_SIDE / max(height, width))
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    image, weight = resize(image, size), resize(weight, size).reshape(*size, 1)
    both = np.dstack(_spread(image, weight, max(size) / 8))
    both = np.asarray(cv2.resize(both, (width, height), interpolation=cv2.INTER_LINEAR))
    return both[:, :, :3], both[:, :, 3:]


def _spread(
    image: NDArray[np.float32], weight: NDArray[np.float32], sigma: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Blur weighted colours (H, W, 3) and their weight (H, W, 1)."""
    both = cv2.GaussianBlur(
        np.dstack([image * weight, weight]), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE
    )
    blurred_both = np.asarray(both, np.float32)
    return blurred_both[:, :, :3], blurred_both[:, :, 3:]


def compose(
    colour: RGB,
    alpha: NDArray[np.float32],
    behind: RGB,
    *,
    linear: bool = False,
    icc: bytes | None = None,
) -> RGB:
    """Compute alpha * colour + (1 - alpha) * behind in place, in `colour` (H, W, 3), and return it.

    `alpha` is (H, W) in [0, 1], `behind` (H, W, 3) or (1, 1, 3). With `linear` the colours are
    mixed in linear light, as a lens does: by the curves of the profile `icc` of both pictures, or
    by those of sRGB where it is None or has tables in place of curves. By default the encoded
    levels are mixed, as in most programs.
    """
    light = light_of(icc) if linear else None
    for top in range(0, colour.shape[0], ROWS):
        strip = slice(top, top + ROWS)
        part = alpha[strip, :, None]
        below = behind[strip] if behind.shape[0] > 1 else behind
        if light:
            mixed = part * light.decode(colour[strip]) + (1 - part) * light.decode(below)
            mixed = light.encode(mixed)
        else:
            mixed = part * colour[strip] + (1 - part) * below
        colour[strip] = np.rint(mixed)
    return colour


def _named(text: str) -> RGB | None:
    try:
        return _colour(ImageColor.getrgb(text))
    except ValueError:
        return None


def _colour(colour: tuple[int, ...]) -> RGB:
    if len(colour) != 3 or not all(0 <= level <= 255 for level in colour):
        raise ImageError(f"{colour} is not a colour; use (r, g, b) with levels from 0 to 255")
    return np.array(colour, np.uint8).reshape(1, 1, 3)
