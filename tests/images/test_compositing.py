from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from PIL import Image

from latefusion.errors import ImageError
from latefusion.images.compositing import (
    as_background,
    blurred,
    compose,
    parse_blur,
    read_background,
)
from latefusion.images.spaces import convert
from tests.helpers.corpus import encode
from tests.helpers.profiles import ADOBE_RGB, DISPLAY_P3, PROPHOTO, as_srgb, difference


def plane(level: float, size: tuple[int, int] = (4, 6)) -> np.ndarray:
    return np.full(size, level, np.float32)


def colours(colour: tuple[int, int, int], size: tuple[int, int] = (4, 6)) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


def test_the_fringe_colour() -> None:
    """Check (200, 180, 160) at alpha 128 over white, as photographers do."""
    white = np.full((1, 1, 3), 255, np.uint8)
    found = compose(colours((200, 180, 160)), plane(128 / 255), white)
    assert np.abs(found.astype(int) - (227, 217, 207)).max() <= 1


def test_linear_light_mixes_as_light_does() -> None:
    black = np.zeros((1, 1, 3), np.uint8)
    half = compose(colours((255, 255, 255)), plane(0.5), black, linear=True)
    assert np.abs(half.astype(int) - 188).max() <= 1  # half the light, not half the level
    for level in (0.0, 1.0):
        given = colours((3, 130, 251))
        mixed = compose(given.copy(), plane(level), black, linear=True)
        assert np.array_equal(mixed, given if level else np.zeros_like(given))


@pytest.mark.parametrize(
    ("text", "radius"), [("blur", 0), ("blur:7.5", 7.5), ("white", None), ("blurry.jpg", None)]
)
def test_blur_is_distinguished_from_colours_and_files(text: str, radius: float | None) -> None:
    assert parse_blur(text) == radius


@pytest.mark.parametrize("text", ["blur:", "blur:x", "blur:-1", "blur:0", "blur:nan", "blur:1e9"])
def test_a_malformed_blur_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ImageError, match="is not a blur; use blur, or"):
        parse_blur(text)


def test_the_blur_shows_no_halo_of_the_subject() -> None:
    """A red subject on a blue wall: close to it the blurred wall is as blue as elsewhere."""
    image, alpha = colours((0, 0, 200), (120, 160)), plane(0, (120, 160))
    image[40:80, 60:100], alpha[40:80, 60:100] = (255, 0, 0), 1
    behind = blurred(image, alpha, 8).astype(int)
    assert np.abs(behind - (0, 0, 200)).max() <= 2


def test_the_blur_evens_out_by_its_radius() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    spreads = [blurred(image, plane(0, (200, 300)), radius).std() for radius in (1, 4, 16)]
    assert image.std() > 2 * spreads[0] > 4 * spreads[1] > 8 * spreads[2]


def test_a_photo_that_is_all_subject_can_be_blurred() -> None:
    image = colours((10, 200, 30), (50, 40))
    assert np.abs(blurred(image, plane(1, (50, 40)), 0).astype(int) - (10, 200, 30)).max() <= 2


def test_an_image_is_read_once_and_fills(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (9, 8, 7)).save(tmp_path / "room.png")
    found = as_background(str(tmp_path / "room.png"))
    (tmp_path / "room.png").unlink()
    assert np.array_equal(read_background(found, (30, 30)), colours((9, 8, 7), (30, 30)))
    assert as_background("#1e90ff") == "#1e90ff"
    assert as_background("blur:3") == "blur:3"


def test_a_background_comes_into_the_space_of_the_photo() -> None:
    """#00b140 on Display P3; a ProPhoto picture on it, and an array, which is sRGB."""
    green = np.array([[[0, 177, 64]]], np.uint8)
    stored = np.ascontiguousarray(np.tile(convert(green, None, PROPHOTO), (30, 20, 1)))
    picture = Image.fromarray(stored)
    picture.info["icc_profile"] = PROPHOTO
    for given in ("#00b140", (0, 177, 64), np.tile(green, (30, 20, 1)), encode(picture), picture):
        found = read_background(given, (6, 8), DISPLAY_P3)
        assert difference(as_srgb(found, DISPLAY_P3), green).max() < 2
        assert np.abs(found.astype(int) - green).max() > 10


def test_linear_light_is_that_of_the_photo() -> None:
    """Half of the light is level 255 * 0.5^(1 / gamma)."""
    black = np.zeros((1, 1, 3), np.uint8)
    for icc, gamma in ((PROPHOTO, 1.8), (ADOBE_RGB, 2.2)):
        half = compose(colours((255, 255, 255)), plane(0.5), black, linear=True, icc=icc)
        assert np.abs(half - 255 * 0.5 ** (1 / gamma)).max() <= 1


def test_an_invalid_background_is_refused_in_one_line() -> None:
    for text in ("nowhere.png", "#12"):
        with pytest.raises(ImageError, match="is neither a colour nor a file"):
            as_background(text)
    with pytest.raises(ImageError, match="is not a colour"):
        as_background("#11223344")


def test_a_small_blur_of_a_large_photo_takes_seconds() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    alpha = plane(0, (1500, 2000))
    alpha[500:900, 500:700] = 1
    start = perf_counter()
    blurred(image, alpha, 1)
    assert perf_counter() - start < 10  # it took 76 s
