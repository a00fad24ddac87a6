"""PNG encoder that takes a third of Pillow's time for files of the same size.

Pillow tries five filters on each row, which costs half of its time and compresses badly where much
is transparent. Here each row is stored as its difference from the row above, at zlib's fastest
level. The files are as small as at Pillow's level 3, or up to 7 % larger (docs/log.md). zlib
releases the GIL, so photos are compressed in parallel.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from latefusion.images.levels import ROWS

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels -> PNG 1.2, 4.1.1
ADAPTIVE, UP = 0, 2  # the only filter method, and one of its filter types
LEVEL, WINDOW, MEMORY = 1, 15, 9  # zlib settings; the last two are the maximum
METRE = 1 / 0.0254  # in inches
PER_METRE = 1  # the unit of pHYs


def write_png(
    file: IO[bytes],
    pixels: NDArray[Any],
    icc: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    others: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Write (H, W), (H, W, 3) or (H, W, 4) uint8, or (H, W) uint16, as a PNG.

    `icc` is an ICC profile, `dpi` the dots per inch (across, down), `others` are further chunks
    before the pixels, each with its name.
    """
    height, width = pixels.shape[:2]
    colour = COLOUR_TYPES[pixels[0, 0].size]
    bits = 8 * pixels.itemsize
    file.write(SIGNATURE)
    _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, ADAPTIVE, 0))
    if icc:
        _chunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    if dpi:
        across, down = (round(dots * METRE) for dots in dpi)
        _chunk(file, b"pHYs", struct.pack(">IIB", across, down, PER_METRE))
    for name, data in others:
        _chunk(file, name, data)
    for data in _compressed(pixels):
        _chunk(file, b"IDAT", data)
    _chunk(file, b"IEND", b"")


def _chunk(file: IO[bytes], kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind)
    file.write(data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


def _compressed(pixels: NDArray[Any]) -> Iterator[bytes]:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW, MEMORY)
    above: NDArray[np.uint8] | int = 0
    for top in range(0, len(pixels), ROWS):
        rows = _bytes(pixels[top : top + ROWS])
        filtered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
        filtered[:, 0] = UP
        np.subtract(rows[0], above, out=filtered[0, 1:])
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
        above = rows[-1]
        if data := packer.compress(filtered.data):
            yield data
    yield packer.flush()


def _bytes(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """View rows of pixels as rows of bytes in big-endian order."""
    ordered = np.ascontiguousarray(rows, rows.dtype.newbyteorder(">"))
    return ordered.reshape(len(rows), -1).view(np.uint8)
