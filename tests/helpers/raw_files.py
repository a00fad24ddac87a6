"""A camera's RAW file, made by hand: an uncompressed DNG."""

import struct

import numpy as np
from numpy.typing import NDArray

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 10: 8}  # bytes of TIFF's types
BYTE, ASCII, SHORT, LONG, SIGNED = 1, 2, 3, 4, 10
OFFSET = 273  # StripOffsets
FROM_XYZ = (3.2405, -1.5371, -0.4985, -0.9693, 1.8760, 0.0416, 0.0556, -0.2040, 1.0572)  # sRGB


def dng(image: NDArray[np.uint16], orientation: int = 1) -> bytes:
    """A DNG of linear levels (H, W, 3) behind a pattern of red, green, green and blue."""
    mosaic = image[:, :, 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = image[::2, ::2, 0], image[1::2, 1::2, 2]
    height, width = mosaic.shape
    strip = mosaic.astype("<u2").tobytes()
    tags = [
        (254, LONG, _longs(0)),
        (256, LONG, _longs(width)),
        (257, LONG, _longs(height)),
        (258, SHORT, _shorts(16)),
        (259, SHORT, _shorts(1)),  # uncompressed
        (262, SHORT, _shorts(32803)),  # behind a colour filter
        (271, ASCII, b"Toy\0"),
        (272, ASCII, b"Camera\0"),
        (OFFSET, LONG, b""),
        (274, SHORT, _shorts(orientation)),
        (277, SHORT, _shorts(1)),
        (278, LONG, _longs(height)),
        (279, LONG, _longs(len(strip))),
        (33421, SHORT, _shorts(2, 2)),
        (33422, BYTE, bytes([0, 1, 1, 2])),
        (50706, BYTE, bytes([1, 4, 0, 0])),  # DNGVersion
        (50714, LONG, _longs(0)),  # black
        (50717, LONG, _longs(65535)),  # white
        (50721, SIGNED, b"".join(struct.pack("<ii", round(x * 10000), 10000) for x in FROM_XYZ)),
        (50778, SHORT, _shorts(21)),  # D65
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    offset = start + sum(len(value) for _, _, value in tags if len(value) > 4)
    entries, values = b"", b""
    for tag, kind, given in tags:
        value = _longs(offset) if tag == OFFSET else given
        count = len(value) // SIZES[kind]
        if len(value) > 4:
            entries += struct.pack("<HHII", tag, kind, count, start + len(values))
            values += value
        else:
            entries += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    head = b"II*\0" + _longs(8) + _shorts(len(tags))
    return head + entries + bytes(4) + values + strip


def _longs(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def _shorts(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}H", *numbers)
