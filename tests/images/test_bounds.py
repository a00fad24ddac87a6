import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latefusion.errors import ImageError
from latefusion.images import bounds
from latefusion.images.reading import read_photo

PIXELS = np.random.default_rng(5).integers(0, 255, (24, 40, 3), np.uint8)


def encoded(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind, **options)
    return stream.getvalue()


def segment(mark: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, mark, len(body) + 2) + body


JPEG = encoded("JPEG")
TABLES = JPEG.index(b"\xff\xdb")  # where the segments of metadata end
SCAN = JPEG.index(b"\xff\xda")
RESTARTS = JPEG[:SCAN] + segment(0xDD, b"\0\1") + JPEG[SCAN : SCAN + 100] + b"\xff\xd9"
LARGE_EXIF = segment(0xE1, b"Exif\0\0" + bytes(65_000))


def with_head(more: bytes) -> bytes:
    return JPEG[:TABLES] + more + JPEG[TABLES:]


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@pytest.mark.parametrize(
    "more",
    [
        LARGE_EXIF * 400,  # 26 MB, which Pillow joins in quadratic time
        b"\xff" * 1_000_000,  # fill bytes
        b"\xff\x00" * 500_000,
        b"\xff\xd0" * 500_000,  # restarts
        b"A" * 1_000_000,
    ],
    ids=["exif", "fill", "stuffed", "restarts", "junk"],
)
def test_what_is_too_much_before_the_pixels_is_left_out(more: bytes) -> None:
    found = bounds.bounded(io.BytesIO(with_head(more)), JPEG[:4], "a.jpg").read()
    assert len(found) < 1 << 21
    with Image.open(io.BytesIO(found)) as left, Image.open(io.BytesIO(JPEG)) as whole:
        assert np.array_equal(np.asarray(left), np.asarray(whole))


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\x00", b"\xff\xd0", b"A"])
@pytest.mark.parametrize("rest", [JPEG[TABLES:], b""])
def test_megabytes_between_segments_are_refused(filler: bytes, rest: bytes) -> None:
    data = JPEG[:TABLES] + filler * (3_000_000 // len(filler)) + rest
    with pytest.raises(ImageError, match=r"^a.jpg has more than 1 MB between two segments"):
        bounds.bounded(io.BytesIO(data), JPEG[:4], "a.jpg")


@pytest.mark.parametrize("more", [LARGE_EXIF * 400, b"\xff" * 1_000_000, b"\xff\x00" * 500_000])
def test_a_jpeg_without_pixels_is_bounded_too(more: bytes) -> None:
    found = bounds.bounded(io.BytesIO(JPEG[:TABLES] + more), JPEG[:4], "a.jpg").read()
    assert len(found) < 1 << 21


def test_what_follows_a_jpeg_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "LARGEST_JPEG", 1 << 20)
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    os.truncate(path, 1 << 40)  # a terabyte that takes no room
    assert np.array_equal(read_photo(path).image, read_photo(JPEG).image)


def test_exif_that_is_too_large_costs_no_pixels_and_is_reported() -> None:
    with pytest.warns(UserWarning, match="metadata is damaged or too large|EXIF is damaged"):
        photo = read_photo(with_head(LARGE_EXIF * 40))
    assert np.array_equal(photo.image, read_photo(JPEG).image)
    assert not photo.about.exif


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_head(segment(0xE5, b"") * 3000), "2000 segments"),
        (with_head(b"\xff\xd8" * 3000), "2000 segments"),
        (JPEG[:-2] + JPEG[SCAN:-2] * 200 + b"\xff\xd9", "50 scans"),
        # An end of the picture that is none, in a table, does not hide the scans behind it.
        (JPEG[:-2] + (segment(0xC4, b"\xff\xd9") + JPEG[SCAN:-2]) * 200, "50 scans"),
        (JPEG[:-2] + segment(0xC4, b"") * 3000 + JPEG[SCAN:-2], "2000 segments"),
        # Where a restart is due, libjpeg passes over a reserved marker, but not over its length.
        (RESTARTS[:-2] + segment(0x02, RESTARTS[SCAN:-2] * 20) * 10, "50 scans"),
    ],
)
def test_a_jpeg_of_too_many_parts_is_refused_unread(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=rf"a.jpg has more than {message}.*; save it again"):
        read_photo(data, name="a.jpg")


def test_a_png_of_tiny_chunks_is_refused_unread() -> None:
    png = encoded("PNG")
    tiny = png[:33] + chunk(b"prVt") * 30_000 + png[33:]
    with pytest.raises(ImageError, match=r"a.png has more than 20000 tiny chunks"):
        read_photo(tiny, name="a.png")
    split = png[:33] + b"".join(chunk(b"prVt", bytes(600)) for _ in range(30_000)) + png[33:]
    assert np.array_equal(read_photo(split).image, PIXELS)  # as large as those of pixels


def test_zeros_behind_a_png_are_no_chunks() -> None:
    assert np.array_equal(read_photo(encoded("PNG") + bytes(1 << 20)).image, PIXELS)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_of_too_many_strips_is_refused_unread(order: str, big: bool) -> None:
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, 16)
        entry = struct.pack(f"{order}QHHQQ", 1, 273, 4, 300_000, 0)
    else:
        head = mark + struct.pack(f"{order}HI", 42, 16) + bytes(8)
        entry = struct.pack(f"{order}HHHII", 1, 273, 4, 300_000, 0)
    with pytest.raises(ImageError, match=r"a.tif has more than 50000 strips"):
        read_photo(head + entry, name="a.tif")


@pytest.mark.parametrize("head", [b"II\0*", b"MM*\0", b"MM\0+"])
def test_no_header_that_pillow_takes_hides_strips(head: bytes) -> None:
    order = "<" if head[:1] == b"I" else ">"
    directory = struct.pack(f"{order}IQHHHII", 16, 0, 1, 273, 1, 300_000, 0)
    with pytest.raises(ImageError, match=r"a.tif has more than 50000 strips"):
        read_photo(head + directory, name="a.tif")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_photo_as_programs_write_it_is_read_as_it_is(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(encoded(kind))
    with path.open("rb") as file:
        found = bounds.bounded(file, path.read_bytes()[:1024], "a")
        assert found.read() == path.read_bytes()


@pytest.mark.parametrize("start", [bounds.JPEG, bounds.PNG, *bounds.TIFFS])
@pytest.mark.parametrize("length", range(24))
def test_a_head_that_is_cut_short_or_nonsense_is_for_the_decoder(start: bytes, length: int) -> None:
    for filler in (b"\0", b"\xff", b"\x08"):
        data = start + filler * length
        assert bounds.bounded(io.BytesIO(data), data, "a").read() == data
