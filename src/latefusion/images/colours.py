"""Conversion of any pixels that Pillow decodes to 8-bit RGB or RGBA.

RGB profiles are kept with the pixels. Grey, CMYK and LAB are converted to sRGB: a cut-out is RGB,
so their own profile would no longer apply.
"""

import io
from typing import Any

import numpy as np
from PIL import Image

from latefusion.errors import ImageError
from latefusion.images.levels import ROWS

# The colour space that a profile names at byte 16 (ICC.1:2022, 7.2.6), for Pillow's modes.
SPACES = {"1": b"GRAY", "L": b"GRAY", "LA": b"GRAY", "CMYK": b"CMYK", "LAB": b"Lab "}
HEADER = 128  # bytes
GREYS = ("1", "L", "LA")
BITS, PHOTOMETRIC = 258, 262  # TIFF tags: BitsPerSample, PhotometricInterpretation
WHITE_IS_ZERO = 0  # a value of PHOTOMETRIC


def to_rgb(encoded: Image.Image, profile: Any, name: str) -> tuple[Image.Image, bytes | None]:
    """Convert a decoded image to 8-bit RGB, or RGBA if it has transparency, with its profile.

    `profile` is the ICC profile as found in the file, possibly damaged, or None. The returned one
    is a valid RGB profile; None stands for sRGB. `name` is used in messages.

    Raises ImageError for pixels that do not fit into 8 or 16 bits, such as floating point.
    """
    space = profile_space(profile)
    if encoded.mode.startswith("I"):
        encoded = _eight_bit_grey(encoded)
    if encoded.mode in ("I", "F"):
        raise ImageError(f"{name} has {encoded.mode} pixels; save it as RGB with 8 or 16 bits")
    if encoded.mode == "LAB" or (space and SPACES.get(encoded.mode) == space):
        converted = _to_srgb(encoded, profile)
        if converted:
            return converted, None
    mode = "RGBA" if encoded.has_transparency_data else "RGB"
    rgb = encoded if encoded.mode == mode else encoded.convert(mode)
    applies = space == b"RGB " and encoded.mode not in ("CMYK", "LAB")
    return rgb, profile if applies else None


def profile_space(profile: Any) -> bytes | None:
    """Return the colour space of an ICC profile, such as b"RGB ", or None if it is not valid."""
    if not isinstance(profile, bytes) or len(profile) <= HEADER or profile[36:40] != b"acsp":
        return None
    return profile[16:20] if int.from_bytes(profile[:4], "big") <= len(profile) else None


def _eight_bit_grey(encoded: Image.Image) -> Image.Image:
    """Convert 16-bit grey to L or LA; return an image with levels outside 16 bits unchanged.

    Some decoders widen 16 bits to 32.
    """
    levels = np.asarray(encoded)
    tags: Any = getattr(encoded, "tag_v2", {})
    most = 4095 if tags.get(BITS) == (12,) else 65535
    if levels.min() < 0 or levels.max() > most:
        return encoded
    grey = np.empty(levels.shape, np.uint8)
    for top in range(0, levels.shape[0], ROWS):
        strip = slice(top, top + ROWS)
        grey[strip] = (levels[strip].astype(np.uint32) * 255 + most // 2) // most
    # Pillow inverts such pixels itself at 8 bits, but not at 16.
    if encoded.mode != "I" and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        np.subtract(255, grey, out=grey)
    eight_bit = Image.fromarray(grey)
    transparent = encoded.info.get("transparency")
    if transparent is not None:
        eight_bit.putalpha(Image.fromarray((levels != transparent) * np.uint8(255)))
    return eight_bit


def _to_srgb(encoded: Image.Image, profile: bytes | None) -> Image.Image | None:
    """Convert to sRGB: relative colorimetric with black point compensation, as photo editors do.

    Returns None for a damaged profile.
    """
    from PIL import ImageCms  # imported here because few photos need it

    base = encoded.convert("L") if encoded.mode in GREYS else encoded
    try:
        # LAB values are absolute, so an embedded profile adds nothing.
        source = ImageCms.createProfile("LAB") if encoded.mode == "LAB" else _open(profile)
        converted = ImageCms.profileToProfile(
            base,
            source,
            ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            "RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError:
        return None
    if converted and encoded.has_transparency_data:
        converted.putalpha(encoded.convert("RGBA").getchannel("A"))
    return converted


def _open(profile: bytes | None) -> Any:
    from PIL import ImageCms

    return ImageCms.getOpenProfile(io.BytesIO(profile or b""))
