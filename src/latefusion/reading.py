"""From a photo's file to its pixels: EXIF, bit depth, colour spaces and damage end here."""

import io
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from latefusion.errors import ImageError

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]

# A 12,000 x 9,000 photo is 108 million pixels. Above this limit a file is more likely a
# decompression bomb, and its cut-out (15 bytes a pixel) would not fit into an ordinary computer.
MAX_PIXELS = 250_000_000

# Photo formats only: Pillow would hand EPS to Ghostscript, and knows formats that no camera writes.
FORMATS = (
    *("JPEG", "MPO", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "TGA"),
    "HEIF",
)
PLUGINS = ("Jpeg", "Mpo", "Png", "WebP", "Avif", "Tiff", "Gif", "Bmp", "Ppm", "Jpeg2K", "Tga")

# What a folder is searched for.
PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".tif", ".tiff"),
    *(".gif", ".bmp", ".ppm", ".jp2", ".tga", ".heic", ".heif"),
)

# The brands of HEIC, at bytes 8 to 12 of a file (ISO/IEC 23008-12).
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# From about 89 million pixels on Pillow warns, from twice that on it refuses, and both limits are
# global. They are put aside only for photos near or above the first one.
NEAR_PILLOWS_LIMIT = 80_000_000

# What Pillow's decoders raise on damaged files.
DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError),
    *(RuntimeError, OverflowError, struct.error, zlib.error, Image.DecompressionBombError),
)

ROWS = 256  # full-size arithmetic goes in strips of so many

# Tags of EXIF 2.3: orientation, resolution and its unit (2: inch, 3: centimetre).
ORIENTATION_TAG, X_RESOLUTION_TAG, Y_RESOLUTION_TAG, UNIT_TAG = 0x0112, 0x011A, 0x011B, 0x0128
CENTIMETRES_PER_INCH = 2.54

# EXIF orientation -> what turns the stored pixels upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

SIDEWAYS = (5, 6, 7, 8)  # across and down change places

MOST_DPI = 100_000  # more is no resolution of a photo

_limit_lock = threading.Lock()


class Photo(NamedTuple):
    """A decoded photo, upright."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    opacity: NDArray[np.float32] | None  # (H, W), the photo's own alpha; None where all is opaque
    icc: bytes | None  # the RGB colour profile of the pixels; None stands for sRGB
    dpi: tuple[float, float] | None = None  # pixels an inch, across and down, as the file says


def read_photo(source: ImageSource, managed: bool = True) -> Photo:
    """Decode a path, encoded bytes, a PIL image or a uint8 array (H, W), (H, W, 3) or (H, W, 4).

    The EXIF orientation is applied, grey, CMYK and LAB become RGB, 16 bits become 8, and of an
    animation the first frame is taken. `managed` takes grey and CMYK through the colour profile
    that they may have; an alpha's levels have to stay as they are. Raises ImageError.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _decode(source, "the given PIL image", managed)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_stream(io.BytesIO(source), "the given bytes", managed)
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source), managed)
    raise ImageError(
        f"{type(source).__name__} is not an image; give a path, bytes, a PIL image or a uint8 array"
    )


def _from_path(path: Path, managed: bool) -> Photo:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ImageError(f"{path} is a pipe or a device; give a file, or - for stdin")
        with path.open("rb") as file:
            return _from_stream(file, str(path), managed)
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; check the spelling") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder; name the photos in it, e.g. {path}/*.jpg") from None
    except PermissionError:
        raise ImageError(f"{path} may not be read; change its permissions") from None
    except (OSError, ValueError) as error:  # a name too long, a null byte, a disk that fails
        raise ImageError(f"{path} cannot be opened: {reason_of(error)}") from None


def _from_stream(file: IO[bytes], name: str, managed: bool) -> Photo:
    _prepare_for_heic(file, name)
    try:
        with _own_pixel_limit():
            encoded = Image.open(file, formats=_available_formats())
    except UnidentifiedImageError:
        empty = not file.seek(0, os.SEEK_END)
        problem = "is empty" if empty else "is not an image, or not of a known format"
        raise ImageError(f"{name} {problem}; use JPEG, PNG, WebP, TIFF, GIF or BMP") from None
    except DAMAGE as error:
        raise _damaged(name, error) from None
    with encoded:
        return _decode(encoded, name, managed)


def _decode(encoded: Image.Image, name: str, managed: bool) -> Photo:
    width, height = encoded.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {width} x {height} pixels, more than the {MAX_PIXELS // 10**6} million"
            " latefusion accepts; make it smaller"
        )
    try:
        with _own_pixel_limit() if width * height > NEAR_PILLOWS_LIMIT else nullcontext():
            encoded.load()  # before reading the orientation: the TIFF decoder applies it by itself
        orientation = encoded.getexif().get(ORIENTATION_TAG)
        dpi = _dpi(encoded)
        icc = encoded.info.get("icc_profile") or None
        converted = _through_profile(encoded, icc) if managed else None
        eight_bit = converted or _to_eight_bit(encoded, name)
        opaque = "A" not in eight_bit.mode
        upright = eight_bit.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else eight_bit
    except DAMAGE as error:
        raise _damaged(name, error) from None
    if encoded.mode not in ("RGB", "RGBA", "P"):
        icc = None
    if dpi and orientation in SIDEWAYS:
        dpi = dpi[1], dpi[0]
    pixels = _pixels(upright)
    return Photo(pixels, None, icc, dpi) if opaque else _split_opacity(pixels, icc, dpi)


def _through_profile(encoded: Image.Image, icc: bytes | None) -> Image.Image | None:
    """CMYK, grey and LAB in sRGB, as their profile says; None for all else, or if it is no good."""
    if encoded.mode != "LAB" and not (icc and encoded.mode in ("CMYK", "L")):
        return None
    from PIL import ImageCms  # for such photos only

    with suppress(OSError, ImageCms.PyCMSError):  # no profile, or one of another colour space
        source: Any = io.BytesIO(icc) if icc else ImageCms.createProfile("LAB")
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(encoded, source, target, outputMode="RGB")
    return None


def _dpi(encoded: Image.Image) -> tuple[float, float] | None:
    """Pixels an inch, from the format's own field or from EXIF, if they can be."""
    found = encoded.info.get("dpi")
    if found is None:
        exif = encoded.getexif()
        per = CENTIMETRES_PER_INCH if exif.get(UNIT_TAG) == 3 else 1.0
        given = exif.get(X_RESOLUTION_TAG), exif.get(Y_RESOLUTION_TAG)
        found = [per * float(value) for value in given if value is not None]
    with suppress(TypeError, ValueError, ZeroDivisionError):
        across, down = (float(value) for value in found)
        if 1 <= across <= MOST_DPI and 1 <= down <= MOST_DPI:
            return across, down
    return None


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, C), filled in strips: Pillow's own way there takes twice the memory for a moment."""
    width, height = image.size
    pixels = np.empty((height, width, len(image.getbands())), np.uint8)
    for top in range(0, height, ROWS):
        bottom = min(top + ROWS, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


def _to_eight_bit(encoded: Image.Image, name: str) -> Image.Image:
    """Any Pillow mode as RGB, or as RGBA where the image says what is transparent."""
    if encoded.mode.startswith("I"):  # 16-bit grey, which some decoders widen to 32 bits
        levels = np.asarray(encoded).astype(np.int64)
        if levels.min() >= 0 and levels.max() <= 65535:
            return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB")
    if encoded.mode in ("I", "F"):
        raise ImageError(f"{name} has {encoded.mode} pixels; save it as RGB with 8 or 16 bits")
    mode = "RGBA" if encoded.has_transparency_data else "RGB"
    return encoded if encoded.mode == mode else encoded.convert(mode)


def _from_array(pixels: NDArray[np.uint8]) -> Photo:
    if pixels.dtype != np.uint8:
        raise ImageError(
            f"the array holds {pixels.dtype}, not uint8; give levels from 0 to 255 as uint8"
        )
    if pixels.size == 0:
        raise ImageError(f"the array of shape {pixels.shape} has no pixels")
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
    pixels: NDArray[np.uint8], icc: bytes | None, dpi: tuple[float, float] | None
) -> Photo:
    opacity = pixels[:, :, 3].astype(np.float32) / np.float32(255)
    return Photo(np.ascontiguousarray(pixels[:, :, :3]), opacity, icc, dpi)


def _prepare_for_heic(file: IO[bytes], name: str) -> None:
    """Teach Pillow HEIC at the first such file; ImageError where the package for it is missing."""
    head = file.read(12)
    file.seek(0)
    if head[4:8] != b"ftyp" or head[8:12] not in HEIC:
        return
    try:
        from pillow_heif import register_heif_opener
    except ModuleNotFoundError:
        raise ImageError(f"{name} is HEIC; pip install 'latefusion[heic]'") from None
    register_heif_opener()
    _available_formats.cache_clear()


def _damaged(name: str, error: BaseException) -> ImageError:
    return ImageError(
        f"{name} is damaged or cut short ({reason_of(error)}); get a whole copy of it"
    )


def reason_of(error: BaseException) -> str:
    """What an exception says, on one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


@cache
def _available_formats() -> tuple[str, ...]:
    for plugin in PLUGINS:  # those of all formats would take twice as long
        with suppress(ModuleNotFoundError):  # AVIF came in Pillow 11.3
            import_module(f"PIL.{plugin}ImagePlugin")
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _own_pixel_limit() -> Iterator[None]:
    """Pillow without its limits; only MAX_PIXELS counts, which `_decode` checks."""
    with _limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
