import io
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from latefusion.errors import ImageError
from latefusion.images import formats, reading
from latefusion.images.formats import formats_of
from latefusion.images.reading import PHOTO_SUFFIXES, read_photo

# 3 x 4 pixels, every row and column different: red grows to the right, green downwards.
PIXELS = np.zeros((3, 4, 3), np.uint8)
PIXELS[:, :, 0] = np.arange(4) * 60
PIXELS[:, :, 1] = np.arange(3)[:, None] * 90
PIXELS[:, :, 2] = 17


def encode(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def test_path_bytes_pil_and_array_give_the_same_pixels(tmp_path: Path) -> None:
    picture = Image.fromarray(PIXELS)
    path = tmp_path / "ü photo.png"
    picture.save(path)
    for source in (path, str(path), path.read_bytes(), picture, PIXELS):
        photo = read_photo(source)
        np.testing.assert_array_equal(photo.image, PIXELS)
        assert photo.opacity is None


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, PIXELS),
        (2, PIXELS[:, ::-1]),
        (3, PIXELS[::-1, ::-1]),
        (4, PIXELS[::-1]),
        (5, PIXELS.transpose(1, 0, 2)),
        (6, PIXELS.transpose(1, 0, 2)[::-1]),  # turned camera: the top row is the right side
        (7, PIXELS.transpose(1, 0, 2)[::-1, ::-1]),
        (8, PIXELS.transpose(1, 0, 2)[:, ::-1]),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_the_orientation_is_applied_once(
    orientation: int, stored: NDArray[np.uint8], kind: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)
    np.testing.assert_array_equal(read_photo(data).image, PIXELS)
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(read_photo(opened).image, PIXELS)


def test_grey_becomes_rgb() -> None:
    grey = PIXELS[:, :, 0]
    for source in (grey, Image.fromarray(grey), encode(Image.fromarray(grey))):
        np.testing.assert_array_equal(read_photo(source).image, np.dstack([grey] * 3))


def test_sixteen_bits_become_eight_by_rounding() -> None:
    data = encode(Image.fromarray(np.array([[0, 100, 200, 32768, 65500]], np.uint16)))
    assert read_photo(data).image[0, :, 1].tolist() == [0, 0, 1, 128, 255]


def test_the_photos_own_alpha_is_kept_and_its_colour_too() -> None:
    rgba = np.dstack([PIXELS, np.arange(12, dtype=np.uint8).reshape(3, 4) * 20])
    for source in (rgba, Image.fromarray(rgba), encode(Image.fromarray(rgba))):
        photo = read_photo(source)
        np.testing.assert_array_equal(photo.image, PIXELS)
        assert photo.opacity is not None
        np.testing.assert_allclose(photo.opacity, rgba[:, :, 3] / 255, atol=1e-7)


def test_a_transparent_palette_entry_is_transparent() -> None:
    picture = Image.fromarray(np.array([[0, 1, 1]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 0, 255])
    photo = read_photo(encode(picture, transparency=0))
    assert photo.opacity is not None
    assert photo.opacity.tolist() == [[0, 1, 1]]
    assert photo.image[0, 1].tolist() == [0, 0, 255]


def test_cmyk_becomes_rgb() -> None:
    cyan = Image.new("CMYK", (8, 4), (255, 0, 0, 0))
    pixel = read_photo(encode(cyan, "JPEG")).image[0, 0]
    assert pixel[0] < 30
    assert pixel[1:].min() > 200


def test_only_the_first_frame_of_an_animation_is_read() -> None:
    first, second = Image.new("RGB", (4, 3), "red"), Image.new("RGB", (4, 3), "blue")
    data = encode(first, "GIF", save_all=True, append_images=[second])
    assert read_photo(data).image[0, 0].tolist() == [255, 0, 0]


def test_the_profile_of_an_rgb_photo_is_kept() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read_photo(encode(Image.fromarray(PIXELS), icc_profile=profile)).icc == profile
    assert read_photo(encode(Image.new("CMYK", (8, 4)), "JPEG", icc_profile=profile)).icc is None


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_pillows_own_limits_do_not_apply(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("RGB", (120, 90)), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    monkeypatch.setattr(reading, "NEAR_PILLOWS_LIMIT", 1000)
    assert read_photo(data).image.shape == (90, 120, 3)
    assert Image.MAX_IMAGE_PIXELS == 2000


def test_a_decompression_bomb_is_refused_before_decoding() -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 20000, 13000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    with pytest.raises(ImageError, match="20000 x 13000 pixels, more than the 250 million"):
        read_photo(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 9) + b"IDAT")


def write_text(path: Path) -> None:
    path.write_text("This is not a photo, whatever its name says.\n" * 20)


def write_half(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    data = encode(Image.fromarray(noise), "JPEG")
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (write_text, "is not an image"),
        (write_half, "is damaged or cut short"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0"), "is not an image|is damaged"),
        (lambda path: path.mkdir(), "is a folder; name the photos in it"),
        (lambda path: None, "does not exist"),
        (lambda path: path.symlink_to(path), "cannot be opened"),
    ],
)
def test_an_unreadable_file_is_refused_in_one_line(
    tmp_path: Path, make: Callable[[Path], object], problem: str
) -> None:
    path = tmp_path / "me.jpg"
    make(path)
    with pytest.raises(ImageError, match=f"me.jpg {problem}") as caught:
        read_photo(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "a\0b.jpg"])
def test_an_impossible_name_is_an_image_error(name: str) -> None:
    with pytest.raises(ImageError, match="cannot be opened"):
        read_photo(name)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32, not uint8"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\); use \(H, W, 3\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "is empty"),
    ],
)
def test_an_array_of_another_shape_or_type_is_refused(array: Any, problem: str) -> None:
    with pytest.raises(ImageError, match=problem):
        read_photo(array)


def test_a_source_of_another_type_is_refused() -> None:
    with pytest.raises(ImageError, match="int is not an image; give a path"):
        read_photo(3)  # type: ignore[arg-type]


def test_floating_point_pixels_are_refused_with_a_cure() -> None:
    with pytest.raises(ImageError, match="has F pixels; save it as RGB"):
        read_photo(encode(Image.fromarray(PIXELS[:, :, 0].astype(np.float32)), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "TGA"])
def test_damaged_files_give_pixels_or_an_image_error(kind: str) -> None:
    rng = np.random.default_rng(7)
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encode(Image.fromarray(PIXELS).resize((40, 30)), kind, exif=exif)
    for _ in range(200):
        broken = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 300), rng.integers(1, 6)):
            broken[place] = rng.integers(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, about the damage
            try:
                assert read_photo(bytes(broken[: rng.integers(1, len(whole) + 1)])).image.ndim == 3
            except ImageError as error:
                assert "\n" not in str(error)  # noqa: PT017  there need not be an error


def test_only_known_formats_are_tried() -> None:
    assert set(formats._available()) <= set(formats.FORMATS)
    with pytest.raises(ImageError, match="is not an image"):
        read_photo(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


def test_every_suffix_that_pillow_registers_for_a_format_we_read_marks_a_photo() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    pillow_heif.register_heif_opener()
    formats_of(b"\xff\xd8\xff", "a.jpg")  # loads the plugins
    for suffix, kind in Image.registered_extensions().items():
        if kind in {*formats.FORMATS, "HEIF", "DIB"} and suffix != ".pfm":
            assert suffix in PHOTO_SUFFIXES, suffix
    assert {".jpg", ".jfif", ".jpe", ".jif", ".hif", ".apng", ".j2k", ".dib"} <= PHOTO_SUFFIXES
    kinds = (PHOTO_SUFFIXES, formats.RAW_SUFFIXES, formats.UNREAD_SUFFIXES)
    assert len(frozenset.union(*kinds)) == sum(map(len, kinds))


@pytest.mark.parametrize("suffix", [".jfif", ".apng", ".j2k", ".jpx", ".pgm", ".tga", ".avif"])
def test_a_photo_begins_like_one_whatever_its_name(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / f"me{suffix}")
    head = (tmp_path / f"me{suffix}").read_bytes()[: formats.HEAD]
    known = suffix not in (".pgm", ".tga")  # whose first bytes other files have, too
    assert formats.begins_like_photo(head) == known


@pytest.mark.parametrize("text", ["BM the car maker", "P1 is a class", "", "{}", "GIF is a format"])
def test_a_text_does_not_begin_like_a_photo(text: str) -> None:
    assert not formats.begins_like_photo(text.encode())


def test_threads_may_share_an_image_that_is_not_loaded() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), np.uint8)
    for kind in ("PNG", "TIFF"):
        data = encode(Image.fromarray(picture), kind)
        for _ in range(4):
            shared = Image.open(io.BytesIO(data))
            with ThreadPoolExecutor(8) as pool:
                for photo in pool.map(read_photo, [shared] * 8):
                    np.testing.assert_array_equal(photo.image, picture)
