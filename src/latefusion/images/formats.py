"""Detection of a file's format from its first bytes, and errors for files that cannot be read."""

import re
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

from PIL import Image

from latefusion.errors import ImageError, install_hint

# Photo formats only: Pillow passes EPS to Ghostscript, and reads formats that no camera writes.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "TGA")
PLUGINS = ("Jpeg", "Mpo", "Png", "WebP", "Avif", "Tiff", "Gif", "Bmp", "Ppm", "Jpeg2K", "Tga")

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
    (
        rb"II\*\0.{4}CR|II[U\x55]\0|IIR[OS]|MMOR|FUJIFILMCCD|\0MRM|FOVb|.{4}ftypcrx",
        "a camera's RAW file",
        "develop it to TIFF or JPEG",
    ),
)
HEAD = 1024  # bytes needed to detect the format
TIFF = rb"II[*+]\0|MM\0[*+]"
PHOTO = rb"\xff\xd8\xff|\x89PNG|RIFF.{4}WEBP|GIF8|BM|.{4}ftyp|\0\0\0\x0cjP  |P[1-6]\s"

# TIFF tags of the thumbnail in a RAW photo: NewSubfileType and DNGVersion.
SUBFILE, DNG = 254, 50706


def formats_of(head: bytes, name: str) -> tuple[str, ...]:
    """Return the formats, as Pillow names them, that a file beginning with `head` may have.

    Raises ImageError for an empty file or an unsupported format.
    """
    if not head:
        raise ImageError(f"{name} is empty; get a whole copy of it")
    for start, kind, cure in UNSUPPORTED:
        if re.match(start, head, re.DOTALL | re.IGNORECASE):
            raise ImageError(f"{name} is {kind}; {cure}")
    return _heif(name) if _is_heif(head) else _available()


def unidentified(head: bytes, name: str) -> ImageError:
    """Return the error for a file that no decoder recognises, given its first bytes."""
    if re.match(TIFF, head):
        return ImageError(
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


def refuse_thumbnail(encoded: Image.Image, name: str) -> None:
    """Raise ImageError for a camera's RAW photo: a TIFF whose first picture is a thumbnail."""
    tags: Any = getattr(encoded, "tag_v2", {}) if encoded.format == "TIFF" else {}
    if DNG in tags or tags.get(SUBFILE, 0) & 1:
        raise ImageError(
            f"{name} begins with a thumbnail, as a camera's RAW file; develop it to TIFF or JPEG"
        )


def damaged(name: str, reason: str) -> ImageError:
    """Return the error for a file that a decoder cannot read to its end."""
    return ImageError(f"{name} is damaged or cut short ({reason}); get a whole copy of it")
