import errno
import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latefusion.errors import OutputError
from latefusion.images.framing import Letterbox
from latefusion.images.reading import read_photo
from latefusion.images.writing import (
    FORMATS,
    FORMATS_OUT,
    Picture,
    Pixels,
    whole_file,
    write_picture,
)
from latefusion.inference.matte import Matte
from latefusion.inference.outputs import render
from latefusion.runtime.planes import Planes
from tests.helpers.corpus import DEEP, GREY, OPACITY, PIXELS, RGBA, SRGB

DEEP_GREY = DEEP[:, :, 0]
SECOND_PROGRAMS = ("exiftool", "identify")  # apt: libimage-exiftool-perl, imagemagick


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
    return image


def test_a_written_png_reads_back(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", Picture(PIXELS))
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png").image, PIXELS)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, OSError(errno.ENOSPC, "full")])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, failure: BaseException | type[BaseException]
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def write_half_of_it() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise failure

    with pytest.raises((ValueError, KeyboardInterrupt, OutputError)):
        write_half_of_it()
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("place", ["file/a.png", "missing/a.png", "folder", "x" * 300 + ".png"])
def test_an_unwritable_target_is_an_output_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written: ") as caught:
        write_picture(tmp_path / place, Picture(PIXELS), "PNG")
    assert "\n" not in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


def test_a_missing_folder_is_named_as_the_cure(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"; create its folder first$"):
        write_picture(tmp_path / "missing" / "a.png", Picture(PIXELS), "PNG")


@pytest.mark.parametrize(
    ("suffix", "pixels"),
    [
        (suffix, pixels)
        for suffix, format in FORMATS_OUT.items()
        for pixels in (PIXELS, GREY, RGBA)
        if FORMATS[format].alpha or pixels is not RGBA
    ],
)
def test_a_written_picture_reads_back_with_profile_and_resolution(
    suffix: str, pixels: Pixels, tmp_path: Path
) -> None:
    path = tmp_path / f"me{suffix.upper()}"
    lossy = FORMATS_OUT[suffix] == "JPEG"
    write_picture(path, Picture(pixels, SRGB, (300, 240)))
    photo = read_photo(path)
    image = np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels[:, :, :3]
    assert np.abs(photo.image.astype(int) - image).max() <= (4 if lossy else 0)
    assert photo.icc == (SRGB if pixels.ndim == 3 else None)
    assert photo.dpi == (300.0, 240.0)
    assert (photo.opacity is not None) == (pixels is RGBA)
    if photo.opacity is not None:
        np.testing.assert_array_equal(np.rint(photo.opacity * 255), OPACITY)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_stay_sixteen(suffix: str, tmp_path: Path) -> None:
    alpha = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    write_picture(tmp_path / f"alpha{suffix}", Picture(alpha))
    np.testing.assert_array_equal(np.asarray(opened(tmp_path / f"alpha{suffix}")), alpha)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_colours_under_transparent_pixels_survive(suffix: str, tmp_path: Path) -> None:
    clear = np.dstack([PIXELS, np.zeros_like(OPACITY)])
    write_picture(tmp_path / f"me{suffix}", Picture(clear))
    np.testing.assert_array_equal(read_photo(tmp_path / f"me{suffix}").image, PIXELS)


@pytest.mark.parametrize("format", FORMATS)
def test_a_stream_gets_the_bytes_of_a_file(format: str, tmp_path: Path) -> None:
    picture, stream = Picture(PIXELS, SRGB, (300, 300)), io.BytesIO()
    write_picture(stream, picture, format)
    write_picture(tmp_path / "file", picture, format)
    assert stream.getvalue() == (tmp_path / "file").read_bytes()


def test_a_pipe_gets_a_whole_tiff() -> None:
    program = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    with subprocess.Popen(
        ["python3", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        write_picture(process.stdin, Picture(RGBA), "TIFF")
        process.stdin.close()
        np.testing.assert_array_equal(read_photo(process.stdout.read()).image, PIXELS)


def test_a_closed_pipe_is_an_output_error() -> None:
    inward, outward = os.pipe()
    os.close(inward)
    with (
        os.fdopen(outward, "wb", buffering=0) as stream,
        pytest.raises(OutputError, match="stdout"),
    ):
        write_picture(stream, Picture(RGBA), "PNG")


@pytest.mark.parametrize(
    ("name", "pixels", "problem"),
    [
        (
            "a.jpg",
            RGBA,
            r"JPEG cannot store transparency; choose .png or .webp, or give a background",
        ),
        ("a.jpg", DEEP_GREY, r"JPEG cannot store 16 bits; choose .png or .tif"),
        ("a.webp", DEEP_GREY, r"WEBP cannot store 16 bits; choose .png or .tif"),
        (
            "a.webp",
            np.zeros((1, 16384), np.uint8),
            r"WEBP is limited to 16383 pixels per side; choose",
        ),
        ("a.gif", PIXELS, r"has no suffix of a supported format; choose .png, .webp, .tif"),
        ("a", PIXELS, r"has no suffix of a supported format"),
    ],
)
def test_a_picture_that_a_format_cannot_store_is_refused_with_a_cure(
    name: str, pixels: Pixels, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match=problem) as caught:
        write_picture(tmp_path / name, Picture(pixels))
    assert str(caught.value).isprintable()
    assert not list(tmp_path.iterdir())


def test_a_stream_needs_a_format() -> None:
    with pytest.raises(OutputError, match="stdout needs a format; choose one of PNG, WEBP"):
        write_picture(io.BytesIO(), Picture(PIXELS))


def asked(program: str, *words: str | Path) -> str:
    """Return the output of another program; skip the test without it, but fail in CI."""
    if not shutil.which(program) and not os.environ.get("CI"):
        pytest.skip(f"{program} is not installed")
    return subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("suffix", FORMATS_OUT)
def test_exiftool_reads_profile_and_resolution(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"me{suffix}"
    pixels = PIXELS if "jp" in suffix else RGBA
    write_picture(path, Picture(pixels, SRGB, (300, 240)))
    said: dict[str, Any] = json.loads(asked("exiftool", "-j", "-n", path))[0]
    assert said["ColorSpaceData"] == "RGB "
    assert said["ProfileFileSignature"] == "acsp"
    assert (said["ImageWidth"], said["ImageHeight"]) == PIXELS.shape[1::-1]
    assert said.get("Orientation", 1) == 1
    if suffix == ".png":
        dots = (said["PixelsPerUnitX"] * 0.0254, said["PixelsPerUnitY"] * 0.0254)
    else:
        assert said["ResolutionUnit"] in (1, 2)
        dots = (said["XResolution"], said["YResolution"])
    assert dots == pytest.approx((300, 240), abs=0.01)
    if suffix.startswith(".tif"):
        assert said["ExtraSamples"] == 2  # straight alpha, not premultiplied


def test_exiftool_reads_the_resolution_of_a_turned_photo(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "me.jpg", exif=exif, dpi=(300, 150))
    photo = read_photo(tmp_path / "me.jpg")
    write_picture(tmp_path / "me.webp", Picture(photo.image, photo.icc, photo.dpi))
    before, after = json.loads(asked("exiftool", "-j", "-n", *sorted(tmp_path.iterdir())))
    assert (before["Orientation"], before["XResolution"], before["YResolution"]) == (6, 300, 150)
    assert (after["XResolution"], after["YResolution"]) == (150, 300)
    assert "Orientation" not in after
    assert after["ImageWidth"] == before["ImageHeight"]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_imagemagick_reads_sixteen_bits(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"alpha{suffix}"
    write_picture(path, Picture(DEEP_GREY + np.uint16(1)))
    assert asked("identify", "-format", "%z %w %h %[channels]", path).split()[:4] == [
        "16",
        "48",
        "32",
        "gray",
    ]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_imagemagick_reads_the_transparency(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"me{suffix}"
    write_picture(path, Picture(RGBA, SRGB, (300, 300)))
    said = asked("identify", "-verbose", path)
    assert "Channel depth:" in said
    assert "srgba" in asked("identify", "-format", "%[channels]", path)
    assert "Profile-icc" in said


def test_the_fringe_of_a_file_on_disk(tmp_path: Path) -> None:
    """(200, 180, 160) at alpha 128 over white is (227, 217, 207): colours are not premultiplied."""
    image = np.full((64, 64, 3), (200, 180, 160), np.uint8)  # the subject's colour, on its own
    alpha = np.full((64, 64), 128 / 255, np.float32)
    alpha[:, :32] = 1
    size = (64, 64)
    planes = Planes(alpha, alpha, 1 - alpha, alpha)
    matte = Matte(image, alpha, planes, Letterbox(size, size, size))
    for suffix in (".png", ".webp", ".tiff"):
        path = (tmp_path / "cutout").with_suffix(suffix)
        write_picture(path, render(matte, "cutout"))
        with Image.open(path) as cutout:
            white = Image.new("RGBA", cutout.size, "white")
            over = Image.alpha_composite(white, cutout.convert("RGBA")).getpixel((50, 32))
        assert over is not None
        assert np.abs(np.array(over)[:3] - (227, 217, 207)).max() <= 3
