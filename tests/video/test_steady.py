"""Flicker is removed; motion and lasting changes are kept."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from latefusion.images.framing import letterbox
from latefusion.inference.matte import Matte
from latefusion.metrics import dtssd
from latefusion.runtime.planes import Planes
from latefusion.video.steady import steadied

SIZE = (120, 200)


def texture() -> NDArray[np.float64]:
    rng = np.random.default_rng(4)
    coarse = rng.uniform(0, 255, (30, 80, 3))
    return np.asarray(np.kron(coarse, np.ones((5, 5, 1))), np.float64)  # (150, 400, 3)


def seen(image: NDArray[np.float64], alpha: NDArray[np.float64]) -> Matte:
    plane = alpha.astype(np.float32)
    planes = Planes(plane, plane, 1 - plane, plane)
    return Matte(image.astype(np.uint8), plane, planes, letterbox(SIZE, 224))


def moving(number: int, step: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A moving square with its own texture, 60 pixels wide, in front of a fixed background."""
    behind = texture()[: SIZE[0], : SIZE[1]].copy()
    left = 20 + step * number
    behind[30:90, left : left + 60] = texture()[60:120, 200:260]
    alpha = np.zeros(SIZE)
    alpha[30:90, left : left + 60] = 1
    return behind, alpha


def alphas(mattes: list[Matte], smooth: float = 0.8) -> list[NDArray[np.float32]]:
    found = list(steadied(((matte, number) for number, matte in enumerate(mattes)), smooth))
    assert [number for _, number in found] == list(range(len(mattes)))
    return [matte.alpha for matte, _ in found]


def test_an_error_of_a_single_frame_is_removed() -> None:
    image, alpha = moving(0, 0)
    blinking = [alpha.copy() for _ in range(7)]
    blinking[3][10:20, 150:170] = 0.6
    blinking[3][50:60, 40:60] = 0.4
    found = alphas([seen(image, each) for each in blinking])
    assert np.abs(found[3] - alpha).max() < 0.15


def test_a_lasting_change_is_kept_from_its_first_frame_on() -> None:
    image, alpha = moving(0, 0)
    gone = np.zeros(SIZE)
    found = alphas([seen(image, each) for each in [alpha] * 4 + [gone] * 4])
    assert np.abs(found[3] - alpha).max() < 0.02
    assert np.abs(found[4] - gone).max() < 0.02


@pytest.mark.parametrize("step", [0, 2, 7])
def test_noise_is_reduced_without_ghosts_behind_motion(step: int) -> None:
    rng = np.random.default_rng(0)
    frames = [moving(number, step) for number in range(8)]
    truth = [0.2 + 0.6 * alpha for _, alpha in frames]  # so that noise stays in 0..1
    noise = [np.kron(rng.normal(0, 0.05, (12, 20)), np.ones((10, 10))) for _ in frames]
    noisy = [alpha + more for alpha, more in zip(truth, noise, strict=True)]
    found = alphas([seen(image, each) for (image, _), each in zip(frames, noisy, strict=True)])
    assert flicker(found, truth) < 0.5 * flicker(noisy, truth)
    before, after = (
        np.array([np.abs(plane - alpha) for plane, alpha in zip(clip, truth, strict=True)])[1:-1]
        for clip in (noisy, found)
    )
    assert after.mean() < 0.8 * before.mean()
    outside = np.array(truth)[1:-1] < 0.5
    assert after[outside].mean() < 0.8 * before[outside].mean()


def flicker(found: Sequence[NDArray[np.floating]], truth: Sequence[NDArray[np.float64]]) -> float:
    """Mean dtSSD of all frames but the first and the last, which are not changed."""
    planes = [[plane.astype(np.float32) for plane in clip[1:-1]] for clip in (found, truth)]
    pairs = list(zip(*planes, strict=True))
    return float(np.mean([dtssd(*now, *before) for before, now in pairwise(pairs)]))


def test_nothing_is_carried_over_a_cut() -> None:
    image, alpha = moving(0, 0)
    other = texture()[-SIZE[0] :, -SIZE[1] :]
    mattes = [seen(image, alpha)] * 3 + [seen(other, np.zeros(SIZE))] * 3
    found = alphas(mattes)
    assert found[3].max() < 0.1
    assert np.abs(found[2] - alpha).max() < 0.1


def test_zero_changes_nothing() -> None:
    image, alpha = moving(0, 0)
    mattes = [seen(image, alpha * level) for level in (1, 0.5, 1)]
    for before, after in zip(mattes, alphas(mattes, 0), strict=True):
        assert after is before.alpha


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_clips_pass_through(count: int) -> None:
    image, alpha = moving(0, 0)
    assert len(alphas([seen(image, alpha)] * count)) == count


def test_a_tiny_frame_is_large_enough_for_the_flow() -> None:
    plane = np.full((3, 5), 0.5, np.float32)
    tiny = Matte(
        np.zeros((3, 5, 3), np.uint8),
        plane,
        Planes(plane, plane, plane, plane),
        letterbox((3, 5), 32),
    )
    assert alphas([tiny] * 3)[1].shape == (3, 5)
