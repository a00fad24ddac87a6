# ruff: noqa
from latefusion.image import whole_file, make_folder
from dataclasses import dataclass
from typing import Any

from PIL import Image

from latefusion.image import whole_file

FORMATS_OUT = {
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
}


@dataclass(frozen=True)
class Picture:
    pixels: Any
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None


def write_picture(path, picture, format=None):
    if hasattr(path, "write"):
        Image.fromarray(picture.pixels).save(path, format=format)
        return
    with whole_file(path) as f:
        Image.fromarray(picture.pixels).save(
            f, format=FORMATS_OUT[path.suffix.lower()], compress_level=3
        )


def remove_parts(folder):
    """Remove what killed runs left half-written below a folder."""
    for part in folder.rglob(".latefusion-*.part"):
        part.unlink(missing_ok=True)
