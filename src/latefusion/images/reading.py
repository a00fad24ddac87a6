"""Reading of photos: upright RGB pixels with their opacity, colour profile and resolution."""

import io
import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Container, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from latefusion.errors import ImageError, reason, shown
from latefusion.images.bounds import bounded
from latefusion.images.colours import to_rgb
from latefusion.images.formats import (
    FORMATS,
    HEAD,
    SUFFIXES,
    DamagedError,
    begins_with_thumbnail,
    damaged,
    formats_of,
    is_raw,
    is_sensor,
    refused_raw,
    too_large,
    unidentified,
)
from latefusion.images.levels import ROWS
from latefusion.images.mending import mended
from latefusion.images.metadata import NOTHING, Metadata, read_metadata, tiff_tags
from latefusion.images.raw import develop

ImageSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | Image.Image | NDArray[np.uint8]
)
Dpi: TypeAlias = tuple[float, float]  # across, down

# A photo of 12,000 x 9,000 has 108 million pixels. A file above this limit is more likely a
# decompression bomb, and its cut-out (15 bytes per pixel) would exceed an ordinary computer's
# memory.
MAX_PIXELS = 250_000_000

# Suffixes that mark the photos in a folder.
PHOTO_SUFFIXES = frozenset(suffix for known in SUFFIXES.values() for suffix in known)

# Pillow warns above about 89 million pixels and refuses above twice that. Both limits are global,
# so they are lifted only for photos near or above the first one.
NEAR_PILLOWS_LIMIT = 80_000_000

# Exceptions of Pillow on damaged files; Warning is for callers who turn warnings into errors.
DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError),
    *(RuntimeError, ArithmeticError, AssertionError, MemoryError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Warning),
)

# EXIF orientation -> transposition to upright (EXIF 2.3, tag 0x0112).
ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)
INCHES = {2: 1.0, 3: 2.54}  # EXIF resolution unit -> units per inch
LARGEST_DPI = 65535  # the maximum of JPEG

_limit_lock = threading.Lock()
_lifted: list[int | None] = []  # Pillow's limit, once for each thread that works without it

# Threads may share a PIL image that is not loaded, and Pillow then reads its file for all at once.
# An image always has the same of these locks.
_image_locks = [threading.Lock() for _ in range(64)]


class Photo(NamedTuple):
    """A decoded photo, upright."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    opacity: NDArray[np.float32] | None  # (H, W), the photo's own alpha; None if it is opaque
    icc: bytes | None  # the RGB colour profile of the pixels; None stands for sRGB
    dpi: Dpi | None = None  # of the upright photo
    about: Metadata = NOTHING  # EXIF, IPTC and XMP


class Wish(NamedTuple):
    """The options of `read_photo`."""

    mask: bool
    most_pixels: int
    raw: bool
    formats: Container[str]


def read_photo(
    source: ImageSource,
    *,
    mask: bool = False,
    most_pixels: int = MAX_PIXELS,
    name: str = "the given photo",
    raw: bool = True,
    formats: Container[str] = FORMATS,
) -> Photo:
    """Decode a path, encoded bytes, a PIL image or a uint8 array (H, W), (H, W, 3) or (H, W, 4).

    The EXIF orientation is applied. Grey, CMYK and LAB are converted to RGB, by their profile if
    there is one. 16 bits are reduced to 8, and only the first frame of an animation is read. With
    `mask` the profile is ignored, because the levels are not colours. `name` stands for encoded
    bytes in error messages. `raw` develops cameras' RAW files, with the extra of that name.
    `formats` are the formats to read, as Pillow names them.

    Raises ImageError, and SizeError for more than `most_pixels` pixels, before decoding any.
    """
    wish = Wish(mask, most_pixels, raw, formats)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        with _image_locks[id(source) // 64 % len(_image_locks)]:
            return _decode(source, "the given PIL image", wish)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_stream(io.BytesIO(source), name, wish)
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source), wish)
    raise ImageError(
        f"{type(source).__name__} is not an image; give a path, bytes, a PIL image or a uint8 array"
    )


def _from_path(path: Path, wish: Wish) -> Photo:
    name = shown(path)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # reading a pipe may block for ever
            raise ImageError(f"{name} is a pipe or a device; give a file, or pipe it into stdin")
        with path.open("rb") as file:
            return _from_stream(file, name, wish)
    except FileNotFoundError:
        if path.is_symlink():
            raise ImageError(f"{name} is a link to a missing file; check its target") from None
        raise ImageError(f"{name} does not exist; check the spelling") from None
    except IsADirectoryError:
        raise ImageError(f"{name} is a folder; name the photos in it, e.g. {name}/*.jpg") from None
    except PermissionError:
        raise ImageError(f"{name} cannot be read; change its permissions") from None
    except (OSError, ValueError) as error:  # a name too long, a null byte, a failing disk
        raise ImageError(f"{name} cannot be opened: {reason(error)}") from None


def _from_stream(file: IO[bytes], name: str, wish: Wish) -> Photo:
    try:
        return _opened(file, name, wish)
    except DamagedError as error:
        file.seek(0)
        photo = _without_damage(file.read(), name, wish)
        if photo is None:
            raise error from None
    warnings.warn(f"{name}: its metadata is damaged or too large; left out", stacklevel=2)
    return photo


def _without_damage(data: bytes, name: str, wish: Wish) -> Photo | None:
    """The photo in the first copy without damaged metadata that can be read; None if none can."""
    for copy in mended(data):
        with suppress(DamagedError):
            return _opened(io.BytesIO(copy), name, wish, warn=False)
    return None


def _opened(file: IO[bytes], name: str, wish: Wish, warn: bool = True) -> Photo:
    head = file.read(HEAD)
    file.seek(0)
    if is_raw(head):
        return _from_raw(file, name, wish, thumbnail=False)
    formats = formats_of(head, name, wish.formats)
    file = bounded(file, head, name)
    try:
        with _own_pixel_limit():
            encoded = Image.open(file, formats=formats)
    except UnidentifiedImageError:
        if is_sensor(file, head):
            return _from_raw(file, name, wish, thumbnail=False)
        raise unidentified(head, name) from None
    except DAMAGE as error:
        raise damaged(name, reason(error)) from None
    with encoded:
        if begins_with_thumbnail(encoded):
            return _from_raw(file, name, wish, thumbnail=True)
        return _decode(encoded, name, wish, warn)


def _from_raw(file: IO[bytes], name: str, wish: Wish, thumbnail: bool) -> Photo:
    if not wish.raw:
        raise refused_raw(name, thumbnail, "")
    return Photo(develop(file, name, wish.most_pixels, thumbnail), None, None)


def _decode(encoded: Image.Image, name: str, wish: Wish, warn: bool = True) -> Photo:
    width, height = encoded.size
    if width < 1 or height < 1:
        raise damaged(name, f"{width} x {height} pixels")
    if width * height > wish.most_pixels:
        raise too_large(name, width, height, wish.most_pixels)
    if begins_with_thumbnail(encoded):  # of a caller's own; the file's other pictures are not here
        raise refused_raw(name, True, "")
    faults: list[str] = []
    try:
        stored = _orientation(encoded)
        tiff = tiff_tags(encoded, faults)
        with _own_pixel_limit() if width * height > NEAR_PILLOWS_LIMIT else nullcontext():
            encoded.load()
        orientation = _orientation(encoded)  # again: the TIFF decoder applies and removes it
        rgb, icc = to_rgb(encoded, None if wish.mask else encoded.info.get("icc_profile"), name)
        upright = rgb.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else rgb
        dpi = _dpi(encoded)
        about = NOTHING if wish.mask else read_metadata(encoded, tiff, faults)
    except DAMAGE as error:
        raise damaged(name, reason(error)) from None
    if faults and warn and not wish.mask:
        what = " and ".join(dict.fromkeys(faults))
        warnings.warn(f"{name}: part of its {what} is damaged or too large; left out", stacklevel=2)
    if dpi and stored in SIDEWAYS:
        dpi = dpi[1], dpi[0]
    pixels = _pixels(upright)
    if pixels.shape[2] == 3:
        return Photo(pixels, None, icc, dpi, about)
    return _split_opacity(pixels, icc, dpi, about)


def _orientation(encoded: Image.Image) -> Any:
    with suppress(*DAMAGE):  # the EXIF data are damaged, but the pixels may be intact
        return encoded.getexif().get(ORIENTATION)
    return None


def _dpi(encoded: Image.Image) -> Dpi | None:
    """Return the dots per inch (across, down) of a file, or None if missing or implausible."""
    with suppress(*DAMAGE):
        across, down = encoded.info.get("dpi") or _exif_dpi(encoded)
        # Rounded, because PNG stores dots per metre and gives 300 dpi back as 299.9994.
        dpi = round(float(across), 2), round(float(down), 2)
        if all(1 < dots <= LARGEST_DPI for dots in dpi):  # 1 marks a TIFF without a resolution
            return dpi
    return None


def _exif_dpi(encoded: Image.Image) -> tuple[Any, Any]:
    exif = encoded.getexif()
    inch = INCHES[exif.get(RESOLUTION_UNIT, 2)]
    return exif[X_RESOLUTION] * inch, exif[Y_RESOLUTION] * inch


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Copy an image to (H, W, C) in strips; np.asarray would briefly take twice the memory."""
    width, height = image.size
    pixels = np.empty((height, width, len(image.getbands())), np.uint8)
    for top in range(0, height, ROWS):
        bottom = min(top + ROWS, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


def _from_array(pixels: NDArray[np.uint8]) -> Photo:
    if pixels.dtype != np.uint8:
        raise ImageError(
            f"the array has dtype {pixels.dtype}, not uint8; give levels from 0 to 255 as uint8"
        )
    if pixels.size == 0:
        raise ImageError(f"the array of shape {pixels.shape} is empty; give at least one pixel")
    if pixels.ndim == 2:
        return Photo(np.repeat(pixels[:, :, None], 3, axis=2), None, None)
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return Photo(np.ascontiguousarray(pixels), None, None)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return _split_opacity(pixels, None, None)
    raise ImageError(
        f"the array has the shape {pixels.shape}; use (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey"
    )


def _split_opacity(
    pixels: NDArray[np.uint8], icc: bytes | None, dpi: Dpi | None, about: Metadata = NOTHING
) -> Photo:
    opacity = pixels[:, :, 3].astype(np.float32) / np.float32(255)
    return Photo(np.ascontiguousarray(pixels[:, :, :3]), opacity, icc, dpi, about)


@contextmanager
def _own_pixel_limit() -> Iterator[None]:
    """Lift Pillow's global pixel limit, for several threads at a time; `_decode` checks our own."""
    with _limit_lock:
        _lifted.append(_lifted[0] if _lifted else Image.MAX_IMAGE_PIXELS)
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with _limit_lock:
            limit = _lifted.pop()
            if not _lifted:
                Image.MAX_IMAGE_PIXELS = limit
