import math

import numpy as np
import pytest

from latefusion.evaluation.scores import Row, source_of
from latefusion.evaluation.summary import interval, spearman, summarise
from latefusion.metrics import MEASURES

MAD_AND_IOU = {key: MEASURES[key] for key in ("mad", "iou")}


def row(key: str, mad: float, confidence: float | None = None) -> Row:
    scores = {"mad": mad, "iou": 1 - mad}
    return Row(key, source_of(key), 4, 10, scores, confidence, None if confidence is None else 0.5)


@pytest.mark.parametrize(
    ("a", "b", "rho"),
    [
        ([1, 2, 30], [5, 6, 7], 1),
        ([1, 2, 30], [7, 6, 5], -1),
        ([1, 2, 2, 3], [1, 2, 3, 4], 4.5 / math.sqrt(4.5 * 5)),  # ranks 1, 2.5, 2.5, 4
        ([1, 2, math.nan, 3], [3, 2, 9, 1], -1),
        ([1, 1, 1], [1, 2, 3], math.nan),
        ([1], [2], math.nan),
    ],
)
def test_spearman(a: list[float], b: list[float], rho: float) -> None:
    assert spearman(a, b) == pytest.approx(rho, nan_ok=True)


def test_the_interval_holds_the_mean_and_shrinks_with_more_photos() -> None:
    values = np.random.default_rng(3).exponential(size=800)
    few, many = interval(values[:50].tolist()), interval(values.tolist())
    for found in (few, many):
        assert found.low < found.mean < found.high
    assert many.high - many.low < 0.4 * (few.high - few.low)


def test_the_interval_is_that_of_theory_for_a_coin() -> None:
    found = interval([0.0, 1.0] * 200)
    half_width = 1.96 * 0.5 / math.sqrt(400)
    assert found.low == pytest.approx(0.5 - half_width, abs=0.006)
    assert found.high == pytest.approx(0.5 + half_width, abs=0.006)


def test_one_photo_has_no_interval() -> None:
    found = interval([0.25])
    assert (found.mean, found.photos) == (0.25, 1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(interval([0.25, math.nan]).low)


def test_a_nan_is_left_out_of_the_mean() -> None:
    assert interval([0.25, math.nan, 0.25]) == (0.25, 0.25, 0.25, 2)
    assert interval([math.nan]) == pytest.approx((math.nan, math.nan, math.nan, 0), nan_ok=True)


def test_a_summary_has_the_sources_and_all_photos_last() -> None:
    rows = [row("b-1", 0.4, 0.9), row("a-1", 0.1, 0.95), row("b-2", 0.2, 0.8)]
    summary = summarise(rows, MAD_AND_IOU)
    assert list(summary) == ["a", "b", "all"]
    assert [group.photos for group in summary.values()] == [1, 2, 3]
    assert summary["b"].scores["mad"].mean == pytest.approx(0.3)
    assert summary["b"].spearman == pytest.approx(-1)  # the worse one is the surer one
    assert summary["all"].spearman == pytest.approx(0.5)
    assert summary["all"].doubt_share == 0.5


def test_rows_without_confidence_have_no_correlation() -> None:
    group = summarise([row("b-1", 0.4), row("b-2", 0.3)], MAD_AND_IOU)["all"]
    assert (group.spearman, group.doubt_share) == (None, None)
