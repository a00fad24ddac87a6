"""Detection of a file's format from its first bytes, and errors for files that cannot be read."""

import re
import struct
from collections.abc import Container
from contextlib import suppress
from enum import Enum
from functools import cache
from importlib import import_module
from typing import IO, Any

from PIL import Image

from latefusion.errors import ImageError, SizeError, install_hint

# Photo formats only: Pillow passes EPS to Ghostscript, and reads formats that no camera writes.
# The order is that in which they are tried; HEIF is read by pillow-heif.
FORMATS = (
    *("JPEG", "MPO", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "TGA"),
    "HEIF",
)
PLUGINS = ("Jpeg", "Mpo", "Png", "WebP", "Avif", "Tiff", "Gif", "Bmp", "Ppm", "Jpeg2K", "Tga")


class Rare(str, Enum):
    """Formats that hardly anybody sends to a server; their decoders are not open to strangers."""

    BMP = "bmp"
    JPEG2000 = "jpeg2000"
    PPM = "ppm"
    TGA = "tga"


COMMON = frozenset(FORMATS).difference(Rare.__members__)

# Suffixes that mark the photos in a folder, by format: those that Pillow and pillow-heif register
# (but for .pfm, floating point), and .jif and .jfi, older names of JPEG.
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi"),
    "MPO": (".mpo",),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "AVIF": (".avif", ".avifs"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
    "HEIF": (".heic", ".heif", ".hif", ".heics", ".heifs"),
}
# Those of cameras' RAW files, which the extra `raw` reads.
RAW_SUFFIXES = frozenset(
    (
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc"),
        *(".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl"),
        *(".sr2", ".srf", ".srw", ".x3f"),
    )
)
# Those of pictures in formats that are not read.
UNREAD_SUFFIXES = frozenset(
    (
        *(".jxl", ".jxr", ".wdp", ".hdp", ".psd", ".psb", ".xcf", ".kra", ".svg", ".svgz", ".eps"),
        *(".exr", ".hdr", ".pfm", ".pam", ".qoi", ".pcx", ".sgi", ".rgb", ".ras", ".dds"),
    )
)

# Unsupported files: a pattern of their first bytes, their kind, and a cure.
UNSUPPORTED = (
    (rb"%PDF-", "a PDF document", "export the photo in it as PNG or TIFF"),
    (rb"\s*<(!doctype html|html)", "a web page", "download the photo itself"),
    (rb"\s*(<\?xml.*)?<svg", "an SVG drawing", "export it as PNG"),
    (rb"8BP[SB]", "a Photoshop document", "export it as PNG or TIFF"),
    (
        rb"\x1aE\xdf\xa3|.{4}ftyp(qt  |isom|iso\d|mp4|M4V|avc1|3gp|dash)|RIFF.{4}AVI ",
        "a clip",
        "`latefusion video` takes clips",
    ),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL photo", "convert it to PNG or TIFF"),
)
HEAD = 1024  # bytes needed to detect the format
RAW = rb"II\*\0.{4}CR|II[U\x55]\0|IIR[OS]|MMOR|FUJIFILMCCD|\0MRM|FOVb|.{4}ftypcrx"
TIFF = rb"II[*+]\0|MM\0[*+]"
# The first bytes of a photo, whatever its name; "BM" alone begins many a text.
PHOTO_HEAD = (
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF.{4}WEBP|GIF8[79]a|BM.{4}\0{4}|II\*\0|MM\0\*"
    rb"|\0\0\0\x0cjP  \r\n|\xff\x4f\xff\x51"
    rb"|.{4}ftyp(avif|avis|heic|heix|hevc|hevx|heim|heis|mif1|msf1)"
)
PHOTO = rb"\xff\xd8\xff|\x89PNG|RIFF.{4}WEBP|GIF8|BM|.{4}ftyp|\0\0\0\x0cjP  |P[1-6]\s"

# TIFF tags of a RAW photo: NewSubfileType, of its thumbnail, PhotometricInterpretation, DNGVersion.
SUBFILE, PHOTOMETRIC, DNG = 254, 262, 50706
SENSOR = (32803, 34892)  # photometric: behind a colour filter, or linear


class DamagedError(ImageError):
    """A file that no decoder recognises, or reads to its end; a mended copy may be read."""


def formats_of(head: bytes, name: str, allowed: Container[str] = FORMATS) -> tuple[str, ...]:
    """Return the formats, as Pillow names them, that a file beginning with `head` may have.

    Raises ImageError for an empty file, and for an unsupported format or one that is not allowed.
    """
    if not head:
        raise ImageError(f"{name} is empty; get a whole copy of it")
    for start, kind, cure in UNSUPPORTED:
        if re.match(start, head, re.DOTALL | re.IGNORECASE):
            raise ImageError(f"{name} is {kind}; {cure}")
    known = _heif(name) if _is_heif(head) else _available()
    for each in known:
        if each not in allowed and _begins(each, head):
            raise ImageError(f"{name} is a {each}, which is not taken here; send a JPEG or PNG")
    return tuple(each for each in known if each in allowed)


def _begins(format: str, head: bytes) -> bool:
    """True if Pillow knows a file of the format by its first bytes; TGA has no such bytes."""
    accepts = Image.OPEN[format][1]
    return accepts is not None and accepts(head[:16]) is True


def begins_like_photo(head: bytes) -> bool:
    """True for the first bytes of a photo, for files whose name does not say it."""
    return re.match(PHOTO_HEAD, head, re.DOTALL) is not None


def unidentified(head: bytes, name: str) -> ImageError:
    """Return the error for a file that no decoder recognises, given its first bytes."""
    if re.match(TIFF, head):
        return DamagedError(
            f"{name} is a TIFF that is damaged or of a rare kind, such as floating point; save it"
            " as RGB with 8 or 16 bits"
        )
    if b"avif" in _brands(head) and "AVIF" not in Image.OPEN:
        return ImageError(f"{name} is AVIF, which needs Pillow 11.3; pip install -U Pillow")
    if re.match(PHOTO, head, re.DOTALL):
        return damaged(name, "its header is invalid")
    return ImageError(
        f"{name} is not an image, or has an unknown format; use JPEG, PNG, WebP, TIFF, AVIF or HEIC"
    )


def _brands(head: bytes) -> list[bytes]:
    """Return the brands of an ISO media file (HEIF, AVIF): the major and the compatible ones."""
    if head[4:8] != b"ftyp":
        return []
    box = head[8 : max(12, int.from_bytes(head[:4], "big"))]
    return [box[start : start + 4] for start in range(0, len(box), 4)]


def _is_heif(head: bytes) -> bool:
    brands = _brands(head)
    heif = any(brand[:3] in (b"hei", b"hev") or brand in (b"mif1", b"msf1") for brand in brands)
    return heif and b"avif" not in brands


@cache
def _available() -> tuple[str, ...]:
    for plugin in PLUGINS:  # loading the plugins of all formats would take twice as long
        with suppress(ModuleNotFoundError):  # AVIF needs Pillow 11.3
            import_module(f"PIL.{plugin}ImagePlugin")
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _heif(name: str) -> tuple[str, ...]:
    try:
        from pillow_heif import register_heif_opener
    except ModuleNotFoundError:
        raise ImageError(
            f"{name} is a HEIC photo, which needs an extra; {install_hint('heic')}"
        ) from None
    register_heif_opener()
    return ("HEIF",)


def is_raw(head: bytes) -> bool:
    """True for the first bytes of a camera's RAW file; some kinds begin as TIFF does."""
    return re.match(RAW, head, re.DOTALL) is not None


def begins_with_thumbnail(encoded: Image.Image) -> bool:
    """True for a TIFF whose first picture is a thumbnail, as in a camera's RAW file."""
    tags: Any = getattr(encoded, "tag_v2", {}) if encoded.format == "TIFF" else {}
    return DNG in tags or bool(tags.get(SUBFILE, 0) & 1)


def is_sensor(file: IO[bytes], head: bytes) -> bool:
    """True for a TIFF whose first picture is a sensor's, which Pillow does not identify."""
    if not re.match(TIFF, head):
        return False
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    with suppress(OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error):
        tags: Any = ImageFileDirectory_v2(head[: 16 if 43 in head[2:4] else 8])
        file.seek(tags.next)
        tags.load(file)
        return DNG in tags or tags.get(PHOTOMETRIC) in SENSOR
    return False


def refused_raw(name: str, thumbnail: bool, cure: str) -> ImageError:
    """Return the error for a RAW file that is not developed here; `cure` is an alternative."""
    kind = "begins with a thumbnail, as" if thumbnail else "is"
    return ImageError(f"{name} {kind} a camera's RAW file; develop it to TIFF or JPEG{cure}")


def damaged(name: str, reason: str) -> DamagedError:
    """Return the error for a file that a decoder cannot read to its end."""
    return DamagedError(f"{name} is damaged or cut short ({reason}); get a whole copy of it")


def too_large(name: str, width: int, height: int, most_pixels: int) -> SizeError:
    """Return the error for a photo of more than `most_pixels` pixels."""
    return SizeError(
        f"{name} has {width} x {height} pixels, more than the {most_pixels / 1e6:g} million"
        " allowed; make it smaller"
    )
