from dataclasses import replace

import numpy as np
import pytest

from latefusion.images.exif import Exif, Value
from latefusion.images.metadata import NOTHING, Metadata
from latefusion.inference.outputs import KINDS, Look, box_of, render
from tests.helpers.mattes import red_on_green
from tests.helpers.profiles import DISPLAY_P3, WIDE, as_srgb, difference


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_picture_of_levels(kind: str) -> None:
    picture = render(red_on_green(), kind)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape[0] == 40
    wide = {"branches": 3, "preview": 4}.get(kind, 1)
    assert picture.pixels.shape[1] == wide * 60


def test_planes_are_written_as_they_are() -> None:
    matte = red_on_green()
    np.testing.assert_allclose(render(matte, "doubt").pixels / 255, matte.doubt, atol=0.002)
    branches = np.hsplit(render(matte, "branches").pixels / 255, 3)
    for found, name in zip(branches, ("fg", "bg", "blend"), strict=True):
        np.testing.assert_allclose(found, getattr(matte, name), atol=0.002)
        np.testing.assert_array_equal(render(matte, name).pixels / 255, found)


def test_alpha_in_sixteen_bits_is_finer() -> None:
    matte = red_on_green()
    deep = render(matte, "alpha", Look(bits=16)).pixels
    assert deep.dtype == np.uint16
    np.testing.assert_allclose(deep / 65535, matte.alpha, atol=1 / 65535)


def test_the_cutout_over_a_background_is_opaque() -> None:
    pixels = render(red_on_green(), "cutout", Look(background="#0000ff")).pixels
    assert pixels.shape == (40, 60, 3)
    assert pixels[20, 59].tolist() == [0, 0, 255]


def test_the_foreground_is_the_subjects_colour_without_alpha() -> None:
    pixels = render(red_on_green(), "foreground").pixels
    assert pixels.shape == (40, 60, 3)
    assert np.abs(pixels[20, 19].astype(int) - (220, 10, 10)).max() < 40  # a soft pixel


def test_a_crop_holds_the_subject_and_its_margin() -> None:
    matte = red_on_green()  # the subject ends at column 22 or so
    alpha, cutout = (
        render(matte, kind, Look(crop=True, margin=0.1)).pixels for kind in ("alpha", "cutout")
    )
    assert alpha.shape == cutout.shape[:2] == (40, 26)
    assert render(matte, "preview", Look(crop=True, margin=0.1)).pixels.shape[1] == 240


def test_the_box_of_a_subject() -> None:
    alpha = np.zeros((50, 80), np.float32)
    assert box_of(alpha, 0.5) == (slice(0, 50), slice(0, 80))
    alpha[20:30, 40:60] = 1
    assert box_of(alpha, 0) == (slice(20, 30), slice(40, 60))
    rows, columns = box_of(alpha, 0.25)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (15, 35, 35, 65)
    assert alpha[box_of(alpha, 9)].shape == alpha.shape


def test_profile_and_resolution_travel() -> None:
    matte = replace(red_on_green(), icc=b"profile", dpi=(300.0, 300.0))
    assert render(matte, "cutout").icc == b"profile"
    assert render(matte, "alpha").icc is None  # an RGB profile does not fit grey
    assert render(matte, "alpha").dpi == (300.0, 300.0)


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("linear", [False, True])
def test_a_photo_with_a_profile_is_put_on_the_colour_that_was_asked_for(
    name: str, linear: bool
) -> None:
    matte = replace(red_on_green(), icc=WIDE[name])
    picture = render(matte, "cutout", Look(background="#00b140", linear=linear))
    shown = as_srgb(np.asarray(picture.pixels[:, 40:], np.uint8), picture.icc)
    assert difference(shown, np.full_like(shown, (0, 177, 64))).max() < 1
    np.testing.assert_array_equal(picture.pixels[:, :15], matte.image[:, :15])


def test_the_panels_of_a_preview_are_green_and_white_in_any_space() -> None:
    picture = render(replace(red_on_green(), icc=DISPLAY_P3), "preview")
    shown = as_srgb(picture.pixels, picture.icc)[20]
    for column, colour in ((170, (0, 177, 64)), (230, (255, 255, 255))):
        assert difference(shown[column], np.array(colour, np.uint8)) < 1


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_goes_into_all_kinds_unless_it_is_stripped(kind: str) -> None:
    about = Metadata(Exif({0x8298: Value(2, b"me\0")}))
    matte = replace(red_on_green(), about=about)
    assert render(matte, kind).about == about
    assert render(matte, kind, Look(strip=True)).about == NOTHING
