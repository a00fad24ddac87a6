"""Measures of an alpha: cases counted by hand, a slow reference, and general properties."""

import pickle

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from latefusion.errors import DataError
from latefusion.metrics import (
    MEASURES,
    WHOLE_IMAGE,
    Measure,
    conn,
    dtssd,
    grad,
    iou,
    mad,
    measures_in,
    measures_in_band,
    mse,
    outline_band,
    sad,
    unknown,
)
from tests.helpers.slow_metrics import (
    slow_band,
    slow_conn,
    slow_grad,
    slow_iou,
    slow_mad,
    slow_mse,
    slow_sad,
)

Plane = NDArray[np.float32]
TRUE = np.array([[0.0, 0.0, 0.4, 1.0], [0.0, 0.6, 1.0, 1.0]], np.float32)
SLOW = {
    "sad": slow_sad,
    "mse": slow_mse,
    "mad": slow_mad,
    "grad": slow_grad,
    "conn": slow_conn,
    "iou": slow_iou,
}


def flat(value: float, size: tuple[int, int] = (4, 6)) -> Plane:
    return np.full(size, value, np.float32)


# Sums and means


def test_sad_mse_and_mad_count_every_pixel() -> None:
    pred = TRUE.copy()
    pred[0, 0], pred[1, 3] = 0.5, 0.75
    assert sad(pred, TRUE) == pytest.approx((0.5 + 0.25) / 1000)
    assert mse(pred, TRUE) == pytest.approx((0.25 + 0.0625) / 8)
    assert mad(pred, TRUE) == pytest.approx((0.5 + 0.25) / 8)


def test_dtssd_counts_changes_of_the_error_and_not_a_constant_one() -> None:
    wrong = TRUE + np.float32(0.25)
    assert dtssd(wrong, TRUE, wrong, TRUE) == 0
    pred = TRUE.copy()
    pred[0, 0], pred[1, 3] = 0.5, 0.75
    assert dtssd(pred, TRUE, TRUE, TRUE) == pytest.approx(((0.25 + 0.0625) / 8) ** 0.5)
    assert dtssd(TRUE, TRUE, pred, TRUE) == pytest.approx(((0.25 + 0.0625) / 8) ** 0.5)
    later = TRUE * np.float32(0.5)
    assert dtssd(later, later, TRUE, TRUE) == 0
    left = np.zeros(TRUE.shape, np.bool_)
    left[:, 0] = True
    assert dtssd(pred, TRUE, TRUE, TRUE, left) == pytest.approx((0.25 / 2) ** 0.5)


def test_mad_of_a_large_plane_does_not_lose_small_differences() -> None:
    true = np.zeros((3000, 3000), np.float32)
    assert mad(true + np.float32(1e-3), true) == pytest.approx(1e-3, rel=1e-6)


def test_iou_cuts_both_mattes_at_the_threshold() -> None:
    pred = np.array([[0.9, 0.0, 0.6, 1.0], [0.0, 0.2, 1.0, 1.0]], np.float32)
    assert iou(pred, TRUE) == pytest.approx(3 / 6)
    assert iou(pred, TRUE, threshold=0.3) == pytest.approx(4 / 6)
    assert iou(pred, TRUE, region=np.array([[True] * 4, [False] * 4])) == pytest.approx(1 / 3)


def test_iou_is_one_where_both_are_empty_and_zero_where_one_is() -> None:
    empty = np.zeros_like(TRUE)
    assert iou(empty, empty) == 1
    assert iou(empty, TRUE) == 0
    assert iou(TRUE, empty) == 0


# Grad


def test_grad_of_a_single_point_is_the_norm_of_the_two_kernels() -> None:
    point = flat(0, (11, 14))
    point[5, 6] = 1
    assert grad(point, flat(0, (11, 14))) == pytest.approx((1 + 1) / 1000)


def test_grad_of_a_missed_edge_adds_the_four_columns_on_either_side() -> None:
    edge = flat(0, (5, 20))
    edge[:, 8:] = 1
    columns = 2.6620**2 + 1.5562**2 + 0.5275**2 + 0.0963**2
    assert grad(flat(0, (5, 20)), edge) == pytest.approx(5 * 2 * columns / 1000, rel=1e-3)


def test_grad_does_not_stretch_a_faint_matte() -> None:
    edge = flat(0, (5, 20))
    edge[:, 8:] = 1
    assert grad(0.5 * edge, edge) == pytest.approx(grad(flat(0, (5, 20)), edge) / 4)


def test_grad_ignores_the_sign_of_an_edge() -> None:
    noisy = np.random.default_rng(0).random((9, 12), np.float32)
    assert grad(1 - noisy, noisy) == pytest.approx(0, abs=1e-9)
    assert grad(flat(0.5, (9, 12)), noisy) > 0.01


# Conn


def test_conn_counts_a_hole_and_an_island_pixel_by_pixel() -> None:
    true = flat(0, (6, 12))
    true[:, :6] = 1
    hole, island = true.copy(), true.copy()
    hole[2, 3] = 0
    island[1:3, 9] = 0.7
    assert conn(hole, true) == pytest.approx(1 / 1000)
    assert conn(island, true) == pytest.approx(2 * 0.7 / 1000)


def test_conn_forgives_a_small_difference_where_connected_only() -> None:
    pred, true = flat(0, (6, 12)), flat(0, (6, 12))
    pred[:, :6] = true[:, :6] = 1
    true[2, 6], pred[2, 6] = 0.4, 0.5  # touches the subject
    assert conn(pred, true) == 0
    true[2, 9], pred[2, 9] = 0.4, 0.5  # stands alone
    assert conn(pred, true) == pytest.approx(0.1 / 1000)


def test_conn_does_not_connect_diagonal_pixels() -> None:
    pred, true = flat(0), flat(0)
    pred[:3, :3] = true[:3, :3] = 1
    true[3, 3], pred[3, 3] = 0.4, 0.5
    assert conn(pred, true) == pytest.approx(0.1 / 1000)


def test_conn_never_readmits_a_pixel_that_has_left() -> None:
    pred = np.array([[0.15, 0.15, 0.15, 0, 0.7, 0.7]], np.float32)
    true = np.array([[0.15, 0.15, 0.15, 0, 0.72, 0.72]], np.float32)
    # The right part is the smaller one at 0.1 and the largest from 0.2 on: its level stays 0.
    assert conn(pred, true) == pytest.approx(2 * 0.02 / 1000, rel=1e-5)


def test_conn_lets_every_pixel_leave_where_no_pixel_reaches_the_threshold() -> None:
    assert conn(flat(0.7), flat(0.95)) == pytest.approx(24 * 0.25 / 1000)


@pytest.mark.parametrize("tenth", range(1, 9))
def test_conn_counts_an_exact_tenth_as_reached(tenth: int) -> None:
    assert conn(flat(tenth / 10), flat(tenth / 10 + 0.14)) == 0


@pytest.mark.parametrize("level", [51, 102, 153, 204])
def test_conn_counts_an_exact_tenth_of_an_8_bit_matte_as_reached(level: int) -> None:
    pred = flat(level) / np.float32(255)
    assert conn(pred, pred + np.float32(0.14)) == 0


def test_conn_counts_all_of_several_largest_components() -> None:
    pred, true = flat(0, (3, 7)), flat(0, (3, 7))
    true[:, :3] = true[:, 4:] = 0.4
    pred[:, :3] = pred[:, 4:] = 0.5
    assert conn(pred, true) == 0


# The slow reference


def everywhere(plane: Plane) -> set[tuple[int, int]]:
    return {(int(row), int(column)) for row, column in np.ndindex(*plane.shape)}


def soft_pair(seed: int) -> tuple[Plane, Plane]:
    """Two random mattes of 24 x 31: every third smooth, noisy, or smooth in 8-bit levels."""
    random = np.random.default_rng(seed)
    pred, true = random.random((2, 24, 31), np.float32)
    if seed % 3 == 1:
        return pred, np.clip(pred + random.normal(0, 0.3, pred.shape), 0, 1).astype(np.float32)
    blurred = [cv2.GaussianBlur(plane, (0, 0), 3) - 0.5 for plane in (pred, true)]
    common = cv2.GaussianBlur(random.random((24, 31), np.float32), (0, 0), 4) - 0.45
    pred, true = (np.clip(12 * common + 4 * plane, 0, 1) for plane in blurred)
    if seed % 3 == 2:
        pred, true = (np.rint(plane * 255) / np.float32(255) for plane in (pred, true))
    return pred.astype(np.float32), true.astype(np.float32)


@pytest.mark.parametrize("key", SLOW)
def test_a_measure_agrees_with_its_slow_definition_on_50_soft_mattes(key: str) -> None:
    for seed in range(50):
        pred, true = soft_pair(seed)
        slow = SLOW[key](pred, true, everywhere(true))
        assert WHOLE_IMAGE[key](pred, true) == pytest.approx(slow, abs=1e-6)


@pytest.mark.parametrize("key", SLOW)
def test_a_region_limits_the_sum_but_not_the_filters(key: str) -> None:
    pred, true = soft_pair(7)
    region = np.random.default_rng(0).random(true.shape) < 0.2
    chosen = {(int(row), int(column)) for row, column in np.argwhere(region)}
    measure = measures_in("here", "here", lambda _: region)[f"{key}_here"]
    assert measure(pred, true) == pytest.approx(SLOW[key](pred, true, chosen), abs=1e-6)


@pytest.mark.parametrize("radius", [1, 2.5, 5])
def test_the_band_agrees_with_its_slow_definition(radius: float) -> None:
    for seed in range(6):
        _, true = soft_pair(seed)
        np.testing.assert_array_equal(outline_band(true, radius), slow_band(true, radius))


# Regions


def test_the_band_is_its_radius_wide_on_either_side_of_a_straight_outline() -> None:
    true = flat(0, (5, 40))
    true[:, 18:] = 1
    band = outline_band(true, 10)
    np.testing.assert_array_equal(np.flatnonzero(band[2]), np.arange(8, 28))
    assert (band == band[0]).all()


def test_the_band_round_a_point_is_a_disc() -> None:
    true = flat(0, (15, 18))
    true[7, 8] = 1
    rows, columns = np.ogrid[:15, :18]
    np.testing.assert_array_equal(
        outline_band(true, 5), (rows - 7) ** 2 + (columns - 8) ** 2 <= 5**2
    )


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_there_is_no_band_without_an_outline(value: float) -> None:
    assert not outline_band(flat(value)).any()


def test_unknown_is_every_level_between_0_and_255() -> None:
    trimap = np.array([[0, 1, 128], [200, 254, 255]], np.uint8)
    np.testing.assert_array_equal(unknown(trimap), [[False, True, True], [True, True, False]])


def test_an_empty_region_has_no_mean_and_a_sum_of_zero() -> None:
    measures = measures_in("none", "nothing", lambda true: true > 2)
    scores = {key: measure(1 - TRUE, TRUE) for key, measure in measures.items()}
    assert scores == pytest.approx(
        {
            "sad_none": 0,
            "mse_none": np.nan,
            "mad_none": np.nan,
            "grad_none": 0,
            "conn_none": 0,
            "iou_none": np.nan,
        },
        nan_ok=True,
    )


@pytest.mark.parametrize("measure", WHOLE_IMAGE.values(), ids=list(WHOLE_IMAGE))
def test_different_sizes_are_refused_with_both_sizes(measure: Measure) -> None:
    with pytest.raises(DataError, match=r"\(6, 4\).*\(4, 6\)"):
        measure(flat(0, (6, 4)), flat(0, (4, 6)))
    with pytest.raises(DataError, match=r"\(4, 6, 1\)"):
        measure(flat(0)[..., None], flat(0)[..., None])


def test_a_region_of_another_size_or_of_numbers_is_refused() -> None:
    with pytest.raises(DataError, match=r"\(6, 4\) bool.*\(4, 6\)"):
        mad(flat(0), flat(0), np.ones((6, 4), np.bool_))
    with pytest.raises(DataError, match=r"uint8.*bool"):
        mad(flat(0), flat(0), np.ones((4, 6), np.uint8))


# The measures as a table


def test_the_measures_shown_are_those_of_the_whole_image_and_one_band() -> None:
    assert list(MEASURES) == ["sad", "mse", "mad", "grad", "conn", "iou", "mad_band10"]
    assert all(measure.key == key for key, measure in MEASURES.items())
    assert len({measure.label for measure in MEASURES.values()}) == len(MEASURES)


def test_a_measure_says_its_convention_and_region() -> None:
    line = str(MEASURES["mad_band10"])
    assert line == (
        "MAD (band10): mean of |p - t|; within 10 px of the true outline (t = 0.5); lower is better"
    )


def test_a_band_measure_scores_the_band_alone() -> None:
    true = flat(0, (5, 40))
    true[:, 18:] = 1
    pred = true.copy()
    pred[:, 0] = 1  # far away
    pred[:, 17] = 0.5
    assert measures_in_band(10)["mad_band10"](pred, true) == pytest.approx(0.5 / 20)
    assert measures_in_band(4)["mad_band4"](pred, true) == pytest.approx(0.5 / 8)


def test_a_trimap_makes_measures_of_its_own() -> None:
    trimap = np.array([[0, 0, 128, 128], [0, 128, 255, 255]], np.uint8)
    measures = measures_in("unknown", "unknown region", lambda _: unknown(trimap))
    assert measures["mad_unknown"](flat(0, (2, 4)), TRUE) == pytest.approx((0.4 + 1 + 0.6) / 3)


def test_measures_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(MEASURES))["iou"](TRUE, TRUE) == 1


# General properties

tries = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
sizes = st.tuples(st.integers(1, 9), st.integers(1, 12))
levels = st.one_of(st.integers(0, 20).map(lambda twentieths: twentieths / 20), st.floats(0, 1))


@st.composite
def mattes(draw: st.DrawFn, count: int) -> list[Plane]:
    """Alphas of one size, of multiples of 1/20 or any other values."""
    size = draw(sizes)
    plane = hnp.arrays(np.float64, size, elements=levels).map(lambda p: p.astype(np.float32))
    return [draw(plane) for _ in range(count)]


@tries
@given(mattes(1))
def test_a_matte_is_perfect_against_itself(planes: list[Plane]) -> None:
    (true,) = planes
    scores = {key: measure(true, true) for key, measure in WHOLE_IMAGE.items()}
    assert scores == {"sad": 0, "mse": 0, "mad": 0, "grad": 0, "conn": 0, "iou": 1}


@tries
@given(mattes(2))
def test_a_whole_image_measure_is_symmetric(planes: list[Plane]) -> None:
    pred, true = planes
    for measure in WHOLE_IMAGE.values():
        assert measure(pred, true) == measure(true, pred)


@tries
@given(mattes(2), st.floats(0, 1))
def test_blending_towards_the_truth_never_raises_a_difference(
    planes: list[Plane], weight: float
) -> None:
    pred, true = planes
    blend = ((1 - weight) * pred + weight * true).astype(np.float32)
    for measure in (sad, mse, mad):
        assert measure(blend, true) <= measure(pred, true) + 1e-6


@tries
@given(mattes(1), st.floats(0, 1), st.floats(0, 1))
def test_grad_falls_as_a_faint_matte_fills_up(
    planes: list[Plane], one: float, other: float
) -> None:
    (true,) = planes
    fainter, fuller = sorted([one, other])
    assert grad(np.float32(fuller) * true, true) <= grad(np.float32(fainter) * true, true) + 1e-6


@tries
@given(mattes(2))
def test_flips_and_turns_do_not_matter(planes: list[Plane]) -> None:
    pred, true = planes
    for measure in MEASURES.values():
        expected = pytest.approx(measure(pred, true), abs=1e-9, nan_ok=True)
        assert measure(pred[:, ::-1], true[:, ::-1]) == expected
        assert measure(pred[::-1], true[::-1]) == expected
        assert measure(pred.T, true.T) == expected
