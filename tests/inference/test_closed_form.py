from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from latefusion import LatefusionError, MattingOptions, Predictor
from latefusion.images.framing import Size, letterbox
from latefusion.images.levels import Plane
from latefusion.inference import closed_form
from latefusion.inference.closed_form import (
    OUTLINE,
    _free,
    _solve_in_parts,
    _windows,
    solve_outline,
)
from latefusion.inference.matte import Matte
from latefusion.runtime.planes import Planes


def strands(size: Size = (90, 120)) -> tuple[NDArray[np.uint8], Plane]:
    """A reddish subject at the left with strands at its edge, on a shaded bluish ground."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    edge = width / 2 + 6 * np.sin(y / 3) + np.where(y % 9 < 2, 9, 0)
    alpha = np.clip((edge - x) / 2 + 0.5, 0, 1)
    subject = np.dstack([200 + 0.2 * y, 90 + 0.3 * x, np.full_like(x, 60)])
    ground = np.dstack([30 + 0.3 * x, 60 + 0.2 * y, np.full_like(x, 160)])
    photo = alpha[:, :, None] * subject + (1 - alpha[:, :, None]) * ground
    return np.rint(photo).astype(np.uint8), alpha


def blurred(alpha: Plane, sigma: float = 4) -> Plane:
    """The rough outline that a network sees."""
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), sigma))


def as_matte(image: NDArray[np.uint8], alpha: Plane, side: int) -> Matte:
    frame = letterbox((alpha.shape[0], alpha.shape[1]), side)
    small = np.zeros(frame.outer, np.float32)
    return Matte(image, alpha, Planes(small, small, small, small), frame)


def test_strands_that_were_blurred_come_back() -> None:
    image, true = strands()
    known = blurred(true)
    solved = _solve_in_parts(image, known)
    assert np.abs(solved - true).mean() < 0.35 * np.abs(known - true).mean()


def test_what_was_sure_stays() -> None:
    image, true = strands()
    known = blurred(true)
    solved = _solve_in_parts(image, known)
    stays = _free(known) == 0
    assert 0.5 < stays.mean() < 1
    np.testing.assert_array_equal(solved[stays], known[stays])


def test_the_laplacian_is_that_of_equation_12() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (6, 8, 3), np.uint8)
    windows = _windows(image, np.ones((6, 8), np.uint8), OUTLINE.epsilon)
    assert windows is not None
    assert len(windows.pixels) == 48
    expected = np.zeros((48, 48))
    colours = image.reshape(-1, 3) / 255
    for top in range(4):
        for left in range(6):
            members = [8 * (top + y) + left + x for y in range(3) for x in range(3)]
            off = colours[members] - colours[members].mean(axis=0)
            inverse = np.linalg.inv(off.T @ off / 9 + OUTLINE.epsilon / 9 * np.eye(3))
            part = np.eye(9) - (1 + off @ inverse @ off.T) / 9
            expected[np.ix_(members, members)] += part
    for column in (0, 9, 27):
        unit = np.zeros(48, np.float32)
        unit[column] = 1
        np.testing.assert_allclose(windows.laplacian(unit), expected[column], atol=2e-5)
    np.testing.assert_allclose(windows.diagonal(), np.diag(expected), atol=2e-5)


def test_even_haze_is_no_outline() -> None:
    haze = np.tile(np.linspace(0, 1, 200, dtype=np.float32), (40, 1))  # 0.02 over 5 pixels
    assert not _free(haze).any()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 200, 3), np.uint8)
    np.testing.assert_array_equal(_solve_in_parts(image, haze), haze)


def test_parts_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    image, true = strands((150, 170))
    known = blurred(true)
    whole = _solve_in_parts(image, known)
    monkeypatch.setattr(closed_form, "PART", 80)
    parts = _solve_in_parts(image, known)
    assert np.abs(parts - whole).max() < 0.2  # each is stopped early by itself
    assert np.abs(parts - whole).mean() < 0.001


def test_a_large_photo_is_solved_from_coarse_to_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    image, true = strands((360, 480))
    small = cv2.resize(true, (60, 45), interpolation=cv2.INTER_AREA)
    known = np.asarray(cv2.resize(small, (480, 360), interpolation=cv2.INTER_LINEAR), np.float32)
    sizes: list[tuple[int, ...]] = []

    def seen(image: NDArray[np.uint8], alpha: Plane) -> Plane:
        sizes.append(alpha.shape)
        return _solve_in_parts(image, alpha)

    monkeypatch.setattr(closed_form, "_solve_in_parts", seen)
    found = as_matte(image, known, 60)
    solved = solve_outline(found).alpha
    assert sizes == [(90, 120), (180, 240), (360, 480)]
    assert np.abs(solved - true).mean() < 0.7 * np.abs(known - true).mean()
    sizes.clear()
    monkeypatch.setattr(closed_form, "FINEST", 240)
    coarser = solve_outline(found).alpha
    assert sizes == [(90, 120), (180, 240)]
    assert coarser.shape == (360, 480)
    sizes.clear()
    solve_outline(replace(found, frame=letterbox((360, 480), 480)))
    assert sizes == [(360, 480)]  # what the network has seen in full is solved in full


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (2, 2), (30, 2), (3, 3)])
def test_tiny_photos_are_left_whole(size: Size) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    alpha = rng.random(size, np.float32)
    solved = solve_outline(as_matte(image, alpha, 64)).alpha
    assert solved.shape == size
    assert np.isfinite(solved).all()


@pytest.mark.parametrize("level", [0, 128])
def test_colours_that_tell_nothing_leave_the_outline_where_it_is(level: int) -> None:
    _, true = strands()
    image = np.full((*true.shape, 3), level, np.uint8)
    solved = _solve_in_parts(image, blurred(true))
    np.testing.assert_allclose(solved.mean(), blurred(true).mean(), atol=0.02)
    assert np.abs(solved - blurred(true)).mean() < 0.02


def test_it_is_what_a_predictor_does_unless_told_otherwise(toy_model: Path) -> None:
    image = np.full((200, 300, 3), (0, 0, 128), np.uint8)
    image[:, :150] = (255, 255, 128)
    options = MattingOptions(refine="off"), MattingOptions()
    off, on = (Predictor(toy_model, each)(image).alpha for each in options)
    true = image[:, :, 0] / 255
    assert np.abs(on - true).mean() < 0.5 * np.abs(off - true).mean()
    with pytest.raises(LatefusionError, match="unknown refine 'guided'; choose closed-form or off"):
        Predictor(toy_model, MattingOptions(refine="guided"))  # type: ignore[arg-type]
