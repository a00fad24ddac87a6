"""Writing of pictures to image files, complete or not at all."""

import errno
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
from latefusion.images.locks import held, remove_unlocked
from latefusion.images.metadata import (
    NOTHING,
    Metadata,
    jpeg_segments,
    png_chunks,
    webp_options,
    with_tags,
)
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
    """Capabilities of a file format, and the options that Pillow writes it with."""

    alpha: bool
    deep: bool  # 16 bits
    side: int  # longest side in pixels
    options: dict[str, Any]
    lossy: dict[str, Any] | None = None  # the options that a quality comes with


PART = ".latefusion-"  # prefix of the names of incomplete files
UNSYNCED = (
    errno.EINVAL,
    errno.ENOTSUP,
    errno.EACCES,
)  # folders of some file systems, or unreadable

FORMATS = {
    "PNG": Format(True, True, 2**31 - 1, {}),  # written by png.py, not by Pillow
    # exact keeps the colours of transparent pixels.
    "WEBP": Format(
        True,
        False,
        16383,
        {"lossless": True, "exact": True, "method": 1, "quality": 40},
        lossy={"lossless": False, "exact": True, "method": 4},
    ),
    # LZW with horizontal differencing (tag 317): photo editors use it, and all programs read it.
    "TIFF": Format(True, True, 2**31 - 1, {"compression": "tiff_lzw", "tiffinfo": {317: 2}}),
    "JPEG": Format(
        False, False, 65500, {"quality": 95, "subsampling": 0}, lossy={"subsampling": 0}
    ),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels with what to store beside them in their file."""

    pixels: Pixels  # (H, W), (H, W, 3) RGB or (H, W, 4) straight RGBA uint8, or (H, W) uint16
    icc: bytes | None = None  # the RGB colour profile; ignored for (H, W)
    dpi: tuple[float, float] | None = None  # across, down
    about: Metadata = NOTHING  # EXIF, IPTC and XMP
    quality: int | None = None  # from 1 to 100, in JPEG and WebP only


def write_picture(
    target: str | Path | IO[bytes],
    picture: Picture,
    format: str | None = None,
    name: str = "stdout",
) -> None:
    """Write a picture to a path or a binary stream such as stdout, complete or not at all.

    `format` is one of FORMATS; None chooses it by the path's suffix. PNG, TIFF and, without a
    quality, WebP are lossless; JPEG has quality 95, or the picture's, and full colour resolution.
    `name` stands for a stream in error messages.

    Raises OutputError for a format that cannot store the picture, or a target that cannot be
    written.
    """
    if isinstance(target, str | Path):
        path = Path(target)
        format = _checked(picture.pixels, format or format_of(path), shown(path))
        with whole_file(path) as file:
            _encode(file, picture, format, shown(path))
        return
    format = _checked(picture.pixels, format, name)
    # Encoded in memory first: the stream may be a pipe, and the TIFF encoder seeks.
    encoded = io.BytesIO()
    _encode(encoded, picture, format, name)
    try:
        target.write(encoded.getbuffer())
        target.flush()
    except OSError as error:
        raise _cannot(name, error) from None


def format_of(path: Path) -> str:
    """Return the format of a path's suffix, one of FORMATS. Raises OutputError."""
    format = FORMATS_OUT.get(path.suffix.lower())
    if format is None:
        raise OutputError(
            f"{shown(path)} has no suffix of a supported format; choose {', '.join(FORMATS_OUT)}"
        )
    return format


def _checked(pixels: Pixels, format: str | None, name: str) -> str:
    """Return the format if it can store the pixels; raise OutputError if not."""
    if format is None or format not in FORMATS:
        raise OutputError(f"{name} needs a format; choose one of {', '.join(FORMATS)}")
    limits = FORMATS[format]
    if pixels.ndim == 3 and pixels.shape[2] == 4 and not limits.alpha:
        raise OutputError(
            f"{name}: {format} cannot store transparency; choose .png or .webp, or give a"
            " background"
        )
    if pixels.dtype == np.uint16 and not limits.deep:
        raise OutputError(f"{name}: {format} cannot store 16 bits; choose .png or .tif")
    if max(pixels.shape[:2]) > limits.side:
        raise OutputError(
            f"{name}: {format} is limited to {limits.side} pixels per side; choose .png or .tif"
        )
    return format


def _encode(file: IO[bytes], picture: Picture, format: str, name: str) -> None:
    icc, dpi, about = picture.icc, picture.dpi, picture.about
    if picture.pixels.ndim == 2:
        icc = None
    if format == "PNG":
        write_png(file, picture.pixels, icc, dpi, png_chunks(about, dpi))
        return
    options = dict(FORMATS[format].options)
    lossy = FORMATS[format].lossy
    if picture.quality is not None and lossy is not None:
        options = {**lossy, "quality": picture.quality}
    if icc:
        options["icc_profile"] = icc
    if format == "WEBP":
        options |= webp_options(about, dpi)
    elif dpi:
        options["dpi"] = dpi
    if format == "JPEG":
        options["extra"] = jpeg_segments(about, dpi, name)
    # Encoded in memory: libtiff writes to files itself and reports a full disk on stderr only.
    encoded = io.BytesIO()
    Image.fromarray(picture.pixels).save(encoded, format=format, **options)
    if format == "TIFF" and about != NOTHING:
        file.write(with_tags(encoded.getvalue(), about))
        return
    file.write(encoded.getbuffer())


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, which survive a power cut. Raises OutputError."""
    try:
        missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            sync_folder(made.parent)
    except (OSError, ValueError) as error:
        raise OutputError(f"the folder {shown(folder)} cannot be made: {reason(error)}") from None


def refuse_input(target: Path, given: Path, what: str) -> None:
    """Raise OutputError if `target` is the input file `given`; `what` names it in the message."""
    same = False
    with suppress(OSError, ValueError):  # one of the two does not exist
        same = target.samefile(given)
    if same:
        raise OutputError(f"{shown(target)} is the {what} itself; choose another name")


def remove_parts(folder: Path) -> None:
    """Remove the incomplete files of killed processes in a folder, but not those of live ones.

    Where a file system has no locks, they cannot be told apart, and all stay.
    """
    for part in folder.glob(f"{PART}*.part"):
        with suppress(OSError):
            remove_unlocked(part)


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """Provide an empty temporary file next to `path`, renamed to it when the block succeeds.

    Content and name are on the disk when it returns, so that a power cut leaves the whole file or
    what was there before. The temporary file is removed after any failure, including Ctrl-C.
    Raises OutputError.
    """
    part = path.with_name(f"{PART}{secrets.token_hex(8)}.part")
    try:
        with held(part):
            try:
                yield part
                _sync(part)
                part.replace(path)
                sync_folder(path.parent)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise _cannot(shown(path), error) from None


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that appears at `path` when the block succeeds, and not at all otherwise.

    Raises OutputError.
    """
    with whole_path(path) as part, part.open("wb") as file:
        yield file


def sync_folder(folder: Path) -> None:
    """Make the system write the names in a folder to the disk, where it can. Raises OSError."""
    if os.name == "nt":  # which keeps names in order by itself
        return
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _cannot(name: str, error: OSError) -> OutputError:
    cure = "; create its folder first" if isinstance(error, FileNotFoundError) else ""
    return OutputError(f"{name} cannot be written: {reason(error)}{cure}")
