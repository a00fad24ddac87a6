"""Odd files, made on the spot: what cameras, scanners, phones, web sites and accidents produce."""

# ruff: noqa: E501 - a line for each file

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

RGB = NDArray[np.uint8]

HEIGHT, WIDTH = 48, 64
COLOURS = ((220, 40, 30), (40, 190, 60), (30, 60, 210), (235, 220, 90))  # of the four quarters


def quarters(height: int = HEIGHT, width: int = WIDTH) -> RGB:
    """(H, W, 3): a colour in every quarter, so that a turn or a flip shows, and JPEG is exact."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for index, colour in enumerate(COLOURS):
        top, left = index // 2 * (height // 2), index % 2 * (width // 2)
        pixels[top : top + (height + 1) // 2, left : left + (width + 1) // 2] = colour
    return pixels


PIXELS = quarters()
GREY = np.repeat(np.asarray(Image.fromarray(PIXELS).convert("L"))[:, :, None], 3, axis=2)


@dataclass(frozen=True)
class Good:
    """A file that has to give these pixels, each within `tolerance` levels on average."""

    name: str
    data: bytes
    pixels: RGB
    tolerance: float = 0
    opacity: NDArray[np.float32] | None = None
    profile: bool = False  # an RGB one, which has to travel
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True)
class Bad:
    """A file that has to give one line with these words."""

    name: str
    data: bytes
    words: str


def save(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.copy().save(stream, format, **options)  # a copy, for Pillow leaves things in it
    return stream.getvalue()


def turned(orientation: int, format: str, **options: Any) -> bytes:
    """The quarters, stored as a camera held that way stores them."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> Image.Transpose
    image = Image.fromarray(PIXELS)
    if orientation in back:
        image = image.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(image, format, exif=exif, **options)


def deep(format: str, channels: int = 3) -> bytes:
    """16 bits a channel, as OpenCV writes them."""
    levels = PIXELS.astype(np.uint16) * 257
    if channels == 4:
        half = np.full((HEIGHT, WIDTH, 1), 0x8080, np.uint16)
        levels = np.concatenate([levels, half], axis=2)
    order = [2, 1, 0, 3][:channels]
    _, encoded = cv2.imencode(format, levels[:, :, order])
    return encoded.tobytes()


def png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG by hand, which may lie."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def profile(kind: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes()  # type: ignore[arg-type]


def good() -> list[Good]:
    """Files that show the quarters."""
    image = Image.fromarray(PIXELS)
    grey = image.convert("L")
    half = np.full((HEIGHT, WIDTH), 128 / 255, np.float32)
    clear = image.copy()
    clear.putalpha(128)
    palette = image.quantize(8)
    dotted = image.quantize(8, dither=Image.Dither.NONE)
    hole = np.ones((HEIGHT, WIDTH), np.float32)
    hole[: HEIGHT // 2, : WIDTH // 2] = 0
    dots = (300.0, 300.0)
    other = Image.new("RGB", image.size, (1, 2, 3))
    exif_dpi = Image.Exif()
    exif_dpi[0x011A], exif_dpi[0x011B], exif_dpi[0x0128] = 300.0, 300.0, 2
    tiff = {"format": "TIFF"}
    found = [
        Good(f"orientation-{n}.jpg", turned(n, "JPEG", quality=95), PIXELS, 3) for n in range(1, 9)
    ]
    found += [
        Good(f"orientation-{n}.webp", turned(n, "WEBP", lossless=True), PIXELS) for n in (3, 6)
    ]
    found += [
        Good("orientation-6.tiff", turned(6, "TIFF"), PIXELS),
        Good("orientation-9.jpg", turned(9, "JPEG", quality=95), PIXELS, 3),  # there is no such
        Good("plain.jpg", save(image, "JPEG", quality=95), PIXELS, 3),
        Good("progressive.jpg", save(image, "JPEG", progressive=True, quality=95), PIXELS, 3),
        Good("fine.jpg", save(image, "JPEG", quality=100, subsampling=0), PIXELS, 2),
        Good("grey.jpg", save(grey, "JPEG", quality=95), GREY, 2),
        Good("cmyk.jpg", save(image.convert("CMYK"), "JPEG", quality=95), PIXELS, 3),
        Good("dpi.jpg", save(image, "JPEG", quality=95, dpi=(300, 300)), PIXELS, 3, dpi=dots),
        Good("exif-dpi.webp", save(image, "WEBP", lossless=True, exif=exif_dpi), PIXELS, dpi=dots),
        Good("profile.jpg", save(image, "JPEG", quality=95, icc_profile=profile("sRGB")), PIXELS, 3,
             profile=True),
        Good("wrong-profile.jpg", save(grey, "JPEG", quality=95, icc_profile=profile("sRGB")), GREY, 2),
        Good("junk-profile.jpg", save(grey, "JPEG", quality=95, icc_profile=b"junk"), GREY, 2),
        Good("no-photo.jpeg.png", save(image, "JPEG", quality=95), PIXELS, 3),  # a wrong suffix
        Good("more.mpo", save(image, "MPO", quality=95, save_all=True, append_images=[other.copy()]), PIXELS, 3),
        Good("trailing.jpg", save(image, "JPEG", quality=95) + b"\0" * 999, PIXELS, 3),
        Good("plain.png", save(image, "PNG"), PIXELS),
        Good("interlaced.png", save(image, "PNG", interlace=1), PIXELS),
        Good("clear.png", save(clear, "PNG"), PIXELS, opacity=half),
        Good("grey-alpha.png", save(clear.convert("LA"), "PNG"), GREY, opacity=half),
        Good("palette.png", save(palette, "PNG"), PIXELS, 4),
        Good("palette-clear.png", save(dotted, "PNG", transparency=dotted.getpixel((0, 0))), PIXELS, 4,
             opacity=hole),
        Good("key.png", save(image, "PNG", transparency=COLOURS[0]), PIXELS, opacity=hole),
        Good("deep.png", deep(".png"), PIXELS, 1),
        Good("deep-clear.png", deep(".png", 4), PIXELS, 1, opacity=half),
        Good("deep-grey.png", save(Image.fromarray(GREY[:, :, 0].astype(np.uint16) * 257), "PNG"), GREY),
        Good("dpi.png", save(image, "PNG", dpi=dots), PIXELS, dpi=dots),
        Good("profile.png", save(image, "PNG", icc_profile=profile("sRGB")), PIXELS, profile=True),
        Good("animated.png", save(image, "PNG", save_all=True, append_images=[other.copy()]), PIXELS),
        Good("pixel.png", save(Image.new("RGB", (1, 1), COLOURS[0]), "PNG"), quarters(2, 2)[:1, :1]),
        Good("column.png", save(Image.new("RGB", (1, 999), COLOURS[0]), "PNG"),
             np.full((999, 1, 3), COLOURS[0], np.uint8)),
        Good("row.png", save(Image.new("RGB", (9999, 1), COLOURS[0]), "PNG"),
             np.full((1, 9999, 3), COLOURS[0], np.uint8)),
        Good("plain.webp", save(image, "WEBP", lossless=True), PIXELS),
        Good("lossy.webp", save(image, "WEBP", quality=95), PIXELS, 6),
        Good("clear.webp", save(clear, "WEBP", lossless=True, exact=True), PIXELS, opacity=half),
        Good("animated.webp", save(image, "WEBP", lossless=True, save_all=True,
             append_images=[other.copy()]), PIXELS),
        Good("animated.gif", save(image, "GIF", save_all=True, append_images=[other.copy()]), PIXELS, 4),
        Good("plain.bmp", save(image, "BMP"), PIXELS),
        Good("bitmap.bmp", save(grey.point(lambda level: 255 * (level > 100), "1"), "BMP"),
             np.where(GREY > 100, 255, 0).astype(np.uint8)),
        Good("plain.tga", save(image, "TGA"), PIXELS),
        Good("plain.ppm", save(image, "PPM"), PIXELS),
        Good("plain.jp2", save(image, "JPEG2000"), PIXELS, 2),
        Good("plain.avif", save(image, "AVIF", quality=95), PIXELS, 6),
        Good("plain.tiff", save(image, **tiff), PIXELS),
        Good("lzw.tiff", save(image, **tiff, compression="tiff_lzw"), PIXELS),
        Good("deflate.tiff", save(image, **tiff, compression="tiff_adobe_deflate", dpi=dots), PIXELS,
             dpi=dots),
        Good("jpeg.tiff", save(image, **tiff, compression="jpeg", quality=95), PIXELS, 6),
        Good("pages.tiff", save(image, **tiff, save_all=True, append_images=[other.copy()]), PIXELS),
        Good("clear.tiff", save(clear, **tiff), PIXELS, opacity=half),
        Good("deep.tiff", deep(".tiff"), PIXELS, 1),
        Good("deep-grey.tiff", save(Image.fromarray(GREY[:, :, 0].astype(np.uint16) * 257), **tiff), GREY),
        Good("lab.tiff", lab_tiff(image), PIXELS, 4),
        Good("fax.tiff", save(grey.point(lambda level: 255 * (level > 100), "1"), **tiff,
             compression="group4"), np.where(GREY > 100, 255, 0).astype(np.uint8)),
    ]  # fmt: skip
    return found


def lab_tiff(image: Image.Image) -> bytes:
    lab = ImageCms.profileToProfile(
        image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    return save(lab, "TIFF")


def bad() -> list[Bad]:
    """Files that show nothing."""
    photo = save(Image.fromarray(PIXELS.repeat(8, 0).repeat(8, 1)), "JPEG", quality=95)
    flat = save(Image.fromarray(PIXELS.repeat(8, 0).repeat(8, 1)), "PNG")
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    webp = save(Image.fromarray(noise), "WEBP")
    tiff = save(Image.fromarray(noise), "TIFF")
    floats = save(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    unknown, cut = "is not an image, or not of a known format", "is damaged or cut short"
    return [
        Bad("empty.jpg", b"", "is empty"),
        Bad("text.jpg", b"hello\n", unknown),
        Bad("page.jpg", b"<!doctype html><title>404</title>", unknown),
        Bad("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", unknown),
        Bad("paper.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", unknown),
        Bad("letter.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", unknown),
        Bad("archive.zip", b"PK\x03\x04" + b"\0" * 60, unknown),
        Bad("zeros.jpg", b"\0" * 4096, unknown),
        Bad("head.jpg", photo[:20], unknown),
        Bad("half.jpg", photo[: len(photo) // 2], cut),
        Bad("half.png", flat[: len(flat) // 2], cut),
        Bad("half.webp", webp[: len(webp) // 2], cut),
        Bad("half.tiff", tiff[: len(tiff) // 2], cut),
        Bad("bits.png", flat[:60] + b"\xff" * 40 + flat[100:], cut),
        Bad(
            "bomb.png", png(60_000, 60_000, zlib.compress(b"\0" * 999)), "more than the 250 million"
        ),
        Bad("none.png", png(0, 0, zlib.compress(b"")), ""),
        Bad("short.png", png(500, 500, zlib.compress(b"\0" * 99)), cut),
        Bad("nodata.png", png(5, 5, b""), ""),
        Bad("floats.tiff", floats, "has F pixels"),
    ]
