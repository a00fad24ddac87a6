"""Small or strange files that keep a decoder busy, for attacks on a server.

    python benchmarks/slow_photos.py

Prints the size of each, what reading it brings, and the seconds that takes.
"""

import io
import struct
import zlib
from collections.abc import Callable
from time import perf_counter

from PIL import Image

from latefusion.errors import LatefusionError
from latefusion.images.reading import read_photo

SIZE = 30_000_000  # bytes of the large ones
SIDE = 7000  # of photos with as many pixels as a server takes


def saved(kind: str, side: int, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).convert("RGB").save(stream, kind, **options)
    return stream.getvalue()


def segment(mark: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, mark, len(body) + 2) + body


def in_head(more: bytes) -> bytes:
    """A JPEG with bytes before its tables."""
    photo = saved("JPEG", 64)
    tables = photo.index(b"\xff\xdb")
    return photo[:tables] + more + photo[tables:]


def scans(count: int, side: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    photo = saved("JPEG", side, progressive=True, quality=10)
    last = photo.rindex(b"\xff\xda")
    tables = photo.rindex(b"\xff\xc4", 0, last)
    return photo[:-2] + photo[tables:-2] * count + b"\xff\xd9"


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(more: bytes) -> bytes:
    photo = saved("PNG", 64)
    return photo[:33] + more + photo[33:]


def strips(count: int) -> bytes:
    """A TIFF of one row and strip after another, all of them the same bytes."""
    tags = [
        *((256, 4, 1, 1), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)),
        *((273, 4, count, 200), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, count, 200 + 4 * count)),
    ]
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    start = (head + directory).ljust(200, b"\0")
    return start + struct.pack("<I", 8) * count + struct.pack("<I", 1) * count


def rle_bitmap(side: int) -> bytes:
    """A BMP of run lengths that ends its lines at once."""
    codes = b"\0\0" * side
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(codes), 0, 0, 256, 0)
    start = 14 + len(head) + 1024
    return (
        b"BM" + struct.pack("<IHHI", start + len(codes), 0, 0, start) + head + bytes(1024) + codes
    )


def gif_comments() -> bytes:
    photo = saved("GIF", 64)
    screen = 13 + 3 * 2 ** ((photo[10] & 7) + 1)
    comment = b"\x21\xfe" + (b"\xff" + b"a" * 255) * (SIZE // 256) + b"\0"
    return photo[:screen] + comment + photo[screen:]


PHOTOS: dict[str, Callable[[], bytes]] = {
    "jpeg-exif": lambda: in_head(segment(0xE1, b"Exif\0\0" + bytes(65_000)) * (SIZE // 65_000)),
    "jpeg-fill": lambda: in_head(b"\xff" * SIZE),
    "jpeg-junk": lambda: in_head(b"\xff\x00" * (SIZE // 2)),
    "jpeg-segments": lambda: in_head(segment(0xE5, b"") * (SIZE // 4)),
    "jpeg-comments": lambda: in_head(segment(0xFE, bytes(65_000)) * (SIZE // 65_000)),
    "jpeg-scans": lambda: scans(4000, 3000),
    "jpeg-most-scans": lambda: scans(40, SIDE),
    "png-chunks": lambda: png_with(chunk(b"prVt") * (SIZE // 12)),
    "png-texts": lambda: png_with(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000))) * 2000),
    "tiff-strips": lambda: strips(3_000_000),
    "tiff-most-strips": lambda: strips(50_000),
    "ppm-comment": lambda: b"P6\n#" + b"a" * SIZE + b"\n4 4 255\n" + bytes(48),
    "ppm-text": lambda: b"P3\n2000 2000 255\n" + b"1 " * (SIZE // 2),
    "bmp-runs": lambda: rle_bitmap(SIDE),
    "gif-comments": gif_comments,
    "webp-lossless": lambda: saved("WEBP", SIDE, lossless=True, method=0),
    "avif-largest": lambda: saved("AVIF", SIDE, quality=10, speed=10),
    "jpeg2000-largest": lambda: saved("JPEG2000", SIDE),
    "png-largest": lambda: saved("PNG", SIDE),
}


def main() -> None:
    for name, make in PHOTOS.items():
        data = make()
        start = perf_counter()
        try:
            photo = read_photo(data, most_pixels=50_000_000)
            found = "x".join(map(str, photo.image.shape[1::-1]))
        except LatefusionError as error:
            found = str(error)
        print(f"{name}: {len(data):,} bytes, {perf_counter() - start:.2f} s, {found}", flush=True)


if __name__ == "__main__":
    main()
