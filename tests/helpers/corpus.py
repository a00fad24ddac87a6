"""Odd photos of every kind, made here: healthy ones with what they show, and broken ones."""

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Pixels = NDArray[np.uint8]
Tags = dict[int, tuple[int, ...]]

HEIGHT, WIDTH = 32, 48
# Lopsided: red grows to the right, green downwards; smooth, so that lossy formats keep it.
PIXELS = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
PIXELS[:, :, 0] = np.arange(WIDTH) * 5
PIXELS[:, :, 1] = np.arange(HEIGHT)[:, None] * 7
PIXELS[:, :, 2] = 40
GREY = PIXELS[:, :, 0]
OPACITY = np.repeat(np.arange(HEIGHT, dtype=np.uint8)[:, None] * 8, WIDTH, axis=1)
RGBA = np.dstack([PIXELS, OPACITY])
PICTURE = Image.fromarray(PIXELS)
DEEP = PIXELS.astype(np.uint16) * 257


class Healthy(NamedTuple):
    """A file and what it shows."""

    data: bytes
    image: Pixels  # (H, W, 3)
    opacity: Pixels | None = None  # (H, W) 0..255
    tolerance: int = 0


def encode(picture: Image.Image | NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(stream, kind, **options)
    return stream.getvalue()


def by_opencv(suffix: str, pixels: NDArray[Any]) -> bytes:
    """RGB or RGBA of 8 or 16 bits, which Pillow does not write."""
    order = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    written, encoded = cv2.imencode(suffix, cv2.cvtColor(pixels, order))
    assert written
    return encoded.tobytes()


def three(grey: Pixels) -> Pixels:
    return np.dstack([grey] * 3)


# Orientation n is stored so that the photo is PIXELS once it is applied.
STORED = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: PIXELS.transpose(1, 0, 2)[::-1],
    7: PIXELS.transpose(1, 0, 2)[::-1, ::-1],
    8: PIXELS.transpose(1, 0, 2)[:, ::-1],
}


def oriented(orientation: int, kind: str, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation])
    return encode(stored, kind, exif=exif.tobytes(), **options)


def chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def png(
    pixels: NDArray[Any], colour: int, *, chunks: bytes = b"", interlaced: bool = False
) -> bytes:
    """(H, W, C) uint8 or uint16 of a PNG colour type, with chunks before the pixels."""
    height, width = pixels.shape[:2]
    depth = pixels.dtype.itemsize * 8
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    parts = [pixels]
    if interlaced:  # Adam7: seven pictures of every so many pixels
        passes = ("0088", "0488", "4084", "0244", "2042", "0122", "1021")
        starts = [map(int, numbers) for numbers in passes]
        parts = [pixels[y::down, x::across] for y, x, down, across in starts]
    rows = b"".join(
        b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for part in parts for row in part
    )
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks
    return start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000)))


def tiff(
    parts: Iterable[bytes],
    tags: dict[int, tuple[int, ...]],
    *,
    order: str = "<",
    tiled: bool = False,
) -> bytes:
    """A TIFF of strips or tiles and tags, all of whose values are LONG."""
    parts = list(parts)
    offsets, place = [], 8
    for part in parts:
        offsets.append(place)
        place += len(part)
    where, sizes = (324, 325) if tiled else (273, 279)
    entries = {where: tuple(offsets), sizes: tuple(map(len, parts)), **tags}
    table, more = b"", b""
    beyond = place + 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed) > 4:
            value = struct.pack(f"{order}I", beyond + len(more))
            more += packed
        else:
            value = packed
        table += struct.pack(f"{order}HHI", tag, 4, len(values)) + value
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}I", place)
    count = struct.pack(f"{order}H", len(entries))
    return head + b"".join(parts) + count + table + bytes(4) + more


def layout(
    pixels: NDArray[Any], photometric: int, **more: tuple[int, ...]
) -> dict[int, tuple[int, ...]]:
    """The tags of (H, W, C) pixels; `more` as t317=(2,)."""
    height, width, channels = pixels.shape
    tags: Tags = {
        256: (width,),
        257: (height,),
        258: (pixels.dtype.itemsize * 8,) * channels,
        259: (1,),
        262: (photometric,),
        277: (channels,),
        278: (height,),
    }
    return tags | {int(name[1:]): values for name, values in more.items()}


def tiled_tiff() -> bytes:
    side = 16
    tiles = [
        np.ascontiguousarray(PIXELS[top : top + side, left : left + side]).tobytes()
        for top in range(0, HEIGHT, side)
        for left in range(0, WIDTH, side)
    ]
    tags = layout(PIXELS, 2, t322=(side,), t323=(side,))
    del tags[278]
    return tiff(tiles, tags, tiled=True)


def profile(space: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2 with a connection space of XYZ for grey and RGB, else of Lab."""
    connection = b"XYZ " if space in (b"GRAY", b"RGB ") else b"Lab "
    place = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", place + len(body), len(data))
        body += padded
    size = place + len(body)
    white = struct.pack(">3i", 63190, 65536, 54061)  # D50, as s15Fixed16
    header = struct.pack(
        ">I4sI4s4s4s12x4s", size, b"test", 0x02400000, kind, space, connection, b"acsp"
    )
    header += bytes(28) + white
    return header + bytes(128 - len(header)) + table + body


def grey_profile(gamma: float) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    return profile(b"GRAY", b"mntr", {b"wtpt": white, b"kTRC": curve})


def cmyk_profile() -> bytes:
    """A press whose cyan ink is red: what shows that the profile counted."""
    ramp = bytes(range(256))
    corners = bytearray()
    for cyan, magenta, yellow, black in np.ndindex(2, 2, 2, 2):
        lightness = 0 if black else 255 - 60 * (magenta + yellow)
        corners += bytes([136, 208, 195] if cyan and not black else [lightness, 128, 128])
    identity = struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    table = (
        b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + bytes(corners) + ramp * 3
    )
    return profile(b"CMYK", b"prtr", {b"A2B0": table, b"A2B1": table})


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def palette_with_transparency() -> Healthy:
    picture = Image.fromarray((np.indices((4, 6))[1] % 3).astype(np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 200, 0, 0, 0, 90])
    image = np.array([[255, 0, 0], [0, 200, 0], [0, 0, 90]], np.uint8)[np.asarray(picture)]
    opacity = np.array([0, 128, 255], np.uint8)[np.asarray(picture)]
    return Healthy(encode(picture, transparency=bytes([0, 128, 255])), image, opacity)


def one_bit() -> Healthy:
    bits = GREY > 100
    return Healthy(encode(Image.fromarray(bits)), three(bits * np.uint8(255)))


def first_of_two(kind: str, **options: Any) -> bytes:
    second = Image.new("RGB", (WIDTH, HEIGHT), "blue")
    return encode(PICTURE, kind, save_all=True, append_images=[second], **options)


def gif() -> Healthy:
    palette = PICTURE.quantize(256)
    second = Image.new("RGB", (WIDTH, HEIGHT), "blue")
    data = encode(palette, "GIF", save_all=True, append_images=[second])
    return Healthy(data, np.asarray(palette.convert("RGB")))


def trns_grey(dtype: type[np.uint8] | type[np.uint16]) -> Healthy:
    grey = GREY[:, :, None].astype(dtype) * (257 if dtype is np.uint16 else 1)
    data = png(grey, 0, chunks=chunk(b"tRNS", struct.pack(">H", int(grey[0, 3, 0]))))
    return Healthy(data, three(GREY), (GREY[0, 3] != GREY) * np.uint8(255))


def trns_rgb() -> Healthy:
    wanted = PIXELS[5, 7]
    data = png(PIXELS, 2, chunks=chunk(b"tRNS", struct.pack(">3H", *wanted)))
    return Healthy(data, PIXELS, np.any(wanted != PIXELS, axis=2) * np.uint8(255))


def trns_deep_rgb() -> Healthy:
    wanted = DEEP[5, 7]
    data = png(DEEP, 2, chunks=chunk(b"tRNS", struct.pack(">3H", *wanted)))
    return Healthy(data, PIXELS, np.any(wanted != DEEP, axis=2) * np.uint8(255))


def cmyk() -> Image.Image:
    inks = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    inks[:, :, :3] = 255 - PIXELS
    return Image.frombytes("CMYK", (WIDTH, HEIGHT), inks.tobytes())


def plain(colour: tuple[int, int, int]) -> Pixels:
    return np.full((HEIGHT, WIDTH, 3), colour, np.uint8)


def cyan_ink(**options: Any) -> bytes:
    return encode(Image.new("CMYK", (WIDTH, HEIGHT), (255, 0, 0, 0)), "TIFF", **options)


def lab() -> Healthy:
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:] = (138, 81, 70)  # L 54, a +81, b +70: the red of sRGB, under D50
    return Healthy(tiff([pixels.tobytes()], layout(pixels, 8)), plain((255, 0, 0)), tolerance=6)


def heic(**options: Any) -> bytes:
    from pillow_heif import register_heif_opener

    register_heif_opener()
    return encode(PICTURE, "HEIF", quality=95, **options)


def strip(
    pixels: NDArray[Any], photometric: int, order: str = "<", **more: tuple[int, ...]
) -> bytes:
    stored = pixels if order == "<" else pixels.byteswap()
    return tiff([stored.tobytes()], layout(pixels, photometric, **more), order=order)


def upright(kind: str, orientation: int) -> Healthy:
    options = {} if kind == "TIFF" else {"quality": 95}
    return Healthy(oriented(orientation, kind, **options), PIXELS, tolerance=8)


HEALTHY: dict[str, Callable[[], Healthy]] = {
    **{
        f"{kind.lower()}-orientation-{orientation}": (partial(upright, kind, orientation))
        for kind in ("JPEG", "AVIF", "TIFF")
        for orientation in STORED
    },
    "jpeg": lambda: Healthy(encode(PICTURE, "JPEG", quality=95), PIXELS, tolerance=8),
    "jpeg-progressive": lambda: Healthy(
        encode(PICTURE, "JPEG", quality=95, progressive=True), PIXELS, tolerance=8
    ),
    "jpeg-grey": lambda: Healthy(encode(GREY, "JPEG", quality=95), three(GREY), tolerance=3),
    "jpeg-cmyk": lambda: Healthy(encode(cmyk(), "JPEG", quality=95), PIXELS, tolerance=10),
    "jpeg-broken-exif": lambda: Healthy(
        encode(PICTURE, "JPEG", quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"),
        PIXELS,
        tolerance=8,
    ),
    "jpeg-rubbish-after": lambda: Healthy(
        encode(PICTURE, "JPEG", quality=95) + b"rubbish" * 99, PIXELS, tolerance=8
    ),
    "mpo": lambda: Healthy(first_of_two("MPO", quality=95), PIXELS, tolerance=8),
    "avif": lambda: Healthy(encode(RGBA, "AVIF", quality=100), PIXELS, OPACITY, tolerance=8),
    "heic": lambda: Healthy(heic(), PIXELS, tolerance=8),
    "png": lambda: Healthy(encode(PICTURE), PIXELS),
    "png-rgba": lambda: Healthy(encode(RGBA), PIXELS, OPACITY),
    "png-grey-alpha": lambda: Healthy(encode(np.dstack([GREY, OPACITY])), three(GREY), OPACITY),
    "png-palette-transparent": palette_with_transparency,
    "png-1-bit": one_bit,
    "png-interlaced": lambda: Healthy(png(PIXELS, 2, interlaced=True), PIXELS),
    "png-16-bit-grey": lambda: Healthy(encode(GREY.astype(np.uint16) * 257), three(GREY)),
    "png-16-bit-rgb": lambda: Healthy(by_opencv(".png", DEEP), PIXELS),
    "png-16-bit-rgba": lambda: Healthy(
        by_opencv(".png", RGBA.astype(np.uint16) * 257), PIXELS, OPACITY
    ),
    "png-16-bit-grey-alpha": lambda: Healthy(
        png(np.dstack([GREY, OPACITY]).astype(np.uint16) * 257, 4), three(GREY), OPACITY
    ),
    "png-trns-grey": lambda: trns_grey(np.uint8),
    "png-trns-16-bit-grey": lambda: trns_grey(np.uint16),
    "png-trns-rgb": trns_rgb,
    "png-trns-16-bit-rgb": trns_deep_rgb,
    "png-animated": lambda: Healthy(first_of_two("PNG"), PIXELS),
    "png-orientation": lambda: Healthy(oriented(6, "PNG"), PIXELS),
    "webp": lambda: Healthy(encode(PICTURE, "WEBP", quality=95), PIXELS, tolerance=12),
    "webp-rgba": lambda: Healthy(encode(RGBA, "WEBP", lossless=True, exact=True), PIXELS, OPACITY),
    "webp-animated": lambda: Healthy(first_of_two("WEBP", lossless=True), PIXELS),
    "webp-orientation": lambda: Healthy(oriented(8, "WEBP", lossless=True), PIXELS),
    "gif-animated": gif,
    "bmp": lambda: Healthy(encode(PICTURE, "BMP"), PIXELS),
    "bmp-top-down": lambda: Healthy(top_down_bmp(), PIXELS),
    "ppm": lambda: Healthy(encode(PICTURE, "PPM"), PIXELS),
    "tga": lambda: Healthy(encode(RGBA, "TGA", compression="tga_rle"), PIXELS, OPACITY),
    "jpeg-2000": lambda: Healthy(encode(PICTURE, "JPEG2000"), PIXELS),
    "tiff": lambda: Healthy(encode(PICTURE, "TIFF"), PIXELS),
    "tiff-lzw": lambda: Healthy(encode(RGBA, "TIFF", compression="tiff_lzw"), PIXELS, OPACITY),
    "tiff-deflate": lambda: Healthy(
        encode(PICTURE, "TIFF", compression="tiff_adobe_deflate"), PIXELS
    ),
    "tiff-jpeg": lambda: Healthy(
        encode(PICTURE, "TIFF", compression="jpeg", quality=95), PIXELS, tolerance=12
    ),
    "tiff-pages": lambda: Healthy(first_of_two("TIFF"), PIXELS),
    "tiff-tiled": lambda: Healthy(tiled_tiff(), PIXELS),
    "tiff-big-endian": lambda: Healthy(strip(PIXELS, 2, ">"), PIXELS),
    "tiff-16-bit-rgb": lambda: Healthy(strip(DEEP, 2), PIXELS),
    "tiff-16-bit-rgb-big-endian": lambda: Healthy(strip(DEEP, 2, ">"), PIXELS),
    "tiff-16-bit-rgba": lambda: Healthy(
        strip(RGBA.astype(np.uint16) * 257, 2, t338=(2,)), PIXELS, OPACITY
    ),
    "tiff-16-bit-grey": lambda: Healthy(strip(DEEP[:, :, :1], 1), three(GREY)),
    "tiff-16-bit-grey-big-endian": lambda: Healthy(strip(DEEP[:, :, :1], 1, ">"), three(GREY)),
    "tiff-16-bit-white-is-zero": lambda: Healthy(strip(65535 - DEEP[:, :, :1], 0), three(GREY)),
    "tiff-12-bit-grey": lambda: Healthy(
        twelve_bits(), three(np.array([[0, 255, 128, 16]], np.uint8))
    ),
    "tiff-cmyk": lambda: Healthy(encode(cmyk(), "TIFF"), PIXELS),
    "tiff-cmyk-by-profile": lambda: Healthy(
        cyan_ink(icc_profile=cmyk_profile()), plain((255, 0, 0)), tolerance=12
    ),
    "tiff-cmyk-broken-profile": lambda: Healthy(
        cyan_ink(icc_profile=cmyk_profile()[:200]), plain((0, 255, 255))
    ),
    "tiff-lab": lab,
    "grey-by-profile": lambda: Healthy(
        encode(np.full((9, 7), 128, np.uint8), icc_profile=grey_profile(1)),
        np.full((9, 7, 3), 188, np.uint8),
        tolerance=1,
    ),
    "grey-alpha-by-profile": lambda: Healthy(
        encode(np.dstack([GREY * 0 + 128, OPACITY]), icc_profile=grey_profile(1)),
        np.full((HEIGHT, WIDTH, 3), 188, np.uint8),
        OPACITY,
        tolerance=1,
    ),
    "16-bit-grey-by-profile": lambda: Healthy(
        encode(np.full((9, 7), 128 * 257, np.uint16), icc_profile=grey_profile(1)),
        np.full((9, 7, 3), 188, np.uint8),
        tolerance=1,
    ),
    "one-pixel": lambda: Healthy(encode(PIXELS[:1, :1]), PIXELS[:1, :1]),
    "one-column": lambda: Healthy(encode(PIXELS[:, :1]), PIXELS[:, :1]),
    "one-row": lambda: Healthy(encode(PIXELS[:1]), PIXELS[:1]),
    "very-wide": lambda: Healthy(
        encode(np.tile(PIXELS[:2], (1, 700, 1))), np.tile(PIXELS[:2], (1, 700, 1))
    ),
}


def twelve_bits() -> bytes:
    """Levels 0, 4095, 2056 and 257 in three bytes a pair."""
    tags = layout(np.empty((1, 4, 1), np.uint16), 1, t258=(12,))
    return tiff([bytes.fromhex("000fff 808101")], tags)


def top_down_bmp() -> bytes:
    """A negative height says that the first row is the upper one."""
    data = bytearray(encode(PICTURE, "BMP"))
    start = struct.unpack("<I", data[10:14])[0]
    data[22:26] = struct.pack("<i", -HEIGHT)
    rows = [data[start + n * WIDTH * 3 : start + (n + 1) * WIDTH * 3] for n in range(HEIGHT)]
    return bytes(data[:start]) + b"".join(reversed(rows))


def negative_bmp() -> bytes:
    data = bytearray(encode(PICTURE, "BMP"))
    data[18:22] = struct.pack("<i", -WIDTH)
    return bytes(data)


def share_of(kind: str, share: float, **options: Any) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    data = encode(noise, kind, **options)
    return data[: int(len(data) * share)]


FLOAT = np.ones((4, 5, 3), np.float32)
COMPLEX = np.ones((4, 5, 1), np.complex64)

# Name -> the bytes, and what the one line says.
BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.jpg": (lambda: b"", "is empty"),
    "text.jpg": (lambda: b"This is not a photo, whatever its name says.\n" * 20, "is not an image"),
    "page.jpg": (lambda: b"\n<!DOCTYPE html><html><p>404", "is a web page; download"),
    "document.jpg": (lambda: b"%PDF-1.7\n%\xe2\xe3", "is a PDF document; export"),
    "drawing.png": (lambda: b'<?xml version="1.0"?>\n<svg width="9"/>', "is an SVG drawing"),
    "layers.png": (lambda: b"8BPS\0\1" + bytes(90), "is a Photoshop document"),
    "clip.mp4": (lambda: b"\0\0\0\x20ftypisom" + bytes(90), "is a clip; `latefusion video`"),
    "clip.mov": (lambda: b"\0\0\0\x14ftypqt  " + bytes(90), "is a clip; `latefusion video`"),
    "clip.webm": (lambda: b"\x1aE\xdf\xa3" + bytes(90), "is a clip; `latefusion video`"),
    "photo.jxl": (lambda: b"\xff\x0a" + bytes(90), "is a JPEG XL photo"),
    "canon.cr2": (lambda: b"II*\0\x10\0\0\0CR\2\0" + bytes(90), "is a camera's RAW file; develop"),
    "canon.cr3": (lambda: b"\0\0\0\x18ftypcrx " + bytes(90), "is a camera's RAW file; develop"),
    "fuji.raf": (lambda: b"FUJIFILMCCD-RAW 0201" + bytes(90), "is a camera's RAW file; develop"),
    "nikon.nef": (
        lambda: strip(PIXELS, 2, t254=(1,)),
        "begins with a thumbnail, as a camera's RAW",
    ),
    "adobe.dng": (lambda: strip(PIXELS, 2, t50706=(1,)), "begins with a thumbnail"),
    "float.tif": (lambda: encode(FLOAT[:, :, 0], "TIFF"), "has F pixels; save it as RGB"),
    "float-rgb.tif": (lambda: strip(FLOAT, 2, t339=(3, 3, 3)), "rare kind, such as floating point"),
    "complex.tif": (lambda: strip(COMPLEX, 1, t339=(6,)), "rare kind, such as floating point"),
    "bomb.png": (lambda: png_header(20000, 13000), "20000 x 13000 pixels, more than the 250"),
    "huge.png": (lambda: png_header(2**31 - 1, 2**31 - 1), "pixels, more than the 250 million"),
    "lying.png": (lambda: png_header(3000, 3000), "is damaged or cut short"),
    "no-pixels.png": (lambda: png_header(0, 9), "is damaged or cut short"),
    "negative.bmp": (negative_bmp, "pixels, more than the 250 million"),
    "half.jpg": (lambda: share_of("JPEG", 0.5), "is damaged or cut short"),
    "most.jpg": (lambda: share_of("JPEG", 0.95), "is damaged or cut short"),
    "start.jpg": (lambda: share_of("JPEG", 0.01), "is damaged or cut short"),
    "mark.jpg": (lambda: b"\xff\xd8\xff\xe0", "is damaged or cut short"),
    "half.png": (lambda: share_of("PNG", 0.5), "is damaged or cut short"),
    "start.png": (lambda: share_of("PNG", 0.001), "is damaged or cut short"),
    "half.webp": (lambda: share_of("WEBP", 0.5), "is damaged or cut short"),
    "half.avif": (lambda: share_of("AVIF", 0.5), "is damaged or cut short"),
    "half.tif": (lambda: share_of("TIFF", 0.5), "damaged"),
    "half.gif": (lambda: share_of("GIF", 0.5), "is damaged or cut short"),
    "half.bmp": (lambda: share_of("BMP", 0.5), "is damaged or cut short"),
    "half.heic": (lambda: heic()[:400], "is damaged or cut short"),
}

NAMES = (
    "two\nlines.png",
    "tab\tand\rreturn.png",
    "名前 ёж é.png",
    "🙂👩‍🎨.png",
    "-o.png",
    "--help",
    "no suffix",
    "wrong.jpg",
    "%s {} $HOME `ls` ;'\".png",
    "*?[a].png",
    "~.png",
    ".png",
    "latin-1 \udce9.png",
    " .png ",
)
