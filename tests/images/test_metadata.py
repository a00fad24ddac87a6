import io
import json
import shutil
import struct
import subprocess
import warnings
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from latefusion.images.exif import Exif, Value, read_first
from latefusion.images.metadata import MOST, NOTHING, Metadata
from latefusion.images.reading import read_photo
from latefusion.images.writing import Picture, write_picture
from tests.helpers.corpus import PIXELS, chunk, encode, png

EXIFTOOL = shutil.which("exiftool")
needs_exiftool = pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed")

# What exiftool writes into a photo, and reads from all results with the same words.
EXIF: dict[str, Any] = {
    "IFD0:Artist": "José Müller",
    "IFD0:Copyright": "© Zoë 2024",
    "IFD0:ImageDescription": "A naïve boy",
    "IFD0:Make": "Canon",
    "IFD0:Model": "EOS 5D",
    "ExifIFD:DateTimeOriginal": "2024:05:06 07:08:09",
    "ExifIFD:ISO": 200,
    "ExifIFD:ExposureTime": 0.004,
    "ExifIFD:ExposureCompensation": -1.5,
    "ExifIFD:LensModel": "EF 50mm",
    "ExifIFD:UserComment": "Grüße",
    "GPS:GPSLatitude": 48.25,
    "GPS:GPSLongitudeRef": "E",
}
XMP: dict[str, Any] = {
    "XMP-dc:Creator": "José Müller",
    "XMP-dc:Rights": "© Zoë",
    "XMP-xmp:Rating": 4,
}
IPTC: dict[str, Any] = {
    "IPTC:By-line": "José",
    "IPTC:CopyrightNotice": "© Zoë",
    "IPTC:Keywords": ["a", "b"],
}
TURNED: dict[str, Any] = {"IFD0:Orientation": 6, "XMP-tiff:Orientation": 6}
SOURCES = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF"}
RESULTS = ("png", "webp", "tif", "jpg")


def exiftool(*arguments: str) -> str:
    assert EXIFTOOL
    done = subprocess.run([EXIFTOOL, *arguments], capture_output=True, check=True, timeout=60)
    return done.stdout.decode()


def told(path: Path) -> dict[str, Any]:
    (found,) = json.loads(exiftool("-j", "-a", "-G1", "-n", str(path)))
    return dict(found)


def described(path: Path, *fields: dict[str, Any]) -> None:
    """Write a photo that lies on its side, with a thumbnail of its own where there is a place."""
    data = encode(np.ascontiguousarray(PIXELS.transpose(1, 0, 2)[::-1]), SOURCES[path.suffix[1:]])
    path.write_bytes(data)
    thumbnail = path.with_name("thumbnail.jpg")
    thumbnail.write_bytes(encode(PIXELS[:8, :8], "JPEG"))
    words = [f"-ThumbnailImage<={thumbnail}", "-CodedCharacterSet=UTF8"]
    for group in fields:
        for name, value in group.items():
            values = value if isinstance(value, list) else [value]
            words += [f"-{name}#={each}" for each in values]
    exiftool("-q", "-m", "-overwrite_original", *words, str(path))


@needs_exiftool
@pytest.mark.parametrize("source", SOURCES)
def test_what_a_photo_says_about_itself_goes_into_every_format(source: str, tmp_path: Path) -> None:
    path = tmp_path / f"given.{source}"
    fields = [EXIF, XMP, *([IPTC] if source != "webp" else [])]
    described(path, *fields, TURNED)
    photo = read_photo(path)
    assert photo.image.shape == PIXELS.shape
    for suffix in RESULTS:
        result = tmp_path / f"result.{suffix}"
        write_picture(result, Picture(photo.image, about=photo.about))
        found = told(result)
        kept = fields if suffix != "webp" else [EXIF, XMP]  # IPTC has no place in WebP
        for group in kept:
            assert {name: found.get(name) for name in group} == group
        assert {found.get(name, 1) for name in TURNED} == {1}
        assert not any("Thumbnail" in name or "Warning" in name for name in found)
        assert read_photo(result).image.shape == PIXELS.shape
        once_more = read_photo(result).about
        assert once_more.exif == photo.about.exif


@needs_exiftool
def test_what_is_no_longer_true_of_the_result_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "given.jpg"
    described(path, EXIF, {"ExifIFD:ExifImageWidth": 32, "XMP-tiff:ImageWidth": 32})
    assert "IFD1:ThumbnailOffset" in told(path)
    photo = read_photo(path)
    write_picture(tmp_path / "result.png", Picture(photo.image, about=photo.about))
    found = told(tmp_path / "result.png")
    assert found["IFD0:Artist"] == EXIF["IFD0:Artist"]
    for name in ("ExifIFD:ExifImageWidth", "XMP-tiff:ImageWidth", "IFD1:ThumbnailOffset"):
        assert name not in found
    thumbnail = (tmp_path / "thumbnail.jpg").read_bytes()
    assert thumbnail[200:300] in path.read_bytes()
    assert thumbnail[200:300] not in (tmp_path / "result.png").read_bytes()


@needs_exiftool
def test_iptc_becomes_xmp_in_webp(tmp_path: Path) -> None:
    described(tmp_path / "given.tif", IPTC)
    photo = read_photo(tmp_path / "given.tif")
    assert photo.about.iptc
    write_picture(tmp_path / "result.webp", Picture(photo.image, about=photo.about))
    found = told(tmp_path / "result.webp")
    assert found["XMP-dc:Creator"] == "José"
    assert found["XMP-dc:Rights"] == "© Zoë"
    assert found["XMP-dc:Subject"] == ["a", "b"]


@needs_exiftool
def test_a_big_endian_photo_is_read_as_a_little_endian_one(tmp_path: Path) -> None:
    found = []
    for order in ("MM", "II"):
        described(tmp_path / f"{order}.jpg", {"ExifByteOrder": order}, EXIF)
        found.append(read_photo(tmp_path / f"{order}.jpg").about.exif)
    assert found[0].photo
    assert found[0] == found[1]


def metadata(size: int) -> Metadata:
    packet = b"<x:xmpmeta><rdf:RDF>" + b"x" * size + b"</rdf:RDF></x:xmpmeta>"
    return Metadata(xmp=packet)


def test_what_is_too_large_for_jpeg_is_left_out_with_a_warning() -> None:
    for size, fits in ((60_000, True), (70_000, False)):
        stream = io.BytesIO()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            write_picture(stream, Picture(PIXELS, about=metadata(size)), "JPEG", "me.jpg")
        assert bool(read_photo(stream.getvalue()).about.xmp) is fits
        texts = [str(each.message) for each in caught]
        assert texts == (
            [] if fits else ["me.jpg: the photo's XMP is too large for JPEG; left out"]
        )


def test_of_exif_that_is_too_large_for_jpeg_the_largest_tags_are_left_out() -> None:
    rights, long, longest = (Value(2, b"x" * size + b"\0") for size in (9, 29_999, 39_999))
    exif = Exif({0x8298: rights, 0x010E: long}, {0x9286: longest}, {29: rights})
    stream = io.BytesIO()
    with pytest.warns(UserWarning, match=r"me.jpg: .* EXIF .* its largest tags are left out"):
        write_picture(stream, Picture(PIXELS, about=Metadata(exif)), "JPEG", "me.jpg")
    found = read_photo(stream.getvalue()).about.exif
    assert (found.image[0x8298], found.image[0x010E]) == (rights, long)
    assert (found.photo, found.gps) == ({}, {29: rights})


def test_exif_that_just_fits_a_segment_of_jpeg_is_whole() -> None:
    most = 65_535 - 2 - 6 - 8 - 2 - 12 - 4
    for size, fits in ((most - most % 2, True), (most + 1 + most % 2, False)):
        stream = io.BytesIO()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            about = Metadata(Exif({0x8298: Value(2, b"x" * (size - 1) + b"\0")}))
            write_picture(stream, Picture(PIXELS, about=about), "JPEG", "me.jpg")
        assert bool(read_photo(stream.getvalue()).about.exif) is fits
        assert len(caught) == (not fits)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_metadata_above_a_limit_is_left_out_with_a_warning(kind: str) -> None:
    for size, fits in ((70_000, True), (1_100_000, False)):
        stream = io.BytesIO()
        write_picture(stream, Picture(PIXELS, about=metadata(size)), kind)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            photo = read_photo(stream.getvalue(), name="me")
        assert np.array_equal(photo.image, PIXELS)
        assert bool(photo.about.xmp) is fits
        assert len(caught) == (not fits)


@pytest.mark.filterwarnings("ignore:Truncated File Read")  # Pillow's own
def test_a_tag_that_cannot_be_read_costs_no_other() -> None:
    exif = Image.Exif()
    exif[0x8298], exif[0x013B], exif[0x0112] = "me", "someone with a long name", 1
    block = bytearray(exif.tobytes())
    place = block.index(struct.pack(">HHI", 0x013B, 2, 25))
    block[place + 8 : place + 12] = struct.pack(">I", 2**31)  # the name lies beyond the end
    with pytest.warns(UserWarning, match=r"me.jpg: part of its EXIF is damaged or too large"):
        photo = read_photo(encode(PIXELS, "JPEG", exif=bytes(block)), name="me.jpg")
    assert photo.about.exif.image[0x8298].data == b"me\0"
    assert 0x013B not in photo.about.exif.image


def test_a_mask_and_an_array_say_nothing() -> None:
    data = encode(PIXELS, "JPEG", exif=Image.Exif(), xmp=metadata(9).xmp)
    assert read_photo(data).about.xmp
    assert read_photo(data, mask=True).about == NOTHING
    assert read_photo(PIXELS).about == NOTHING


def test_exif_and_iptc_are_found_in_the_text_of_a_png() -> None:
    """ImageMagick wrote them as hex digits before PNG had a place for EXIF."""
    exif = Image.Exif()
    exif[0x8298] = "me"
    iptc = b"\x1c\x02\x74\x00\x02me"
    chunks = b""
    for name, body in ((b"exif", exif.tobytes()), (b"iptc", iptc)):
        text = b"\n%s\n%8d\n%s\n" % (name, len(body), body.hex().encode())
        chunks += chunk(b"zTXt", b"Raw profile type " + name + b"\0\0" + zlib.compress(text))
    about = read_photo(png(PIXELS, 2, chunks=chunks)).about
    assert about.exif.image[0x8298].data == b"me\0"
    assert about.iptc == iptc


RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
EMPTY = (
    b"",
    f"<rdf:RDF xmlns:rdf='{RDF}'></rdf:RDF>".encode(),
    f"<rdf:RDF xmlns:rdf='{RDF}'/>".encode(),
)
CREDITED = (
    f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='{RDF}'><rdf:Description rdf:about=''"
    " xmlns:dc='http://purl.org/dc/elements/1.1/' xmlns:photoshop='http://ns.adobe.com/photoshop/1.0/'"
    " photoshop:Credit='XMP'><dc:title>XMP</dc:title></rdf:Description></rdf:RDF></x:xmpmeta>"
).encode()


def data_set(number: int, text: str) -> bytes:
    body = text.encode()
    return struct.pack(">BBBH", 0x1C, 2, number, len(body)) + body


def xmp_of_webp(about: Metadata) -> ElementTree.Element:
    stream = io.BytesIO()
    write_picture(stream, Picture(PIXELS, about=about), "WEBP")
    return ElementTree.fromstring(read_photo(stream.getvalue()).about.xmp)


@pytest.mark.parametrize("packet", [*EMPTY, CREDITED], ids=["none", "empty", "closed", "credited"])
def test_webp_has_the_fields_of_iptc_that_the_xmp_lacks(packet: bytes) -> None:
    iptc = data_set(116, "© <Zoë> & {me}") + data_set(110, "IPTC") + data_set(5, "IPTC")
    found = xmp_of_webp(Metadata(iptc=iptc, xmp=packet))
    (rights,) = found.iter("{http://purl.org/dc/elements/1.1/}rights")
    assert "".join(rights.itertext()) == "© <Zoë> & {me}"
    text = ElementTree.tostring(found, encoding="unicode")
    assert text.count("IPTC") == (0 if packet == CREDITED else 2)
    assert text.count("XMP") == (2 if packet == CREDITED else 0)


def test_a_packet_with_all_fields_of_iptc_is_written_to_webp_as_it_is() -> None:
    stream = io.BytesIO()
    write_picture(
        stream, Picture(PIXELS, about=Metadata(iptc=data_set(5, "a"), xmp=CREDITED)), "WEBP"
    )
    assert read_photo(stream.getvalue()).about.xmp == CREDITED


UNCLOSED = (
    *(
        "<xmp:Thumbnails ",
        "<GCamera:a>",
        "<photoshop:DocumentAncestors>",
        "<GPano:a ",
        "<GPano:a b=",
    ),
    *("<a hdrgm:b='", '<a \'"\' "<a" ', "<!--", "tiff:Orientation = ", " hdrgm:a = ", "<a ''"),
    *("<" + "a" * 999_999, "<a hdrgm:" + "a" * 999_990, "<a " + " " * 999_990),
)


@pytest.mark.parametrize("unit", UNCLOSED, ids=lambda unit: unit[:30])
def test_a_packet_of_open_tags_is_read_in_time_that_grows_with_its_length(unit: str) -> None:
    """Each search for an end that is not there would take the rest of the file: hours."""
    packet = "rdf:RDF " + unit * (1_000_000 // len(unit))
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet.encode()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        photo = read_photo(png(PIXELS, 2, chunks=text))
    assert np.array_equal(photo.image, PIXELS)


def kept_of(body: str) -> str:
    packet = f"<rdf:RDF>{body}</rdf:RDF>"
    about = read_photo(encode(PIXELS, "WEBP", lossless=True, xmp=packet.encode())).about
    return about.xmp.decode().removeprefix("<rdf:RDF>").removesuffix("</rdf:RDF>")


def test_stale_elements_are_left_out_with_all_that_is_in_them() -> None:
    assert kept_of("<a>1</a><xmp:Thumbnails><b>2</b></xmp:Thumbnails><c/>") == "<a>1</a><c/>"
    assert kept_of("<GPano:a/>3<GPano:b c='>'>4</GPano:b>5") == "35"
    assert kept_of("<GPano:a>1<GPano:a>2</GPano:a>3</GPano:a>4") == "4"
    assert kept_of("""<a b='>' GPano:c="1>2" d="3"/>""") == """<a b='>' d="3"/>"""
    assert kept_of("<xmp:ThumbnailsOf>1</xmp:ThumbnailsOf>") == (
        "<xmp:ThumbnailsOf>1</xmp:ThumbnailsOf>"
    )


def test_a_packet_with_an_open_preview_is_left_out_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="part of its XMP is damaged or too large"):
        assert kept_of("<a>1</a><xmp:Thumbnails>2") == ""


def test_overlapping_tags_of_exif_are_read_once() -> None:
    """Each of 60,000 values is nearly all of the block, or goes beyond its end: 40 GB in all."""
    count = 60_000
    size = 8 + 2 + 12 * count + 4
    for beyond in (0, 9):
        entry = struct.pack("<HII", 2, size - 8 + beyond, 8)
        entries = b"".join(struct.pack("<H", tag) + entry for tag in range(1000, 1000 + count))
        block = b"II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4)
        counted = Counting(block)
        read_first(counted, MOST, [])
        assert counted.total < 3 * size


class Counting(io.BytesIO):
    """A file that counts the bytes read from it."""

    total = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.total += len(data)
        return data
