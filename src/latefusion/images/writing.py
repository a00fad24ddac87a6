"""The way out: pixels to image files, whole or not at all."""

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latefusion.errors import OutputError, reason, shown
from latefusion.images.png import write_png

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

FORMATS_OUT = {
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
}


class Format(NamedTuple):
    """What a file format can hold, and how Pillow is to write it."""

    alpha: bool
    deep: bool  # 16 bits
    side: int  # pixels at most
    options: dict[str, Any]


PART = ".latefusion-"  # begins the name of what is not whole yet

# Quicker than PNG and smaller; more effort is several times as slow, and a third smaller at best.
FAST_WEBP = {"method": 0, "quality": 0}

FORMATS = {
    "PNG": Format(True, True, 2**31 - 1, {}),  # not Pillow's: png.py
    # exact: the colours under transparent pixels survive.
    "WEBP": Format(
        True, False, 16383, {"lossless": True, "exact": True, "method": 1, "quality": 40}
    ),
    # LZW and differences of neighbours (tag 317), as photo editors write them and all can read.
    "TIFF": Format(True, True, 2**31 - 1, {"compression": "tiff_lzw", "tiffinfo": {317: 2}}),
    "JPEG": Format(False, False, 65500, {"quality": 95, "subsampling": 0}),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels and what goes into a file with them."""

    pixels: Pixels  # (H, W), (H, W, 3) RGB or (H, W, 4) straight RGBA uint8, or (H, W) uint16
    icc: bytes | None = None  # the RGB colour profile; a picture (H, W) goes without
    dpi: tuple[float, float] | None = None  # across, down


def write_picture(
    target: str | Path | IO[bytes],
    picture: Picture,
    format: str | None = None,
    name: str = "stdout",
) -> None:
    """Write a picture to a path, or to a binary stream such as stdout, whole or not at all.

    `format` is one of FORMATS; None takes the one that the path's suffix names. PNG, TIFF and WebP
    are lossless, JPEG has quality 95 and full colour resolution. `name` is that of a stream in
    what goes wrong. Raises OutputError.
    """
    if isinstance(target, str | Path):
        path = Path(target)
        format = _checked(picture.pixels, format or format_of(path), shown(path))
        with whole_file(path) as file:
            _encode(file, picture, format)
        return
    format = _checked(picture.pixels, format, name)
    # Not straight into the stream: it may be a pipe, and TIFF goes back in what it wrote.
    encoded = io.BytesIO()
    _encode(encoded, picture, format)
    try:
        target.write(encoded.getbuffer())
        target.flush()
    except OSError as error:
        raise _cannot(name, error) from None


def format_of(path: Path) -> str:
    """The format that the suffix of a path names, one of FORMATS. Raises OutputError."""
    format = FORMATS_OUT.get(path.suffix.lower())
    if format is None:
        raise OutputError(
            f"{shown(path)} names no format that is written; choose {', '.join(FORMATS_OUT)}"
        )
    return format


def _checked(pixels: Pixels, format: str | None, name: str) -> str:
    """The format, if it can hold the pixels. Raises OutputError."""
    if format is None or format not in FORMATS:
        raise OutputError(f"{name} needs a format; choose one of {', '.join(FORMATS)}")
    able = FORMATS[format]
    if pixels.ndim == 3 and pixels.shape[2] == 4 and not able.alpha:
        raise OutputError(
            f"{name}: {format} holds no transparency; choose .png or .webp, or give a background"
        )
    if pixels.dtype == np.uint16 and not able.deep:
        raise OutputError(f"{name}: {format} holds no 16 bits; choose .png or .tif")
    if max(pixels.shape[:2]) > able.side:
        raise OutputError(
            f"{name}: {format} ends at {able.side} pixels a side; choose .png or .tif"
        )
    return format


def _encode(file: IO[bytes], picture: Picture, format: str) -> None:
    icc = picture.icc if picture.pixels.ndim == 3 else None
    if format == "PNG":
        write_png(file, picture.pixels, icc, picture.dpi)
        return
    options = dict(FORMATS[format].options)
    if icc:
        options["icc_profile"] = icc
    if picture.dpi and format == "WEBP":
        options["exif"] = _exif(picture.dpi)
    elif picture.dpi:
        options["dpi"] = picture.dpi
    # libtiff writes to files by itself, and of a full disk it tells stderr.
    encoded = io.BytesIO()
    Image.fromarray(picture.pixels).save(encoded, format=format, **options)
    file.write(encoded.getbuffer())


def _exif(dpi: tuple[float, float]) -> bytes:
    exif = Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = (*dpi, 2)  # XResolution, YResolution, in inches
    return exif.tobytes()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"the folder {shown(folder)} cannot be made: {reason(error)}") from None


def refuse_input(target: Path, given: Path, what: str) -> None:
    """Refuse to write over a file that is read: `what` it is. Raises OutputError."""
    same = False
    with suppress(OSError, ValueError):  # one of them is not there
        same = target.samefile(given)
    if same:
        raise OutputError(f"{shown(target)} is the {what} itself; choose another name")


def remove_parts(folder: Path) -> None:
    """Remove what killed runs left half-written in a folder, but not what others are writing."""
    for part in folder.glob(f"{PART}*.part"):
        with suppress(OSError):
            if not _is_alive(part.name.removeprefix(PART).split("-")[0]):
                part.unlink()


def _is_alive(process: str) -> bool:
    if os.name == "nt" and process.isdecimal():
        return True  # it cannot be asked without a risk to it
    try:
        os.kill(int(process), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:  # another user's
        return True
    return True


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`; what is written there comes under its name.

    It is renamed when the block ends well, or removed after any failure, Ctrl-C included. Raises
    OutputError.
    """
    part = path.with_name(f"{PART}{os.getpid()}-{secrets.token_hex(8)}.part")
    try:
        try:
            yield part
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _cannot(shown(path), error) from None


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name when the block ends well, and not at all otherwise.

    Raises OutputError.
    """
    with whole_path(path) as part, part.open("xb") as file:
        yield file


def _cannot(name: str, error: OSError) -> OutputError:
    return OutputError(f"{name} cannot be written: {reason(error)}")
