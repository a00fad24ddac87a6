"""A copy of a damaged file without what no pixel needs, so that metadata never cost the pixels."""

import io
import re
import struct
import zlib
from collections.abc import Iterator

from latefusion.images.exif import ORDERS, PIXELS, only

# PNG (3rd edition, 5): what pixels need, and how much text Pillow takes.
PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHUNK = re.compile(rb"....(?:PLTE|tRNS|IDAT|IEND)", re.DOTALL)
MOST_TEXT, MOST_TEXTS = 1 << 20, 1 << 24  # bytes of a text, and of all
# For chunks whose content is compressed: the start of a stream of zlib.
COMPRESSED = {
    b"zTXt": rb"[^\x00]+\x00\x00",
    b"iCCP": rb"[^\x00]+\x00\x00",
    b"iTXt": rb"[^\x00]+\x00\x01\x00[^\x00]*\x00[^\x00]*\x00",
}

# JPEG (T.81, table B.1): tables and frames. Adobe's segment says how colours are stored.
JPEG_PIXELS = frozenset((*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, 0xDE, 0xDF))
START_OF_SCAN, ADOBE, JFIF, ABOUT, ICC = 0xDA, 0xEE, 0xE0, 0xE1, 0xE2
LEAST = {JFIF: 14, ADOBE: 12, ABOUT: 8, ICC: 14 + 2}  # bytes of a segment


# WebP (RFC 9649, 2.7): the chunks of pixels; those of metadata, and their flags in the first chunk.
WEBP_FIRST = b"VP8X"
WEBP_PIXELS = (WEBP_FIRST, b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
WEBP_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}

# AVIF (ISO 23008-12): the entry of an item of EXIF. One of an unknown type is passed over.
EXIF_ITEM = re.compile(rb"(infe.{8,10})Exif", re.DOTALL)
AVIF_HEAD = 1 << 16  # bytes in which it is looked for


# The start of a table, and of a frame: its marker, length, 8 bits, height and width.
TABLE = b"\xff\xdb\x00"
FRAME = re.compile(rb"\xff[\xc0-\xc2]\x00[\x0b\x11\x14]\x08(....)", re.DOTALL)


def mended(data: bytes) -> Iterator[bytes]:
    """Copies of a file, the first with all metadata that seem healthy, the last with none.

    No copies of a format in which metadata cost no pixels.
    """
    if data.startswith(PNG_SIGNATURE):
        yield _png(data, keep=True)
        yield _png(data, keep=False)
    elif data.startswith(b"\xff\xd8\xff"):
        yield _jpeg(data, keep=True)
        yield _jpeg(data, keep=False)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        yield _webp(data, keep=True)
        yield _webp(data, keep=False)
    elif data[:4] in ORDERS:
        for kept in (None, PIXELS):
            yield only(io.BytesIO(data), len(data), kept)
    elif data[4:12] == b"ftypavif":
        yield EXIF_ITEM.sub(rb"\1skip", data[:AVIF_HEAD]) + data[AVIF_HEAD:]


def _png(data: bytes, keep: bool) -> bytes:
    """A PNG without the chunks that no pixel needs, or, with `keep`, without the damaged ones."""
    copy, place, texts = bytearray(PNG_SIGNATURE), len(PNG_SIGNATURE), 0
    while place + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        end = place + 12 + size
        if name not in PNG_PIXELS and (end > len(data) or not name.isalpha()):
            # A wrong length: goes on with the next chunk of pixels.
            found = PNG_CHUNK.search(data, place + 4)
            place = found.start() if found else len(data)
            continue
        chunk = data[place:end]
        place = end
        if name in PNG_PIXELS:
            copy += chunk
        elif keep and (texts < MOST_TEXTS or name not in COMPRESSED):
            length = _healthy(name, chunk)
            if length and texts + length < MOST_TEXTS:
                copy += chunk
            texts += length or MOST_TEXT  # that may have been unpacked before the damage
    return bytes(copy)


def _healthy(name: bytes, chunk: bytes) -> int:
    """The bytes of a chunk's content, unpacked; 0 for a damaged or a large one."""
    body = chunk[8:-4]
    if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big") or len(body) > MOST_TEXT:
        return 0
    start = re.match(COMPRESSED[name], body) if name in COMPRESSED else None
    if not start:
        return max(1, len(body))
    unpack = zlib.decompressobj()
    try:
        text = unpack.decompress(body[start.end() :], MOST_TEXT)
    except zlib.error:
        return 0
    return 0 if unpack.unconsumed_tail or len(text) == MOST_TEXT else max(1, len(text))


def _jpeg(data: bytes, keep: bool) -> bytes:
    """A JPEG without what no pixel needs, or, with `keep`, without damaged or unknown segments."""
    copy, place = bytearray(data[:2]), 2
    kept = frozenset(LEAST) if keep else {ADOBE}
    tables = None  # where those of the photo begin, looked for once: it takes the rest of the file
    while place + 4 <= len(data):
        mark, name, size = struct.unpack_from(">BBH", data, place)
        if name == START_OF_SCAN:
            break
        end = place + 2 + size
        if mark == 0xFF and name in JPEG_PIXELS:
            copy += data[place:end]
        elif mark == 0xFF and size >= 2 and data[end : end + 1] == b"\xff":
            if name in kept and size >= LEAST[name]:
                copy += data[place:end]
        else:
            # A wrong length.
            tables = tables or _tables_of_largest(data, place)
            end = data.find(TABLE, max(place + 1, tables.start), tables.stop)
            if end < 0:
                break
        place = end
    return bytes(copy + data[place:])


def _webp(data: bytes, keep: bool) -> bytes:
    """A WebP without what no pixel needs, or, with `keep`, without what is cut short or unknown."""
    body, place = bytearray(b"WEBP"), 12
    there, flags = 0, -1  # the metadata that are kept, and the place of the flags that say so
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        end = place + 8 + size
        whole = keep and name in WEBP_FLAGS and end <= len(data)
        if name == WEBP_FIRST and flags < 0 and place + 8 < min(end, len(data)):
            flags = len(body) + 8
        if name in WEBP_PIXELS or whole:
            body += data[place:end] + bytes(size % 2)
            there |= WEBP_FLAGS.get(name, 0)
        place = end + size % 2
    if flags >= 0:
        body[flags] = body[flags] & ~sum(WEBP_FLAGS.values()) | there
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tables_of_largest(data: bytes, start: int) -> range:
    """The bytes before the largest frame, which is no thumbnail, up to the end of one; maybe none.

    The photo's tables are among them.
    """
    frame = max(FRAME.finditer(data, start), key=_area, default=None)
    if frame is None:
        return range(0)
    end_of_thumbnail = data.rfind(b"\xff\xd9", start, frame.start())
    return range(max(start, end_of_thumbnail), frame.start())


def _area(frame: re.Match[bytes]) -> int:
    return int.from_bytes(frame[1][:2], "big") * int.from_bytes(frame[1][2:], "big")
