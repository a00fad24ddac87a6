"""The tags of EXIF and TIFF (TIFF 6.0, section 2; EXIF 2.32), read one by one and written anew.

A tag keeps its type and its bytes, so that text stays in its encoding. A tag that cannot be read is
left out by itself. Not taken over: what the result has its own of (orientation, sizes, thumbnail),
and the camera's MakerNote, which holds previews of the whole photo and offsets into its file.
"""

import io
import struct
from dataclasses import dataclass, field, replace
from typing import IO, NamedTuple, TypeAlias

import numpy as np

ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
PREFIX = b"Exif\0\0"  # of EXIF in JPEG
HEADER, COUNT, ENTRY, NEXT = 8, 2, 12, 4  # bytes of the parts of a block
INLINE = 4  # a longer value lies elsewhere

SHORT, LONG, RATIONAL, POINTER = 3, 4, 5, 13  # types
# Of each type: bytes of a value, and of the numbers in it, which have a byte order.
SIZES = {
    type_: (size, width)
    for type_, size, width in zip(
        range(1, 14),
        (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4),
        (1, 1, 2, 4, 4, 1, 1, 2, 4, 4, 4, 8, 4),
        strict=True,
    )
}

ORIENTATION, EXIF, GPS = 0x0112, 0x8769, 0x8825
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
XMP, IPTC, PHOTOSHOP = 700, 33723, 34377  # tags of TIFF
BYTES = (IPTC, PHOTOSHOP)  # whatever type they are given
# What the pixels of a TIFF need: tags 254 to 297 but for texts, its predictor to tables, samples,
# JPEG tables, colour positions, and the marks of a RAW photo.
PIXELS = frozenset(
    (
        *(254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284),
        *(292, 293, 296, 317, 318, 319, 320, 322, 323, 324, 325, 332, 334, 338, 339, 347),
        *(512, 513, 514, 519, 520, 521, 529, 530, 531, 532, 50706),
    )
)
# What a photo's first directory says about it, rather than about its pixels: description, make,
# model, document, software, date, artist, host, ratings, copyright, and Windows' title to subject.
ABOUT = frozenset(
    (
        *(0x010E, 0x010F, 0x0110, 0x010D, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298),
        *(0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),
    )
)
# MakerNote, the size in pixels, the pointer to interoperability, places in the unturned photo.
STALE = frozenset((0x927C, 0xA002, 0xA003, 0xA005, 0x9214, 0xA214))
UNICODE = b"UNICODE\0"
UPRIGHT = struct.pack("<H", 1)
INCH = struct.pack("<H", 2)


class Value(NamedTuple):
    """The value of a tag: its type, and its bytes in little-endian order."""

    type: int
    data: bytes


Tags: TypeAlias = dict[int, Value]


@dataclass(frozen=True)
class Exif:
    """The tags of a photo: about the file, about the exposure, and about the place."""

    image: Tags = field(default_factory=dict)
    photo: Tags = field(default_factory=dict)
    gps: Tags = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.image or self.photo or self.gps)


def read_exif(file: IO[bytes], most: int, faults: list[str]) -> Exif:
    """Read what is to be kept of a block of EXIF, or of a TIFF, which is made in the same way.

    `most` limits the bytes. The name of what cannot be read is added to `faults`.
    """
    tags = read_first(file, most, faults)
    image = {tag: tags[tag] for tag in tags if tag in ABOUT}
    if ORIENTATION in tags:
        image[ORIENTATION] = Value(SHORT, UPRIGHT)
    order = _order(file)
    others = []
    for pointer, stale in ((EXIF, STALE), (GPS, frozenset[int]())):
        found: Tags = {}
        if pointer in tags and tags[pointer].type in (LONG, POINTER):
            place = int.from_bytes(tags[pointer].data[:4], "little")
            found = _read(file, place, order, most, stale, faults)
        others.append(found)
    return Exif(image, *others)


def read_first(file: IO[bytes], most: int, faults: list[str]) -> Tags:
    """Read the first directory of a block of EXIF or of a TIFF; none if there is none."""
    order = _order(file)
    start = file.read(4)
    if not order or len(start) < 4:
        faults.append("EXIF")
        return {}
    place = struct.unpack(f"{order}I", start)[0]
    return _read(file, place, order, most, frozenset(), faults)


def _order(file: IO[bytes]) -> str:
    """The byte order of a block, < or >; empty for what is no block."""
    file.seek(0)
    return ORDERS.get(file.read(4), "")


def _read(
    file: IO[bytes], place: int, order: str, most: int, stale: frozenset[int], faults: list[str]
) -> Tags:
    """The tags of the directory at a place, without those in `stale`."""
    file.seek(place)
    head = file.read(COUNT)
    count = struct.unpack(f"{order}H", head)[0] if len(head) == COUNT else 0
    entries = file.read(ENTRY * count)
    if len(head) < COUNT or len(entries) < ENTRY * count:
        faults.append("EXIF")
    tags: Tags = {}
    for start in range(0, len(entries) - ENTRY + 1, ENTRY):
        tag, type_, values = struct.unpack_from(f"{order}HHI", entries, start)
        if tag in stale:
            continue
        length = SIZES.get(type_, (0, 0))[0] * values
        data = entries[start + ENTRY - INLINE : start + ENTRY][:length]
        if INLINE < length <= most:
            file.seek(struct.unpack(f"{order}I", data)[0])
            data = file.read(length)
        most -= len(data)  # also of a value that is cut short: many of them may overlap
        if not length or len(data) < length:
            faults.append("EXIF")
            continue
        if data.startswith(UNICODE):  # a UserComment, whose text has the byte order of the block
            data = UNICODE + _swapped(data[8:][: len(data) // 2 * 2 - 8], SHORT, order, "<")
        tags[tag] = Value(type_, data if tag in BYTES else _swapped(data, type_, order, "<"))
    return tags


def resolution(dpi: tuple[float, float]) -> Tags:
    """The tags of a resolution in dots per inch (across, down)."""
    across, down = (
        Value(RATIONAL, struct.pack("<II", min(2**32 - 1, round(dots * 1000)), 1000))
        for dots in dpi
    )
    return {X_RESOLUTION: across, Y_RESOLUTION: down, RESOLUTION_UNIT: Value(SHORT, INCH)}


def only(file: IO[bytes], size: int, kept: frozenset[int] | None) -> bytes:
    """A TIFF of `size` bytes with only those tags in its first directory; None keeps the healthy.

    Empty if it has none.
    """
    order = _order(file)
    found = read_first(file, size, [])
    image = {tag: value for tag, value in found.items() if kept is None or tag in kept}
    file.seek(0)
    return _with_first(file.read(), Exif(image), order) if image else b""


def exif_block(exif: Exif, dpi: tuple[float, float] | None) -> bytes:
    """Encode tags, and a resolution, as a block of EXIF, without the prefix that JPEG has."""
    image = exif.image | (resolution(dpi) if dpi else {})
    start = b"II*\0" + struct.pack("<I", HEADER)
    return start + _directories(replace(exif, image=image), HEADER, "<")


def within(exif: Exif, length: int, most: int) -> Exif:
    """The tags that remain if the largest are left out until a block of `length` has `most` bytes.

    What describes a photo is short; what is long is mostly some program's own.
    """
    parts = {name: dict(getattr(exif, name)) for name in ("image", "photo", "gps")}
    every = [
        (len(value.data), name, tag) for name, tags in parts.items() for tag, value in tags.items()
    ]
    for size, name, tag in sorted(every, reverse=True):
        if length <= most:
            break
        del parts[name][tag]
        length -= ENTRY + (_even(size) if size > INLINE else 0)
    return Exif(**parts)


def add_tags(tiff: bytes, exif: Exif, others: Tags) -> bytes:
    """Add tags to the first directory of a TIFF; those that it has stay as they are."""
    file = io.BytesIO(tiff)
    own = read_first(file, len(tiff), [])
    return _with_first(tiff, replace(exif, image=exif.image | others | own), _order(file))


def _with_first(tiff: bytes, exif: Exif, order: str) -> bytes:
    """The TIFF with another first directory, at its end; the old one stays as unused bytes."""
    place = _even(len(tiff))
    start = tiff[:4] + struct.pack(f"{order}I", place) + tiff[HEADER:]
    return start.ljust(place, b"\0") + _directories(exif, place, order)


def _directories(exif: Exif, place: int, order: str) -> bytes:
    """The bytes of all directories, of which the first lies at `place`."""
    image = dict(exif.image)
    others = {pointer: tags for pointer, tags in ((EXIF, exif.photo), (GPS, exif.gps)) if tags}
    image |= {pointer: Value(LONG, bytes(4)) for pointer in others}
    end = place + _length(image)
    for pointer, tags in others.items():
        image[pointer] = Value(LONG, struct.pack("<I", end))
        end += _length(tags)
    parts = [image, *others.values()]
    written = b""
    for tags in parts:
        written += _directory(tags, place + len(written), order)
    return written


def _length(tags: Tags) -> int:
    beyond = sum(_even(len(value.data)) for value in tags.values() if len(value.data) > INLINE)
    return COUNT + ENTRY * len(tags) + NEXT + beyond


def _even(length: int) -> int:
    return length + length % 2


def _directory(tags: Tags, place: int, order: str) -> bytes:
    table, beyond = [struct.pack(f"{order}H", len(tags))], []
    end = place + COUNT + ENTRY * len(tags) + NEXT
    for tag, value in sorted(tags.items()):
        data = value.data if tag in BYTES else _swapped(value.data, value.type, "<", order)
        if len(data) > INLINE:
            beyond.append(data.ljust(_even(len(data)), b"\0"))
            data, end = struct.pack(f"{order}I", end), end + len(beyond[-1])
        count = len(value.data) // SIZES[value.type][0]
        head = struct.pack(f"{order}HHI", tag, value.type, count)
        table.append(head + data.ljust(INLINE, b"\0"))
    return b"".join([*table, bytes(NEXT), *beyond])


def _swapped(data: bytes, type_: int, given: str, wanted: str) -> bytes:
    width = SIZES[type_][1]
    return np.frombuffer(data, f"{given}u{width}").astype(f"{wanted}u{width}").tobytes()
