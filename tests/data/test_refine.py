"""Refining softens the outline of a mask and nothing else."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from latefusion.data import refine as module
from latefusion.data.refine import is_binary, refine, trimap
from latefusion.images.levels import Plane
from latefusion.inference.closed_form import Fit, solve_where

RED, GREEN = np.array([230, 30, 20.0]), np.array([30, 160, 60.0])


def soft_disc(height: int = 90, width: int = 140) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A red disc left of the middle on green, with a rim 6 px wide, and its alpha 0..255."""
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - height * 0.5, columns - width * 0.3)
    alpha = np.clip((height * 0.3 - distance) / 6 + 0.5, 0, 1)
    image = alpha[:, :, None] * RED + (1 - alpha[:, :, None]) * GREEN
    return np.rint(image).astype(np.uint8), np.rint(alpha * 255).astype(np.uint8)


def mask_of(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.where(alpha > 127, 255, 0).astype(np.uint8)


def error(pred: NDArray[np.uint8], true: NDArray[np.uint8]) -> float:
    return float(np.abs(pred.astype(float) - true).mean())


@pytest.fixture
def wide_band(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_BAND", 6.0)


@pytest.mark.usefixtures("wide_band")
def test_refining_finds_the_soft_rim() -> None:
    image, true = soft_disc()
    pred = refine(image, mask_of(true))
    assert pred.shape == true.shape
    assert pred.dtype == np.uint8
    assert error(pred, true) < 0.4 * error(mask_of(true), true)


@pytest.mark.usefixtures("wide_band")
def test_outside_the_band_nothing_changes() -> None:
    image, true = soft_disc()
    known = trimap(mask_of(true)) != 128
    assert np.array_equal(refine(image, mask_of(true))[known], mask_of(true)[known])


@pytest.mark.usefixtures("wide_band")
def test_a_large_photo_is_solved_smaller_and_keeps_its_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []

    def solve(image: NDArray[np.uint8], alpha: Plane, free: NDArray[np.uint8], fit: Fit) -> Plane:
        sizes.append(image.shape[0] * image.shape[1])
        return solve_where(image, alpha, free, fit)

    image, true = soft_disc(181, 279)
    mask = mask_of(true)
    beside = np.roll(mask, 4, axis=1)  # a mask that the colours contradict up to the band's edge
    known = trimap(beside) != 128
    monkeypatch.setattr(module, "MAX_SOLVED", 5000)
    monkeypatch.setattr(module, "solve_where", solve)
    pred = refine(image, mask)
    assert 4500 < sizes[0] < 5500
    assert error(pred, true) < error(mask, true)
    assert np.array_equal(refine(image, beside)[known], beside[known])


def test_a_mask_is_told_from_a_matte() -> None:
    _, alpha = soft_disc()
    mask = mask_of(alpha)
    resized = cv2.resize(mask, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_LINEAR)
    as_jpeg = cv2.imdecode(cv2.imencode(".jpg", mask)[1], cv2.IMREAD_GRAYSCALE)
    assert is_binary(mask)
    assert is_binary(resized)  # type: ignore[arg-type]
    assert is_binary(as_jpeg)  # type: ignore[arg-type]
    assert not is_binary(alpha)


def test_the_band_grows_with_the_subject() -> None:
    counts = []
    for size in (400, 1600):
        mask = np.zeros((size, size), np.uint8)
        mask[:, : size // 2] = 255  # an outline down the middle; the picture's border is none
        row = trimap(mask)[size // 2]
        counts.append(int((row == 128).sum()))
        assert (trimap(mask) == trimap(mask)[0]).all()
    assert counts == [4, 16]  # twice BAND * sqrt(area), less the two rows that are that far


def test_thin_parts_and_gaps_stay_known_in_the_middle() -> None:
    mask = np.zeros((600, 800), np.uint8)
    mask[100:500, 100:500] = 255
    mask[300:305, 500:700] = 255  # a finger
    mask[300:305, 200:400] = 0  # a gap
    known = trimap(mask)
    assert (known[302, 510:690] == 255).all()
    assert (known[302, 210:390] == 0).all()
    assert (known[300, 510:690] == 128).all()


def test_a_mask_of_one_pixel_does_not_break() -> None:
    image, _ = soft_disc()
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[20, 30] = 255
    assert refine(image, mask)[20, 30] == 255


def test_the_band_is_solved_by_the_equation_of_levin() -> None:
    """Against the full system (PAMI 2008, eq. 12), solved directly."""
    image, true = soft_disc(30, 40)
    image += np.random.default_rng(0).integers(0, 9, image.shape, np.uint8)
    free = (trimap(mask_of(true)) == 128).astype(np.uint8)
    alpha = np.where(free, 0.5, mask_of(true) / 255).astype(np.float32)
    fit = module.FIT
    solved = solve_where(image, alpha.copy(), free, fit)
    exact = directly_solved(image, alpha, free > 0, fit.epsilon)
    np.testing.assert_allclose(solved, np.clip(exact, 0, 1), atol=0.01)
    assert np.abs(exact - alpha)[free > 0].mean() > 0.1


def directly_solved(
    image: NDArray[np.uint8], alpha: Plane, free: NDArray[np.bool_], epsilon: float
) -> NDArray[np.float64]:
    height, width = free.shape
    laplacian = np.zeros((free.size, free.size))
    colours = image.reshape(-1, 3) / 255
    for top in range(height - 2):
        for left in range(width - 2):
            members = [width * (top + y) + left + x for y in range(3) for x in range(3)]
            off = colours[members] - colours[members].mean(axis=0)
            inverse = np.linalg.inv(off.T @ off / 9 + epsilon / 9 * np.eye(3))
            part = np.eye(9) - (1 + off @ inverse @ off.T) / 9
            laplacian[np.ix_(members, members)] += part
    unknown, solved = free.reshape(-1), alpha.reshape(-1).astype(np.float64)
    right = -laplacian[np.ix_(unknown, ~unknown)] @ solved[~unknown]
    solved[unknown] = np.linalg.solve(laplacian[np.ix_(unknown, unknown)], right)
    return solved.reshape(height, width)
