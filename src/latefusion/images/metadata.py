"""What a photo's file says about it: EXIF, IPTC and XMP, as read, and as each format stores it."""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from PIL import Image

from latefusion.images import exif as tags
from latefusion.images.exif import (
    Exif,
    Tags,
    Value,
    add_tags,
    exif_block,
    read_exif,
    read_first,
    within,
)

MOST = 1 << 20  # bytes of EXIF, of IPTC and of XMP each
IPTC_RESOURCE = 0x0404  # of Photoshop's image resources
RESOURCE = b"8BIM"
IPTC_MARK, PREVIEW = 0x1C, range(200, 203)  # of a data set; data sets 2:200 to 2:202 are a preview
APPLICATION = 2  # the record of IPTC that describes the photo
BYTE = 1  # a type of TIFF
EXTENDED = 0x8000  # a data set of 32 kB or more
SEGMENT = 65535  # bytes of a JPEG's segment, with those of its length

# What an XMP packet says of a picture of another size, turn or file: previews, the history of other
# files, gain maps, clips and further pictures in the photo's file, and the rest of a long packet.
STALE = rb"""(?:
    (?:xmp|xap):Thumbnails | photoshop:DocumentAncestors | G?Container:Directory |
    tiff:Image(?:Width|Length) | exif:Pixel[XY]Dimension | xmpNote:HasExtendedXMP |
    (?:hdrgm|GCamera|GPano):\w+
)"""
STALE_ELEMENT = re.compile(STALE, re.VERBOSE)
STALE_ATTRIBUTE = re.compile(rb"\s" + STALE + rb"""\s*=\s*(?:"[^"]*"|'[^']*')""", re.VERBOSE)
# A tag of XML, its slash and its name. It ends before the next <, which XML forbids in a tag, so
# that a search takes time in proportion to the packet, whatever is in it.
TAG = re.compile(rb"""<(/?)([^\s<>/"']+)(?=[\s/>])[^<>"']*(?:(?:"[^<"]*"|'[^<']*')[^<>"']*)*>""")
TURN = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|>)\s*)[2-8]""")


@dataclass(frozen=True)
class Metadata:
    """What is kept of a photo's metadata, true of an upright picture of any size."""

    exif: Exif = field(default_factory=Exif)
    iptc: bytes = b""  # data sets of IPTC-IIM
    xmp: bytes = b""  # a packet in UTF-8


NOTHING = Metadata()

# Data sets of IPTC: the field of XMP, and its container if it has one.
FIELDS = {
    5: ("dc:title", "Alt"),
    25: ("dc:subject", "Bag"),
    40: ("photoshop:Instructions", ""),
    55: ("photoshop:DateCreated", ""),
    80: ("dc:creator", "Seq"),
    85: ("photoshop:AuthorsPosition", ""),
    90: ("photoshop:City", ""),
    95: ("photoshop:State", ""),
    101: ("photoshop:Country", ""),
    105: ("photoshop:Headline", ""),
    110: ("photoshop:Credit", ""),
    115: ("photoshop:Source", ""),
    116: ("dc:rights", "Alt"),
    120: ("dc:description", "Alt"),
    122: ("photoshop:CaptionWriter", ""),
}
DESCRIPTION = (
    '<rdf:Description rdf:about="" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/"'
    ' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/">{}</rdf:Description>'
)
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{}</rdf:RDF></x:xmpmeta>'
    '<?xpacket end="w"?>'
)


def tiff_tags(encoded: Image.Image, faults: list[str]) -> tuple[Exif, Tags]:
    """Read the tags of an opened TIFF before it is loaded, which closes its file."""
    file = getattr(encoded, "fp", None)
    if encoded.format != "TIFF" or file is None:
        return Exif(), {}
    start = file.tell()
    file.seek(0)
    found: tuple[Exif, Tags] = Exif(), {}
    if file.read(4) in tags.ORDERS:  # and not a BigTIFF
        found = read_exif(file, MOST, faults), read_first(file, MOST, [])
    file.seek(start)
    return found


def read_metadata(encoded: Image.Image, tiff: tuple[Exif, Tags], faults: list[str]) -> Metadata:
    """Read what a loaded image's file says about it; `tiff` is that of `tiff_tags`.

    The names of what cannot be read, or is larger than MOST, are added to `faults`.
    """
    info, (exif, directory) = encoded.info, tiff
    block = _bytes(info.get("exif")) or _raw_profile(info, "exif") or _raw_profile(info, "APP1")
    if block and not exif:
        block = block.removeprefix(tags.PREFIX)
        exif = read_exif(io.BytesIO(block[:MOST]), MOST, faults)
    packet = _bytes(info.get("xmp")) or _bytes(info.get("XML:com.adobe.xmp"))
    return Metadata(exif, _iptc(info, directory, faults), _upright(packet, faults))


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode(errors="surrogateescape")
    return value if isinstance(value, bytes) else b""


def _raw_profile(info: dict[Any, Any], name: str) -> bytes:
    """A profile that ImageMagick wrote into a PNG's text: a name, a length and hex digits."""
    text = info.get(f"Raw profile type {name}")
    with suppress(ValueError):
        return bytes.fromhex("".join(text.split("\n", 3)[3:])) if isinstance(text, str) else b""
    return b""


def _upright(packet: bytes, faults: list[str]) -> bytes:
    """An XMP packet without what is no longer true of an upright picture of another size."""
    packet = packet.rstrip(b"\0")
    if not packet:
        return b""
    fresh = None
    if len(packet) <= MOST and b"rdf:RDF" in packet and _is_text(packet):
        fresh = _without_stale(packet)
    if fresh is None:
        faults.append("XMP")
        return b""
    return TURN.sub(rb"\g<1>1", fresh)


def _is_text(packet: bytes) -> bool:
    try:
        packet.decode()
    except UnicodeDecodeError:
        return False
    return True


def _without_stale(packet: bytes) -> bytes | None:
    """A packet without STALE elements and attributes; None if such an element has no end."""
    kept, place = bytearray(), 0
    left_out, depth = (
        b"",
        0,
    )  # the element left out at the moment, and how many are open
    for tag in TAG.finditer(packet):
        closing, name = tag[1], tag[2]
        if left_out and name != left_out:
            continue
        if not left_out:
            kept += packet[place : tag.start()]
            place = tag.end()
            if closing or not STALE_ELEMENT.fullmatch(name):
                kept += STALE_ATTRIBUTE.sub(b"", tag[0])
                continue
        if not tag[0].endswith(b"/>"):
            depth += -1 if closing else 1
        left_out, place = (name if depth else b""), tag.end()
    return None if left_out else bytes(kept + packet[place:])


def _iptc(info: dict[Any, Any], directory: Tags, faults: list[str]) -> bytes:
    photoshop = info.get("photoshop")
    found = _bytes(photoshop.get(IPTC_RESOURCE)) if isinstance(photoshop, dict) else b""
    if not found and tags.IPTC in directory:
        found = directory[tags.IPTC].data
    if not found and tags.PHOTOSHOP in directory:
        found = _resource(directory[tags.PHOTOSHOP].data)
    if not found:
        profile = _raw_profile(info, "iptc").removeprefix(b"Photoshop 3.0\0")
        found = _resource(profile) if profile[:4] == RESOURCE else profile
    return _data_sets(found, faults)


def _resource(resources: bytes) -> bytes:
    """IPTC among Photoshop's image resources."""
    place = 0
    with suppress(struct.error, IndexError):
        while resources[place : place + 4] == RESOURCE:
            (code,) = struct.unpack_from(">H", resources, place + 4)
            name = 1 + resources[place + 6]
            place += 6 + name + name % 2
            (size,) = struct.unpack_from(">I", resources, place)
            place += 4
            if code == IPTC_RESOURCE:
                return resources[place : place + size]
            place += size + size % 2
    return b""


def _data_sets(iptc: bytes, faults: list[str]) -> bytes:
    """The data sets of IPTC up to the first damaged one, without a preview."""
    kept, end = [], 0
    for record, number, body in _each(iptc):
        start, end = end, end + 5 + len(body) + _more(iptc, end)
        if not (record == APPLICATION and number in PREVIEW):
            kept.append(iptc[start:end])
    found = b"".join(kept)
    if iptc[end:].strip(b"\0") or len(found) > MOST:
        faults.append("IPTC")
    return found if len(found) <= MOST else b""


def _each(iptc: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield record, number and content of each data set, up to a damaged one (IIM 4.2, 1.5)."""
    place = 0
    while place + 5 <= len(iptc) and iptc[place] == IPTC_MARK:
        record, number, size = struct.unpack_from(">BBH", iptc, place + 1)
        start = place + 5 + _more(iptc, place)
        if size & EXTENDED:
            size = int.from_bytes(iptc[place + 5 : start], "big")
        place = start + size
        if place > len(iptc):
            return
        yield record, number, iptc[start:place]


def _more(iptc: bytes, place: int) -> int:
    """Bytes in which a large data set states its length."""
    (size,) = struct.unpack_from(">H", iptc, place + 3)
    return size - EXTENDED if size & EXTENDED else 0


def png_chunks(about: Metadata, dpi: tuple[float, float] | None) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG: eXIf, XMP as iTXt, and IPTC as the text that ImageMagick writes."""
    chunks = []
    if about.exif:
        chunks.append((b"eXIf", exif_block(about.exif, dpi)))
    if about.xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + about.xmp))
    if about.iptc:
        resource = _as_resource(about.iptc)
        text = f"\niptc\n{len(resource):8}\n{resource.hex()}\n".encode()
        chunks.append((b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(text)))
    return chunks


def jpeg_segments(about: Metadata, dpi: tuple[float, float] | None, name: str) -> bytes:
    """The segments of a JPEG. What is larger than a segment is left out with a warning.

    Of EXIF only the largest tags are left out.
    """
    block = exif_block(about.exif, dpi) if about.exif else b""
    most = SEGMENT - 2 - len(tags.PREFIX)
    if len(block) > most:
        block = exif_block(within(about.exif, len(block), most), dpi)
        message = f"{name}: the photo's EXIF is too large for JPEG; its largest tags are left out"
        warnings.warn(message, stacklevel=2)
    parts = {
        "EXIF": (b"\xff\xe1", tags.PREFIX, block),
        "XMP": (b"\xff\xe1", b"http://ns.adobe.com/xap/1.0/\0", about.xmp),
        "IPTC": (b"\xff\xed", b"Photoshop 3.0\0", _as_resource(about.iptc)),
    }
    written = b""
    for what, (mark, start, body) in parts.items():
        length = 2 + len(start) + len(body)
        if body and length <= SEGMENT:
            written += mark + struct.pack(">H", length) + start + body
        elif body:
            message = f"{name}: the photo's {what} is too large for JPEG; left out"
            warnings.warn(message, stacklevel=2)
    return written


def webp_options(about: Metadata, dpi: tuple[float, float] | None) -> dict[str, bytes]:
    """Pillow's options for a WebP, which has no place for IPTC; its fields go into the XMP."""
    options = {}
    if about.exif or dpi:
        options["exif"] = exif_block(about.exif, dpi)
    packet = with_fields(about.xmp, about.iptc)
    if packet:
        options["xmp"] = packet
    return options


def pil_info(about: Metadata, dpi: tuple[float, float] | None) -> dict[str, bytes]:
    """The `info` of a PIL image, as Pillow fills it; fields of IPTC are in its XMP."""
    block = tags.PREFIX + exif_block(about.exif, dpi) if about.exif else b""
    info = {"exif": block, "xmp": with_fields(about.xmp, about.iptc)}
    return {name: data for name, data in info.items() if data}


def with_fields(packet: bytes, iptc: bytes) -> bytes:
    """An XMP packet, or a new one, with the fields of IPTC that it lacks as first description."""
    known = {field for field, _ in FIELDS.values() if re.search(_named(field), packet)}
    description = _description(iptc, known)
    if not description:
        return packet
    starts = (tag for tag in TAG.finditer(packet) if tag[2] == b"rdf:RDF" and not tag[1])
    start = next(starts, None)
    if start is None:
        return PACKET.format(description).encode()
    opened, closed = start[0], b""
    if opened.endswith(b"/>"):
        opened, closed = opened[:-2] + b">", b"</rdf:RDF>"
    inner = opened + description.encode() + closed
    return packet[: start.start()] + inner + packet[start.end() :]


def _named(field: str) -> bytes:
    """A pattern of a field of XMP as an element or as an attribute."""
    return rb"[<\s]%s[\s=/>]" % field.encode()


def _description(iptc: bytes, known: set[str]) -> str:
    """The fields of IPTC with a place in XMP (IPTC Photo Metadata 2023.2), but for known ones."""
    found: dict[int, list[str]] = {}
    for record, number, body in _each(iptc):
        if record == APPLICATION and number in FIELDS:
            found.setdefault(number, []).append(escape(_text(body)))
    elements = []
    for number, values in found.items():
        field, container = FIELDS[number]
        if field in known:
            continue
        language = ' xml:lang="x-default"' if container == "Alt" else ""
        items = "".join(f"<rdf:li{language}>{value}</rdf:li>" for value in values)
        inner = f"<rdf:{container}>{items}</rdf:{container}>" if container else values[0]
        elements.append(f"<{field}>{inner}</{field}>")
    return DESCRIPTION.format("".join(elements)) if elements else ""


def _text(body: bytes) -> str:
    """UTF-8, or the Latin-1 of old programs; without the control characters that XML forbids."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)


def with_tags(tiff: bytes, about: Metadata) -> bytes:
    """A TIFF with the metadata as tags."""
    if about == NOTHING:
        return tiff
    others = {tags.XMP: about.xmp, tags.IPTC: about.iptc}
    return add_tags(
        tiff, about.exif, {tag: Value(BYTE, data) for tag, data in others.items() if data}
    )


def _as_resource(iptc: bytes) -> bytes:
    """IPTC as an image resource of Photoshop."""
    if not iptc:
        return b""
    head = RESOURCE + struct.pack(">HHI", IPTC_RESOURCE, 0, len(iptc))
    return head + iptc + bytes(len(iptc) % 2)
