import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latefusion.errors import ImageError
from latefusion.images.mending import mended
from latefusion.images.reading import Photo, read_photo
from tests.helpers.corpus import PIXELS, SRGB, chunk, encode, layout, png, tiff

MANY = bytes(1_200_000)
FILES = Path(__file__).parent / "files"
TEXT = chunk(b"tEXt", b"Author\0me")


def broken(name: bytes, data: bytes) -> bytes:
    whole = chunk(name, data)
    return whole[:-1] + bytes([whole[-1] ^ 1])


def read_with_one_warning(data: bytes) -> Photo:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        photo = read_photo(data, name="me")
    assert [str(each.message) for each in caught] == [
        "me: its metadata is damaged or too large; left out"
    ]
    return photo


CHUNKS = {
    "a large zTXt": chunk(b"zTXt", b"a\0\0" + zlib.compress(MANY)),
    "a large iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(MANY)),
    "a large iCCP": chunk(b"iCCP", b"a\0\0" + zlib.compress(MANY)),
    "many texts": chunk(b"zTXt", b"a\0\0" + zlib.compress(MANY[:1_000_000])) * 70,
    "a wrong sum of pHYs": broken(b"pHYs", struct.pack(">IIB", 9, 9, 1)),
    "a wrong sum of tEXt": broken(b"tEXt", b"a\0b"),
    "a wrong sum of an unknown chunk": broken(b"prIv", b"b"),
    "a short pHYs": chunk(b"pHYs", b"\0"),
    "a short cHRM": chunk(b"cHRM", b"\0"),
    "an empty gAMA": chunk(b"gAMA", b""),
    "an iCCP of another method": chunk(b"iCCP", b"a\0\7nonsense"),
    "a wrong length": struct.pack(">I", 2**31 + 5) + b"tEXt" + b"a\0b",
}


@pytest.mark.parametrize("name", CHUNKS)
def test_a_chunk_that_no_pixel_needs_costs_no_pixel(name: str) -> None:
    for chunks in (CHUNKS[name], TEXT + CHUNKS[name]):
        photo = read_with_one_warning(png(PIXELS, 2, chunks=chunks))
        np.testing.assert_array_equal(photo.image, PIXELS)


def test_healthy_metadata_beside_damaged_are_kept() -> None:
    icc = chunk(b"iCCP", b"a\0\0" + zlib.compress(SRGB))
    resolution = chunk(b"pHYs", struct.pack(">IIB", 11811, 11811, 1))
    photo = read_with_one_warning(png(PIXELS, 2, chunks=icc + broken(b"tIME", b"") + resolution))
    assert photo.icc == SRGB
    assert photo.dpi == (300, 300)


@pytest.mark.parametrize("name", ["crc-phys.png", "itxt-xmp.png"])
def test_the_cases_are_read(name: str) -> None:
    photo = read_with_one_warning((FILES / name).read_bytes())
    assert photo.image.shape == (96, 96, 3)
    assert photo.image.std() > 10


def test_a_damaged_chunk_of_pixels_is_damage() -> None:
    whole = png(PIXELS, 2)
    place = whole.index(b"IHDR")
    for data in (
        whole[: place + 4] + b"\7" + whole[place + 5 :],
        whole.replace(b"IDAT", b"IDXT"),
        whole[: len(whole) // 2],
    ):
        with pytest.raises(ImageError, match="is damaged or cut short"):
            read_photo(data)


def rich_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x8298] = "me"
    return encode(PIXELS, "JPEG", exif=exif, icc_profile=SRGB, quality=95, dpi=(72, 72))


SEGMENTS = {
    "a length beyond the end": b"\xff\xe1\xff\xffExif\0\0",
    "a length that is too short": b"\xff\xe1\0\x05Exif\0\0II*\0\x08\0\0\0" + bytes(9),
    "a short JFIF": b"\xff\xe0\0\x06JFIF",
    "a short profile": b"\xff\xe2\0\x0eICC_PROFILE\0",
    "short resources of Photoshop": b"\xff\xed\0\x18Photoshop 3.0\x008BIM\4\4",
    "an index of pictures that is none": b"\xff\xe2\0\x0aMPF\0\0\0\0\0",
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_a_segment_that_no_pixel_needs_costs_no_pixel(name: str) -> None:
    whole = rich_jpeg()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        photo = read_photo(whole[:2] + SEGMENTS[name] + whole[2:])
    np.testing.assert_array_equal(photo.image, read_photo(whole).image)


def test_a_thumbnail_is_never_taken_for_the_photo() -> None:
    thumbnail = encode(PIXELS[:8, :8], "JPEG")
    whole = rich_jpeg()
    wrong = b"\xff\xe1\xff\xff" + b"Exif\0\0" + thumbnail
    photo = read_with_one_warning(whole[:2] + wrong + whole[2:])
    assert photo.image.shape == PIXELS.shape


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tag_that_no_pixel_needs_costs_no_pixel(order: str) -> None:
    tags = layout(PIXELS, 2, t305=(1, 2, 3, 4), t700=(5, 6, 7))
    data = bytearray(tiff([PIXELS.tobytes()], tags, order=order))
    for tag in (305, 700):
        place = data.index(struct.pack(f"{order}HH", tag, 4))
        data[place + 2 : place + 12] = struct.pack(f"{order}HII", 2, 2**31 - 1, 2**30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(read_photo(bytes(data)).image, PIXELS)


def test_damaged_exif_costs_no_pixel_of_an_avif() -> None:
    exif = Image.Exif()
    exif[0x8298] = "me"
    data = encode(PIXELS, "AVIF", exif=exif, quality=95)
    place = data.index(exif.tobytes()[6:])
    photo = read_with_one_warning(data[:place] + b"nonsense" + data[place + 8 :])
    assert np.abs(photo.image.astype(int) - PIXELS).max() < 25


@pytest.mark.parametrize("damage", ["cut short", "length beyond the end", "length too short"])
def test_a_damaged_chunk_after_the_pixels_costs_no_pixel_of_a_webp(damage: str) -> None:
    exif = Image.Exif()
    exif[0x8298] = "me, and a name that is long"
    data = encode(PIXELS, "WEBP", lossless=True, exif=exif, icc_profile=SRGB)
    place = data.index(b"EXIF") + 4
    (size,) = struct.unpack_from("<I", data, place)
    longer, shorter = (struct.pack("<I", length) for length in (size + 999, size // 4 * 2))
    data = {
        "cut short": data[: place + 4 + size // 2],
        "length beyond the end": data[:place] + longer + data[place + 4 :],
        "length too short": data[:place] + shorter + data[place + 4 :],
    }[damage]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        photo = read_photo(data)
    np.testing.assert_array_equal(photo.image, PIXELS)
    assert photo.icc == SRGB


BAD_SEGMENT = b"\xff\xdb\0\2\xff\xe1\0\0"
FRAME = b"\xff\xc0\0\x11\x08\0\x10\0\x10"
EMPTY_CHUNK = struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT"))
JPEG, PNG, WEBP = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"
FULL_OF_DAMAGE = {  # the start, what is repeated, and the end
    "segments": (JPEG + BAD_SEGMENT[4:], BAD_SEGMENT, FRAME),
    "segments and frames": (JPEG + BAD_SEGMENT[4:], BAD_SEGMENT + FRAME, b""),
    "short segments": (JPEG, b"\xff\xdb\0\0", FRAME),
    "lengths of chunks": (PNG, struct.pack(">I", 2**31) + b"aaaa" + EMPTY_CHUNK, b""),
    "small chunks of WebP": (WEBP, b"ALPH\0\0\0\0", b""),
}


def full_of_damage(name: str, size: int) -> bytes:
    start, unit, end = FULL_OF_DAMAGE[name]
    return start + unit * (size // len(unit)) + end


@pytest.mark.parametrize("name", FULL_OF_DAMAGE)
def test_a_file_full_of_damage_is_mended_in_time_that_grows_with_its_size(name: str) -> None:
    """Going through the rest of the file, or copying it, for each damage would take hours."""
    data = full_of_damage(name, 1 << 20)
    copies = list(mended(data))
    assert len(copies) == 2
    assert all(len(data) // 4 < len(copy) <= len(data) for copy in copies)


@pytest.mark.parametrize("name", FULL_OF_DAMAGE)
def test_a_file_full_of_damage_is_mended_in_memory_of_its_size(name: str) -> None:
    data = full_of_damage(name, 1 << 16)
    tracemalloc.start()
    for _ in mended(data):
        pass
    assert tracemalloc.get_traced_memory()[1] < 4 * len(data)
    tracemalloc.stop()


def test_of_many_packed_texts_a_limited_number_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    unpack = zlib.decompressobj

    def counted() -> object:
        opened.append(None)
        return unpack()

    monkeypatch.setattr(zlib, "decompressobj", counted)
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(MANY))
    for copy in mended(png(PIXELS, 2, chunks=text * 500)):
        assert copy.count(b"IDAT") == 1
    assert 0 < len(opened) <= 17
