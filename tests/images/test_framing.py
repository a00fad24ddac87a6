from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefusion.errors import LatefusionError
from latefusion.images import framing
from latefusion.images.framing import check_side, cover, cuts, into, letterbox, scales


@pytest.mark.parametrize(
    ("photo", "inner", "outer"),
    [
        ((800, 600), (512, 384), (512, 384)),  # no padding where none is needed
        ((600, 800), (384, 512), (384, 512)),
        ((700, 1000), (358, 512), (384, 512)),
        ((512, 512), (512, 512), (512, 512)),
        ((100, 50), (512, 256), (512, 256)),
        ((1, 1), (512, 512), (512, 512)),
        ((1, 10000), (1, 512), (32, 512)),
        ((9000, 12000), (384, 512), (384, 512)),
    ],
)
def test_the_network_input_is_the_smallest_that_fits(
    photo: tuple[int, int], inner: tuple[int, int], outer: tuple[int, int]
) -> None:
    box = letterbox(photo, 512)
    assert (box.inner, box.outer) == (inner, outer)


def test_the_photo_is_centred_and_its_edge_repeated() -> None:
    image = np.zeros((20, 64, 3), np.uint8)
    image[0], image[-1] = (255, 0, 0), (0, 0, 255)
    fitted = letterbox((20, 64), 64).fit(image)
    assert fitted.shape == (32, 64, 3)
    np.testing.assert_array_equal(fitted[6:26], image)
    assert (fitted[:7] == (255, 0, 0)).all()
    assert (fitted[25:] == (0, 0, 255)).all()


@settings(deadline=None)  # the first call loads OpenCV's code
@given(
    height=st.integers(1, 400), width=st.integers(1, 400), side=st.sampled_from([32, 64, 160, 512])
)
def test_fit_and_restore_keep_the_size_and_place_of_any_photo(
    height: int, width: int, side: int
) -> None:
    box = letterbox((height, width), side)
    assert all(length % 32 == 0 and length >= 32 for length in box.outer)
    assert all(0 <= out - inner < 32 for inner, out in zip(box.inner, box.outer, strict=True))
    ramp = np.linspace(0, 200, width) + np.linspace(0, 50, height)[:, None]
    image = np.repeat(np.rint(ramp)[:, :, None], 3, axis=2).astype(np.uint8)
    fitted = box.fit(image)
    assert fitted.shape == (*box.outer, 3)
    restored = box.restore(np.asarray(fitted[:, :, 0] / 255, np.float32))
    assert restored.shape == (height, width)
    rows, columns = (min(pair) for pair in zip(box.inner, box.photo, strict=True))
    coarse = 200 / columns * (width > 1) + 50 / rows * (height > 1)  # a coarse pixel of the ramp
    tolerance = 0.02 + 2 * coarse / 255
    np.testing.assert_allclose(restored, image[:, :, 0] / 255, atol=tolerance)


def test_restored_planes_stay_in_range() -> None:
    checker = (np.indices((32, 32)).sum(axis=0) % 2).astype(np.float32)
    restored = letterbox((150, 150), 32).restore(checker)
    assert restored.min() == 0
    assert restored.max() == 1


@pytest.mark.parametrize(("side", "right"), [(500, 512), (1, 32), (0, 32), (-5, 32)])
def test_an_invalid_side_is_refused_with_a_valid_one(side: int, right: int) -> None:
    with pytest.raises(LatefusionError, match=f"size {side} is not a multiple of 32; use {right}$"):
        check_side(side)


def test_a_side_above_the_limit_is_refused() -> None:
    with pytest.raises(LatefusionError, match="size 4096 is too large; use 2048 or less"):
        check_side(4096)
    assert check_side(2048) == 2048


def test_cover_crops_a_wide_image_around_its_centre() -> None:
    image = np.zeros((10, 40, 3), np.uint8)
    image[:, 15:25] = (0, 200, 0)
    image[:, :15] = (200, 0, 0)
    assert (cover(image, (20, 20)) == (0, 200, 0)).mean() > 0.95


def test_cover_crops_a_high_image_around_its_centre() -> None:
    image = np.zeros((60, 10, 3), np.uint8)
    image[25:35] = (0, 0, 99)
    covered = cover(image, (5, 5))
    assert covered.shape == (5, 5, 3)
    assert (covered == (0, 0, 99)).all()


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1)])
def test_cover_fills_extreme_sizes(size: tuple[int, int]) -> None:
    assert cover(np.full((7, 9, 3), 5, np.uint8), size).shape == (*size, 3)


@pytest.mark.parametrize(
    ("photo", "outer", "inner"),
    [
        ((600, 800), (512, 512), (384, 512)),
        ((800, 600), (512, 512), (512, 384)),
        ((600, 800), (384, 512), (384, 512)),
        ((1000, 400), (384, 512), (384, 154)),
        ((3, 5), (384, 512), (307, 512)),
        ((1, 10000), (512, 512), (1, 512)),
        ((10000, 1), (64, 512), (64, 1)),
        ((5, 2), (32, 64), (32, 13)),  # 12.8
        ((64, 1), (32, 64), (32, 1)),  # 0.5 is rounded to even, and to 1 at least
        ((64, 3), (32, 64), (32, 2)),  # 1.5
        ((64, 5), (32, 64), (32, 2)),  # 2.5
    ],
)
def test_a_photo_is_as_large_as_fits_into_a_fixed_input(
    photo: tuple[int, int], outer: tuple[int, int], inner: tuple[int, int]
) -> None:
    box = into(photo, outer)
    assert (box.photo, box.inner, box.outer) == (photo, inner, outer)


@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.tuples(st.sampled_from([32, 320, 512]), st.sampled_from([32, 384, 640])),
)
def test_no_photo_exceeds_a_fixed_input(photo: tuple[int, int], outer: tuple[int, int]) -> None:
    box = into(photo, outer)
    assert all(1 <= part <= whole for part, whole in zip(box.inner, outer, strict=True))
    assert any(part == whole for part, whole in zip(box.inner, outer, strict=True))


def test_a_huge_photo_is_resized_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    box = letterbox((300, 200), 64)
    whole = box.fit(image)
    monkeypatch.setattr(framing, "HUGE", 1000)
    np.testing.assert_allclose(box.fit(image), whole, atol=1e-3)


def test_levels_are_not_rounded_on_the_way_to_the_network() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[::4, ::4] = 100  # a sixteenth of each square
    np.testing.assert_allclose(letterbox((64, 64), 32).fit(image)[::2, ::2], 25, atol=1e-3)
    image[::4, ::4] = 101
    np.testing.assert_allclose(letterbox((64, 64), 32).fit(image)[::2, ::2], 25.25, atol=1e-3)


@pytest.mark.parametrize(
    ("seen", "last", "expected"),
    [
        (1.0, 1.0, [1]),
        (1.6, 1.0, [1]),
        (0.64, 1.0, [1]),
        (0.5, 1.0, [1]),
        (0.25, 1.0, [0.5, 1]),
        (0.1, 1.0, [0.1**0.75, 0.1**0.5, 0.1**0.25, 1]),
        (0.1, 0.2, [0.2]),
        (0.3, 0.3, [0.3]),
    ],
)
def test_passes_double_the_scale_at_most(seen: float, last: float, expected: list[float]) -> None:
    assert scales(seen, last) == pytest.approx(expected)


@pytest.mark.parametrize(("length", "count"), [(10, 1), (640, 1), (641, 2), (1200, 3), (6000, 11)])
def test_cuts_cover_a_length_and_overlap(length: int, count: int) -> None:
    found = cuts(length, 640, 102)
    assert len(found) == count
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert len({end - start for start, end in found}) == 1
    assert found[0][1] <= 640
    for (_, end), (start, _) in pairwise(found):
        assert end - start >= 101
