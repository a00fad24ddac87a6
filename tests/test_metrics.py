"""The measures of a matte, on cases counted by hand."""

import numpy as np
import pytest

from latefusion.metrics import iou, mad

TRUE = np.array([[0.0, 0.0, 0.4, 1.0], [0.0, 0.6, 1.0, 1.0]], np.float32)


def test_mad_is_the_mean_over_all_pixels() -> None:
    pred = TRUE.copy()
    pred[0, 0], pred[1, 3] = 0.5, 0.75
    assert mad(pred, TRUE) == pytest.approx((0.5 + 0.25) / 8)
    assert mad(TRUE, TRUE) == 0


def test_mad_of_a_large_plane_does_not_lose_small_differences() -> None:
    true = np.zeros((3000, 3000), np.float32)
    assert mad(true + np.float32(1e-3), true) == pytest.approx(1e-3, rel=1e-6)


def test_iou_cuts_both_mattes_at_the_threshold() -> None:
    pred = np.array([[0.9, 0.0, 0.6, 1.0], [0.0, 0.2, 1.0, 1.0]], np.float32)
    assert iou(pred, TRUE) == pytest.approx(3 / 6)
    assert iou(pred, TRUE, threshold=0.3) == pytest.approx(4 / 6)


def test_iou_is_one_where_both_are_empty_and_zero_where_one_is() -> None:
    empty = np.zeros_like(TRUE)
    assert iou(empty, empty) == 1
    assert iou(empty, TRUE) == 0
    assert iou(TRUE, empty) == 0
