"""A closer view stays fixed while the subject is well inside it."""

import numpy as np
from numpy.typing import NDArray

from latefusion.images.framing import Box, letterbox
from latefusion.inference.matte import Matte
from latefusion.runtime.planes import Planes
from latefusion.video.held_view import held_views

SIZE = (200, 400)


def framed(alpha: NDArray[np.float32]) -> Matte:
    """A first matte with this alpha, in a network input of the frame's size and padding."""
    frame = letterbox(SIZE, 416)
    small = frame.fit(np.dstack([np.uint8(255) * alpha.astype(np.uint8)] * 3))[
        :, :, 0
    ] / np.float32(255)
    planes = Planes(small, small, small, small)
    return Matte(np.zeros((*SIZE, 3), np.uint8), alpha, planes, frame)


def seen(left: int, side: int = 40) -> Matte:
    """A square subject whose top is at row 60."""
    alpha = np.zeros(SIZE, np.float32)
    alpha[60 : 60 + side, left : left + side] = 1
    return framed(alpha)


def views(*mattes: Matte) -> list[Box | None]:
    found = list(held_views((matte, number) for number, matte in enumerate(mattes)))
    assert [number for _, _, number in found] == list(range(len(mattes)))
    return [box for _, box, _ in found]


def test_the_view_is_fixed_for_small_moves_and_follows_large_ones() -> None:
    first, second, third, fourth = views(seen(100), seen(104), seen(96), seen(150))
    assert first == second == third
    assert first is not None
    assert fourth is not None
    assert first.left < 100 < 140 < first.right
    assert fourth.left < 150 < 190 < fourth.right
    assert fourth != first


def test_the_view_comes_closer_when_the_subject_becomes_small() -> None:
    near, far = views(seen(100, 90), seen(120, 30))
    assert near is not None
    assert far is not None
    assert far.right - far.left < 0.6 * (near.right - near.left)


def test_a_subject_that_fills_the_frame_gets_no_closer_view() -> None:
    assert views(framed(np.ones(SIZE, np.float32))) == [None]


def test_the_view_is_kept_while_the_subject_is_missing_for_a_frame() -> None:
    nobody = framed(np.zeros(SIZE, np.float32))
    before, none, after = views(seen(100), nobody, seen(102))
    assert before == none == after
    assert views(nobody) == [None]
