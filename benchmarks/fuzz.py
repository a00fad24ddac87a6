"""Fuzz test of read_photo: a damaged photo must quickly give a Photo or an ImageError.

python benchmarks/fuzz.py [--cases 20000] [--seed 6] [--case N]

Each case damages the bytes of a small photo in one of many encodings and reads it; a Photo is then
written again. Case N of a seed is always the same. To save memory, photos of more than 20 million
pixels are refused here.
"""

import argparse
import faulthandler
import io
import logging
import struct
import sys
import warnings
import zlib
from collections import Counter
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from latefusion.errors import ImageError, OutputError
from latefusion.images.reading import Photo, read_photo
from latefusion.images.writing import FORMATS, Picture, write_picture

SAMPLE = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
MAX_PIXELS = 20_000_000
SLOW, HANG = 5.0, 60.0  # seconds: reported, and ended
MAIN = ("JPEG", "PNG", "WEBP")  # five sixths of the cases
REST = ("TIFF", "GIF", "BMP", "AVIF", "PPM", "TGA", "JPEG2000")
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF)


@cache
def seeds() -> dict[str, list[bytes]]:
    """A dict from a format to small photos in many variants of it."""
    with Image.open(SAMPLE) as opened:
        photo = opened.convert("RGB").resize((61, 47))
    rgba = photo.copy()
    rgba.putalpha(photo.getchannel("G"))
    grey, palette = photo.convert("L"), photo.quantize(50)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x011B] = 6, 300.0, 300.0
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rich = {"exif": exif, "icc_profile": icc}
    frames = {"save_all": True, "append_images": [photo.rotate(90)]}
    plans: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("JPEG", photo, {"dpi": (300, 300), **rich}),
        ("JPEG", photo, {"progressive": True, "quality": 50}),
        ("JPEG", grey, {"restart_marker_rows": 1}),
        ("JPEG", photo.convert("CMYK"), rich),
        ("PNG", photo, {"dpi": (300, 300), **rich}),
        ("PNG", rgba, {}),
        ("PNG", palette, {"transparency": 3, "bits": 8}),
        ("PNG", deep, {"transparency": 257}),
        ("PNG", rgba.convert("LA"), {}),
        ("PNG", photo, frames),
        ("PNG", grey.convert("1"), {}),
        ("WEBP", photo, {"quality": 60, **rich}),
        ("WEBP", rgba, {"lossless": True}),
        ("WEBP", rgba, {"quality": 40}),
        ("WEBP", photo, frames),
        ("TIFF", photo, {"dpi": (300, 300), **rich}),
        ("TIFF", rgba, {"compression": "tiff_lzw"}),
        ("TIFF", deep, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", photo.convert("LAB"), {}),
        ("TIFF", photo.convert("CMYK"), {"compression": "jpeg"}),
        ("GIF", palette, {"transparency": 3}),
        ("GIF", photo, frames),
        ("BMP", photo, {}),
        ("BMP", palette, {}),
        ("AVIF", rgba, {"speed": 10, **rich}),
        ("PPM", photo, {}),
        ("TGA", rgba, {"compression": "tga_rle"}),
        ("JPEG2000", photo, {}),
    ]
    files: dict[str, list[bytes]] = {}
    for kind, picture, options in plans:
        stream = io.BytesIO()
        picture.save(stream, kind, **options)
        files.setdefault(kind, []).append(stream.getvalue())
    return files


def damage(rng: np.random.Generator) -> bytes:
    """One damaged photo."""
    kinds = MAIN if rng.random() < 5 / 6 else REST
    files = seeds()[kinds[rng.integers(len(kinds))]]
    broken = bytearray(files[rng.integers(len(files))])
    for _ in range(rng.integers(1, 6)):
        way = MUTATIONS[rng.integers(len(MUTATIONS))]
        way(broken, rng, files)
    if broken[:4] == b"\x89PNG" and rng.random() < 0.7:  # or nearly all would end at a checksum
        mend_checksums(broken)
    return bytes(broken)


def place(broken: bytearray, rng: np.random.Generator) -> int:
    """A random position, in half of the cases in the header, which holds the structure."""
    end = min(len(broken), 200) if rng.random() < 0.5 else len(broken)
    return int(rng.integers(0, max(1, end)))


def set_bytes(broken: bytearray, rng: np.random.Generator, files: list[bytes]) -> None:
    for _ in range(rng.integers(1, 8)):
        if broken:
            extreme = EXTREMES[rng.integers(len(EXTREMES))]
            broken[place(broken, rng)] = extreme if rng.random() < 0.4 else int(rng.integers(256))


def set_number(broken: bytearray, rng: np.random.Generator, files: list[bytes]) -> None:
    numbers = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, len(broken))
    packed = struct.pack(rng.choice([">I", "<I"]), numbers[rng.integers(len(numbers))])
    packed = packed[: rng.choice([2, 4])]
    start = place(broken, rng)
    broken[start : start + len(packed)] = packed


def cut(broken: bytearray, rng: np.random.Generator, files: list[bytes]) -> None:
    del broken[place(broken, rng) :]


def drop(broken: bytearray, rng: np.random.Generator, files: list[bytes]) -> None:
    start = place(broken, rng)
    del broken[start : start + rng.integers(1, 64)]


def repeat(broken: bytearray, rng: np.random.Generator, files: list[bytes]) -> None:
    start = place(broken, rng)
    broken[start:start] = broken[start : start + rng.integers(1, 256)]


def splice(broken: bytearray, rng: np.random.Generator, files: list[bytes]) -> None:
    other = files[rng.integers(len(files))]
    start = place(broken, rng)
    broken[start:] = other[start:]


MUTATIONS = (set_bytes, set_bytes, set_bytes, set_number, set_number, cut, drop, repeat, splice)


def mend_checksums(png: bytearray) -> None:
    start = 8
    while start + 12 <= len(png):
        length = int.from_bytes(png[start : start + 4], "big")
        end = start + 8 + length
        if end + 4 > len(png):
            return
        png[end : end + 4] = struct.pack(">I", zlib.crc32(png[start + 4 : end]))
        start = end + 4


def check(photo: Photo, rng: np.random.Generator) -> None:
    """Check the properties of a Photo, and that it can be written with its metadata."""
    assert photo.image.dtype == np.uint8
    assert photo.image.ndim == 3
    assert photo.image.shape[2] == 3
    assert photo.image.size
    pixels = photo.image
    if photo.opacity is not None:
        assert photo.opacity.shape == photo.image.shape[:2]
        assert 0 <= photo.opacity.min() <= photo.opacity.max() <= 1
    if pixels.size < 1_000_000:
        format = list(FORMATS)[rng.integers(len(FORMATS))]
        write_picture(io.BytesIO(), Picture(pixels, photo.icc, photo.dpi, photo.about), format)


def run(seed: int, case: int) -> str:
    """The result of one case: "photo", "error", or a description of the failure."""
    rng = np.random.default_rng([seed, case])
    data = damage(rng)
    faulthandler.dump_traceback_later(HANG, exit=True)
    start = perf_counter()
    try:
        check(read_photo(data, most_pixels=MAX_PIXELS), rng)
        outcome = "photo"
    except ImageError as error:
        outcome = "error" if "\n" not in str(error) else f"two lines: {error!r}"
    except OutputError as error:  # a side too long for WebP or JPEG
        outcome = "photo" if "is limited to" in str(error) else f"not written: {error}"
    except Exception as error:  # noqa: BLE001  this is what the fuzz looks for
        outcome = f"{type(error).__name__}: {error}"
    faulthandler.cancel_dump_traceback_later()
    seconds = perf_counter() - start
    return outcome if seconds < SLOW else f"{seconds:.1f} s, {outcome}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--case", type=int, help="only this one")
    options = parser.parse_args()
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    cases = range(options.cases) if options.case is None else [options.case]
    outcomes: Counter[str] = Counter()
    start, slowest = perf_counter(), 0.0
    for case in cases:
        before = perf_counter()
        outcome = run(options.seed, case)
        slowest = max(slowest, perf_counter() - before)
        if outcome not in ("photo", "error"):
            print(f"case {case}: {outcome}")
            outcome = "wrong"
        outcomes[outcome] += 1
    print(
        f"seed {options.seed}, {len(cases)} cases: {outcomes['photo']} photos,"
        f" {outcomes['error']} errors of one line, {outcomes['wrong']} wrong;"
        f" slowest {slowest:.2f} s, all {perf_counter() - start:.0f} s"
    )
    sys.exit(outcomes["wrong"] > 0)


if __name__ == "__main__":
    main()
