"""Development of cameras' RAW files by LibRaw, if the extra `raw` is installed."""

from functools import cache
from importlib.util import find_spec
from typing import IO, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from latefusion.errors import install_hint, reason
from latefusion.images.formats import RAW_SUFFIXES, SUFFIXES, damaged, refused_raw, too_large


@cache
def has_rawpy() -> bool:
    """True if the extra `raw` is installed."""
    return find_spec("rawpy") is not None


@cache
def photo_suffixes() -> frozenset[str]:
    """Suffixes that mark the photos in a folder, those of RAW files with the extra `raw` too."""
    photos = frozenset(suffix for known in SUFFIXES.values() for suffix in known)
    return photos | RAW_SUFFIXES if has_rawpy() else photos


def develop(
    file: IO[bytes], name: str, most_pixels: int, thumbnail: bool = False
) -> NDArray[np.uint8]:
    """Develop a RAW file to upright sRGB pixels, (H, W, 3), with the camera's white balance.

    `thumbnail` says that it was known by that. Raises ImageError, also without the extra, and
    SizeError for more than `most_pixels` pixels, before decoding any.
    """
    if not has_rawpy():
        raise refused_raw(name, thumbnail, f", or {install_hint('raw')}")
    import rawpy

    file.seek(0)
    try:
        with rawpy.imread(cast(BinaryIO, file)) as raw:
            height, width = raw.sizes.height, raw.sizes.width
            if width * height > most_pixels:
                raise too_large(name, width, height, most_pixels)
            developed: NDArray[np.uint8] = raw.postprocess(use_camera_wb=True, output_bps=8)
    except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawDataError):
        raise refused_raw(name, thumbnail, "; LibRaw cannot read it") from None
    except rawpy.LibRawError as error:
        raise damaged(name, _text(error)) from None
    return developed


def _text(error: Exception) -> str:
    """LibRaw's message, which rawpy gives as bytes."""
    text = error.args[0] if error.args else ""
    return text.decode(errors="replace") if isinstance(text, bytes) else reason(error)
