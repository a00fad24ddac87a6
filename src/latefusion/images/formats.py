"""What a file is, by how it begins: a photo format that is read, or why it is none."""

import re
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

from PIL import Image

from latefusion.errors import ImageError

# Photo formats only: Pillow would hand EPS to Ghostscript, and knows formats that no camera writes.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "TGA")
PLUGINS = ("Jpeg", "Mpo", "Png", "WebP", "Avif", "Tiff", "Gif", "Bmp", "Ppm", "Jpeg2K", "Tga")

# How files begin that are no photos, or none that can be read: what they are, and the cure.
OTHERS = (
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
HEAD = 1024  # bytes that tell
TIFF = rb"II[*+]\0|MM\0[*+]"
PHOTO = rb"\xff\xd8\xff|\x89PNG|RIFF.{4}WEBP|GIF8|BM|.{4}ftyp|\0\0\0\x0cjP  |P[1-6]\s"

# TIFF tags of pictures that stand in for a RAW photo: NewSubfileType and DNGVersion.
SUBFILE, DNG = 254, 50706


def formats_of(head: bytes, name: str) -> tuple[str, ...]:
    """The formats, as Pillow names them, that a file beginning with `head` may have.

    Raises ImageError where it is surely none of them.
    """
    if not head:
        raise ImageError(f"{name} is empty; get a whole copy of it")
    for start, what, cure in OTHERS:
        if re.match(start, head, re.DOTALL | re.IGNORECASE):
            raise ImageError(f"{name} is {what}; {cure}")
    return _heif(name) if _is_heif(head) else _available()


def unidentified(head: bytes, name: str) -> ImageError:
    """What to say of a file that no decoder takes."""
    if re.match(TIFF, head):
        return ImageError(
            f"{name} is a TIFF that is damaged or of a rare kind, such as floating point; save it"
            " as RGB with 8 or 16 bits"
        )
    if b"avif" in _brands(head) and "AVIF" not in Image.OPEN:
        return ImageError(f"{name} is AVIF, which needs Pillow 11.3; pip install -U Pillow")
    if re.match(PHOTO, head, re.DOTALL):
        return damaged(name, "its header makes no sense")
    return ImageError(
        f"{name} is not an image, or not of a known format; use JPEG, PNG, WebP, TIFF, AVIF or HEIC"
    )


def _brands(head: bytes) -> list[bytes]:
    """What a file of the HEIF and AVIF family says it is: the major brand and those beside it."""
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
    for plugin in PLUGINS:  # those of all formats would take twice as long
        with suppress(ModuleNotFoundError):  # AVIF came in Pillow 11.3
            import_module(f"PIL.{plugin}ImagePlugin")
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _heif(name: str) -> tuple[str, ...]:
    try:
        from pillow_heif import register_heif_opener
    except ModuleNotFoundError:
        raise ImageError(
            f"{name} is a HEIC photo, which needs one more package; pip install 'latefusion[heic]'"
        ) from None
    register_heif_opener()
    return ("HEIF",)


def refuse_thumbnail(encoded: Image.Image, name: str) -> None:
    """RAW photos look like TIFF files, whose first picture is a small one in place of them."""
    tags: Any = getattr(encoded, "tag_v2", {}) if encoded.format == "TIFF" else {}
    if DNG in tags or tags.get(SUBFILE, 0) & 1:
        raise ImageError(
            f"{name} begins with a thumbnail, as a camera's RAW file; develop it to TIFF or JPEG"
        )


def damaged(name: str, reason: str) -> ImageError:
    """What to say of a file that a decoder does not get through."""
    return ImageError(f"{name} is damaged or cut short ({reason}); get a whole copy of it")
