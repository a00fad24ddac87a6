"""From pixels to files, whole or not at all."""

import io
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latefusion.errors import OutputError
from latefusion.reading import ROWS, UNIT_TAG, X_RESOLUTION_TAG, Y_RESOLUTION_TAG, reason_of

FORMATS_OUT = {
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
}
PART = ".latefusion-"
INCH = 2  # of EXIF's resolution unit


@dataclass(frozen=True)
class Picture:
    """Pixels that are ready to be written, and what a file says of them."""

    pixels: NDArray[Any]  # (H, W), (H, W, 3) or straight (H, W, 4) uint8; (H, W) also uint16
    icc: bytes | None = None  # the RGB profile
    dpi: tuple[float, float] | None = None  # pixels an inch, across and down


def write_picture(target: Path | IO[bytes], picture: Picture, format: str | None = None) -> None:
    """Write a picture, whole or not at all, in the format of the path's suffix or the one given.

    One of FORMATS_OUT; to a stream the format has to be given. PNG, WebP and TIFF lose nothing.
    Raises OutputError.
    """
    name = str(target) if isinstance(target, Path) else "the output"
    if format is None and isinstance(target, Path):
        format = FORMATS_OUT.get(target.suffix.lower())
    if format is None or format not in FORMATS_OUT.values():
        raise OutputError(f"{name} has no known suffix; use one of {', '.join(FORMATS_OUT)}")
    _check(picture.pixels, format, name)
    if isinstance(target, Path):
        with whole_file(target) as file:
            _encode(file, picture, format)
        return
    try:  # a pipe cannot seek, which some formats want
        stream = io.BytesIO()
        _encode(stream, picture, format)
        target.write(stream.getbuffer())
        target.flush()
    except OSError as error:
        raise OutputError(f"{name} cannot be written: {reason_of(error)}") from None


def _check(pixels: NDArray[Any], format: str, name: str) -> None:
    if format == "JPEG" and pixels.ndim == 3 and pixels.shape[2] == 4:
        raise OutputError(
            f"{name} cannot be transparent as JPEG; use .png or .webp, or give a background"
        )
    if pixels.dtype == np.uint16 and format not in ("PNG", "TIFF"):
        raise OutputError(f"{name} cannot hold 16 bits as {format}; use .png or .tiff")


def _encode(file: IO[bytes], picture: Picture, format: str) -> None:
    image = Image.fromarray(picture.pixels)
    known = {"icc_profile": picture.icc, "dpi": picture.dpi, **OPTIONS[format]}
    if format == "WEBP" and picture.dpi:  # its only place for it
        known["exif"] = _resolution(picture.dpi)
    image.save(file, format=format, **{key: value for key, value in known.items() if value})


OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 3},
    # exact: the colours of transparent pixels near the subject stay, for a later resize.
    "WEBP": {"lossless": True, "exact": True, "quality": 30, "method": 1},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
}


def _resolution(dpi: tuple[float, float]) -> Image.Exif:
    exif = Image.Exif()
    exif[X_RESOLUTION_TAG], exif[Y_RESOLUTION_TAG], exif[UNIT_TAG] = *dpi, INCH
    return exif


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {folder} cannot be made: {error.strerror}") from None


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name when the block ends well, and not at all otherwise.

    The bytes go to a temporary file in the same folder, which is renamed at the end, or removed
    after any failure, Ctrl-C included. Raises OutputError.
    """
    part = path.with_name(f"{PART}{secrets.token_hex(8)}.part")
    try:
        try:
            with part.open("xb") as file:
                yield file
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {reason_of(error)}") from None


def remove_parts(folder: Path) -> None:
    """Remove what a killed run left half-written in a folder and below it."""
    for part in folder.rglob(f"{PART}*.part"):
        part.unlink(missing_ok=True)


def to_levels(plane: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A plane in [0, 1] as levels from 0 to 255."""
    levels = np.empty(plane.shape, np.uint8)
    for top in range(0, plane.shape[0], ROWS):  # in strips, to hold memory down
        strip = slice(top, top + ROWS)
        levels[strip] = np.rint(plane[strip] * np.float32(255))
    return levels
