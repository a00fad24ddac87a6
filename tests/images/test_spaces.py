import struct
import tracemalloc

import numpy as np
import pytest

from latefusion.images.spaces import convert, light_of, space_of
from tests.helpers.corpus import SRGB, cmyk_profile
from tests.helpers.profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    PROPHOTO,
    SRGB_CURVE,
    WIDE,
    as_srgb,
    difference,
    gamma,
    parametric,
    rgb_profile,
    table,
)

GREEN = np.array([[[0, 177, 64]]], np.uint8)
PRIMARIES = (0.64, 0.33), (0.21, 0.71), (0.15, 0.06), (0.3127, 0.329)


def asked() -> np.ndarray:
    """Colours of all kinds, (N, 1, 3), the greys and the darkest among them."""
    levels = (0, 36, 64, 177, 255)
    return np.array(np.meshgrid(levels, levels, levels), np.uint8).reshape(3, -1).T[:, None]


@pytest.mark.parametrize("name", WIDE)
def test_the_colour_that_was_asked_for_is_shown(name: str) -> None:
    for colour in asked():
        found = convert(colour[None], None, WIDE[name])
        assert (
            difference(as_srgb(found, WIDE[name]), colour[None]).max() < 1.1
        )  # 8 bits of sRGB add 0.1


@pytest.mark.parametrize("name", WIDE)
def test_a_picture_looks_the_same_in_another_space(name: str) -> None:
    picture = np.tile(asked(), (1, 2, 1))
    found = convert(picture, None, WIDE[name])
    assert found.shape == picture.shape
    assert difference(as_srgb(found, WIDE[name]), picture).max() < 2  # rounded twice
    there = convert(found, WIDE[name], DISPLAY_P3)
    assert difference(as_srgb(there, DISPLAY_P3), picture).max() < 3


def test_a_colour_that_the_space_does_not_hold_becomes_the_nearest() -> None:
    green = np.array([[[0, 255, 0]]], np.uint8)
    assert convert(green, PROPHOTO, None).tolist() == [[[0, 255, 0]]]


def test_white_stays_white_and_black_black() -> None:
    for icc in WIDE.values():
        for level in (0, 255):
            plain = np.full((1, 1, 3), level, np.uint8)
            assert (convert(plain, None, icc) == level).all()


def test_all_profiles_of_srgb_are_one_space() -> None:
    other = rgb_profile((0.64, 0.33), (0.3, 0.6), (0.15, 0.06), (0.3127, 0.329), SRGB_CURVE)
    colours = asked()
    for icc in (SRGB, other):
        assert convert(colours, None, icc) is colours
        assert convert(colours, icc, None) is colours


def test_a_damaged_profile_leaves_the_colour_as_it_is() -> None:
    assert space_of(cmyk_profile()) is None
    assert convert(GREEN, None, DISPLAY_P3[:200]) is GREEN
    assert convert(GREEN, b"nonsense", None) is GREEN


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (gamma(1.8), table(1.8, 4096)),
        (gamma(2.2), parametric(0, 2.2)),
        (gamma(2.2), parametric(1, 2.2, 1, 0)),
        (gamma(2.2), parametric(2, 2.2, 1, 0, 0)),
        (SRGB_CURVE, parametric(4, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0, 0)),
        (b"curv" + bytes(8), gamma(1)),
    ],
)
def test_a_curve_is_the_same_in_all_its_forms(one: bytes, other: bytes) -> None:
    found, same = (space_of(rgb_profile(*PRIMARIES, curve)) for curve in (one, other))
    assert found is not None
    assert same is not None
    assert np.abs(found.curves - same.curves).max() < 5e-3


@pytest.mark.parametrize("curve", [b"", b"curv", b"wrong" * 9, parametric(1, 1, 0, 1), gamma(0)])
def test_a_damaged_curve_makes_no_space(curve: bytes) -> None:
    assert space_of(rgb_profile(*PRIMARIES, curve)) is None


@pytest.mark.parametrize("icc", [None, ADOBE_RGB, PROPHOTO], ids=["sRGB", "Adobe RGB", "ProPhoto"])
def test_levels_come_back_from_linear_light(icc: bytes | None) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1) * np.ones(3, np.uint8)
    light = light_of(icc)
    assert np.abs(light.encode(light.decode(levels)) - levels).max() < 0.1


def test_a_profile_whose_tags_overlap_takes_no_memory() -> None:
    """A copy of each of these tags would take 80 GB, or 100 MB."""
    for count in (80_000, 100):
        names = b"".join(struct.pack(">III", number, 1, 2**31) for number in range(count))
        icc = (bytes(128) + struct.pack(">I", count) + names).ljust(1_000_000, b"\0")
        tracemalloc.start()
        assert space_of(icc) is None
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


def test_a_curve_of_more_samples_than_littlecms_takes_is_damaged() -> None:
    for count, sound in ((0x7FFF, True), (0x8000, False)):
        assert (space_of(rgb_profile(*PRIMARIES, table(2.2, count))) is not None) is sound


def test_a_primary_outside_srgb_does_not_shift_the_green() -> None:
    """A Display P3 whose curve is a plain gamma."""
    icc = rgb_profile((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), (0.3127, 0.329), gamma(2.2))
    found = convert(GREEN, None, icc)
    assert found.tolist() != GREEN.tolist()
    assert difference(as_srgb(found, icc), GREEN).max() < 1
