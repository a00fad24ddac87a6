"""What a file may ask of a decoder, checked before any decoder sees it.

Some files are small and still keep a decoder busy for minutes: with thousands of scans, or with
millions of segments, chunks or strips that Pillow walks one by one.
"""

import io
import re
import struct
from collections.abc import Iterator
from typing import IO

from latefusion.errors import ImageError
from latefusion.images.metadata import MOST

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"

# JPEG (T.81, B.1).
LARGEST_JPEG = 1 << 30  # bytes; what may follow, such as a film or a hole, is not of the picture
MOST_SCANS = 50  # libjpeg writes 10, mozjpeg up to 20
MOST_SEGMENTS = 2000  # 64 kB each
MOST_JUNK = 4096  # bytes between segments, up to the first scan; more are left out
FARTHEST_JUNK = 1 << 20  # with more the file is refused
MOST_EXIF = MOST + (1 << 16)  # bytes; a little more than is kept, to be known as too large
START_OF_SCAN, END, APP1 = 0xDA, 0xD9, 0xE1
BARE = frozenset((0x01, 0xD8, END))  # markers without a length
# No stuffed byte, no restart, and none that is reserved: where a restart is due, libjpeg passes
# over those, without the length behind them, and goes on at the next marker.
MARKER = re.compile(rb"\xff([\x01\xc0-\xcf\xd8-\xfe])")
EXIF = b"Exif\0\0"

MOST_CHUNKS, LEAST_CHUNK = 20_000, 512  # more chunks than that, and smaller ones in the mean

# TIFF: tag -> what it counts. A photo may have a strip for each row and colour.
PARTS = {273: "strips", 324: "tiles"}
MOST_PARTS = 50_000
# Where the place of a TIFF's first directory stands, and the formats of that place, of the count of
# entries and of an entry: tag, type, count and value.
CLASSIC, BIG = (4, "I", "H", "HHI4x"), (8, "Q", "Q", "HHQ8x")
# The first bytes of a TIFF, two of them invalid -> byte order, and how Pillow may read it.
TIFFS = {
    b"II*\0": ("<", (CLASSIC,)),
    b"MM\0*": (">", (CLASSIC,)),
    b"II\0*": ("<", (CLASSIC,)),
    b"MM*\0": (">", (CLASSIC,)),
    b"II+\0": ("<", (BIG,)),
    b"MM\0+": (">", (BIG, CLASSIC)),
}
TYPES = range(32)  # of values; a larger one is none of a directory
MOST_ENTRIES, FARTHEST = 1 << 16, 1 << 60


def bounded(file: IO[bytes], head: bytes, name: str) -> IO[bytes]:
    """The file at its start, or a copy of it with less metadata; `head` are its first bytes.

    Raises ImageError for what would keep a decoder busy for minutes.
    """
    if head.startswith(JPEG):
        return io.BytesIO(_trimmed(file.read(LARGEST_JPEG), name))
    if head.startswith(PNG):
        _check_png(file, name)
    elif head[:4] in TIFFS:
        _check_tiff(file, name)
    file.seek(0)
    return file


def _check_png(file: IO[bytes], name: str) -> None:
    """Refuse a PNG of many tiny chunks. Raises ImageError."""
    file.seek(len(PNG))
    chunks = 0
    while len(head := file.read(8)) == 8:
        (size,) = struct.unpack(">I", head[:4])
        file.seek(size + 4, 1)
        if head[4:] == b"IEND":  # a card or a download may have left zeros behind it
            return
        chunks += 1
        if chunks > MOST_CHUNKS and file.tell() < chunks * LEAST_CHUNK:
            raise _too_much(name, f"{MOST_CHUNKS} tiny chunks")


def _check_tiff(file: IO[bytes], name: str) -> None:
    """Refuse a TIFF whose first picture has too many strips or tiles. Raises ImageError."""
    file.seek(0)
    head = file.read(16)
    if head[:4] not in TIFFS or len(head) < 16:
        return
    order, layouts = TIFFS[head[:4]]
    for at, place_format, count_format, entry_format in layouts:
        (place,) = struct.unpack_from(order + place_format, head, at)
        _check_directory(file, place, order + count_format, order + entry_format, name)


def _check_directory(
    file: IO[bytes], place: int, count_format: str, entry_format: str, name: str
) -> None:
    file.seek(min(place, FARTHEST))
    count = file.read(struct.calcsize(count_format)).ljust(8, b"\0")
    (entries,) = struct.unpack_from(count_format, count)
    entry = struct.Struct(entry_format)
    for tag, kind, parts in _whole(entry, file.read(entry.size * min(entries, MOST_ENTRIES))):
        if tag in PARTS and kind in TYPES and parts > MOST_PARTS:
            raise _too_much(name, f"{MOST_PARTS} {PARTS[tag]}")


def _whole(entry: struct.Struct, data: bytes) -> Iterator[tuple[int, ...]]:
    """The entries that are not cut short."""
    return entry.iter_unpack(data[: len(data) // entry.size * entry.size])


def _trimmed(data: bytes, name: str) -> bytes:
    """A JPEG, without what is too much of its EXIF and of bytes between its segments.

    Raises ImageError if it has too many segments or scans.
    """
    segments = scans = junk = exif = 0
    head, kept = 2, [data[:2]]  # where the segments before the first scan end, and what stays
    for mark, start, end in _segments(data, name):
        scans += mark == START_OF_SCAN
        segments += mark != START_OF_SCAN
        if scans > MOST_SCANS:
            raise _too_much(name, f"{MOST_SCANS} scans")
        if segments > MOST_SEGMENTS:
            raise _too_much(name, f"{MOST_SEGMENTS} segments")
        if not scans:
            junk += start - head
            about = mark == APP1 and data.startswith(EXIF, start + 4)
            exif += about * (end - start)
            if not about or exif <= MOST_EXIF:
                kept.append(data[start:end])
            head = end
    if not scans:  # and so nothing to decode, but much to walk through, perhaps
        return b"".join(kept) + data[head : head + MOST_JUNK]
    if junk > MOST_JUNK or exif > MOST_EXIF:
        return b"".join(kept) + data[head:]
    return data


def _segments(data: bytes, name: str) -> Iterator[tuple[int, int, int]]:
    """Yield the marker, start and end of each segment, up to the end of the picture.

    Raises ImageError if there is too much between two of them.
    """
    place, scan = 2, False
    while found := MARKER.search(data, place, len(data) if scan else place + FARTHEST_JUNK):
        mark, place = found[1][0], found.end()
        scan |= mark == START_OF_SCAN
        if mark == END and scan:
            return
        if mark not in BARE:
            place += int.from_bytes(data[place : place + 2], "big")
        yield mark, found.start(), place
    if not scan and place + FARTHEST_JUNK < len(data):
        raise _too_much(name, f"{FARTHEST_JUNK >> 20} MB between two segments")


def _too_much(name: str, what: str) -> ImageError:
    return ImageError(f"{name} has more than {what}, as no camera writes; save it again")
