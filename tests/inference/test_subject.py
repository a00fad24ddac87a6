import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from latefusion.errors import LatefusionError
from latefusion.inference.subject import fill_holes, keep_subject, parse_subject, unmet


def blobs(size: tuple[int, int] = (120, 200)) -> NDArray[np.float32]:
    """A large soft blob at the left, a small one at the right."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / size[0]
    found = [np.clip((r - np.hypot(x - cx, y - 0.5)) / 0.1 + 0.5, 0, 1) for cx, r in BLOBS]
    return np.maximum(*found).astype(np.float32)


BLOBS = ((0.4, 0.3), (1.3, 0.15))  # x of the middle, radius, in heights
ALPHAS = arrays(np.float32, (12, 15), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))


@pytest.mark.parametrize("size", [(120, 200), (1500, 2500)])
def test_the_largest_keeps_its_soft_edge_and_the_other_goes(size: tuple[int, int]) -> None:
    alpha = blobs(size)
    kept = keep_subject(alpha, "largest")
    half = round(0.9 * size[0])
    assert np.array_equal(kept[:, :half], alpha[:, :half])
    assert not kept[:, half + 9 :].any()


def test_a_point_chooses_by_what_is_nearest() -> None:
    alpha = blobs()
    for x in (156, 199):  # in the small blob, and beside it
        kept = keep_subject(alpha, (x, 60))
        assert not kept[:, :100].any()
        assert np.array_equal(kept[:, 115:], alpha[:, 115:])


@pytest.mark.parametrize("size", [(120, 200), (1500, 2500)])
def test_a_point_that_separates_nothing_is_said(size: tuple[int, int]) -> None:
    alpha, k = blobs(size), size[0] // 120
    alone = np.where(np.arange(size[1]) < size[1] / 2, alpha, 0).astype(np.float32)
    assert unmet(alpha, (156 * k, 60 * k)) == ()
    assert "no subject at" in unmet(alpha, (199 * k, 5))[0]
    assert "connected; nothing was removed" in unmet(alone, (48 * k, 60 * k))[0]
    assert "no subject at" in unmet(alone, (156 * k, 60 * k))[0]
    assert unmet(alone, "largest") == unmet(np.zeros_like(alpha), (3, 3)) == ()


def test_a_point_outside_is_one_line() -> None:
    with pytest.raises(LatefusionError, match="outside of the 200 x 120 photo"):
        keep_subject(blobs(), (200, 5))


def test_all_leaves_all() -> None:
    assert keep_subject(blobs(), "all") is not None
    assert np.array_equal(keep_subject(blobs(), "all"), blobs())


@pytest.mark.parametrize(
    ("text", "which"), [("all", "all"), ("largest", "largest"), ("3, 4", (3, 4))]
)
def test_a_subject_is_parsed(text: str, which: object) -> None:
    assert parse_subject(text) == which


@pytest.mark.parametrize("text", ["", "me", "3", "3,4,5", "-1,2", "a,b", "1.5,2"])
def test_a_wrong_subject_is_one_line(text: str) -> None:
    with pytest.raises(LatefusionError, match=r"unknown subject .*; use all, largest or X,Y"):
        parse_subject(text)


def test_a_small_hole_is_filled_and_a_large_or_open_one_is_not() -> None:
    alpha = np.zeros((200, 200), np.float32)
    alpha[20:200, 20:180] = 1  # a subject that the photo's lower edge cuts
    alpha[60:70, 60:70] = 0.2  # a hole
    alpha[100:150, 60:120] = 0  # between arm and body
    alpha[160:200, 140:145] = 0  # open below
    filled = fill_holes(alpha)
    expected = alpha.copy()
    expected[60:70, 60:70] = 1
    assert np.array_equal(filled, expected)


def test_a_hole_loses_its_soft_rim_too() -> None:
    y, x = np.mgrid[0:200, 0:200]
    alpha = np.clip(np.hypot(x - 100, y - 100) / 4 - 1, 0, 1).astype(np.float32)
    assert fill_holes(alpha).min() > 0.97


@given(ALPHAS, st.sampled_from(["largest", (3, 4)]))
def test_keeping_a_subject_adds_nothing(alpha: NDArray[np.float32], which: str) -> None:
    kept = keep_subject(alpha, which)
    assert ((kept == alpha) | (kept == 0)).all()
    assert not (alpha > 0.5).any() or (kept > 0.5).any()


@given(ALPHAS)
def test_filling_takes_nothing_and_is_done_once(alpha: NDArray[np.float32]) -> None:
    filled = fill_holes(alpha)
    assert (filled >= alpha).all()
    assert filled.max() <= 1
