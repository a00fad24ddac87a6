from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latefusion import MattingOptions, Predictor
from latefusion.images.framing import Box
from latefusion.inference.tiles import _boxes, _share
from latefusion.runtime.planes import Planes
from latefusion.runtime.runtimes import OnnxNetwork

SIZE = 500, 700


def portrait() -> NDArray[np.uint8]:
    """A subject at the left whose edge is soft, and finer than the toy network's first look."""
    image = np.full((*SIZE, 3), (0, 0, 128), np.uint8)
    image[:, :300] = (255, 255, 128)
    for row in range(0, SIZE[0], 8):  # hair
        image[row : row + 4, 300:312] = (255, 255, 128)
    image[:, 300:312][::2] //= 2
    return image


def predictor(model: Path, tiles: bool = True) -> Predictor:
    """One that looks once, and then at tiles."""
    return Predictor(model, MattingOptions(framing="whole", tiles=tiles, refine="off"))


def test_the_outline_is_seen_in_the_photos_own_pixels(toy_model: Path) -> None:
    image = portrait()
    truth = image[:, :, 0] / 255
    whole, tiled = (predictor(toy_model, tiles)(image) for tiles in (False, True))
    assert not whole.details
    last = tiled.details[-1]
    assert last.frame.inner == last.frame.photo  # pixel by pixel
    outline = np.s_[20:-20, 290:322]
    errors = [np.abs(found.alpha - truth)[outline].mean() for found in (whole, tiled)]
    assert errors[1] < 0.5 * errors[0]
    np.testing.assert_array_equal(tiled.alpha[:, 400:], whole.alpha[:, 400:])  # nothing soft
    np.testing.assert_allclose(tiled.fg[outline], tiled.alpha[outline], atol=1e-3)
    assert tiled.doubt[outline].max() < 1e-3


def test_a_photo_of_the_networks_own_size_is_seen_once(toy_model: Path) -> None:
    image = portrait()[:56, 270:340]
    assert not predictor(toy_model)(image).details


def test_a_tile_that_contradicts_what_is_known_does_not_count(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = portrait()
    expected = predictor(toy_model, tiles=False)(image).alpha
    original, calls = OnnxNetwork.__call__, []

    def forgetful(self: OnnxNetwork, image: NDArray[np.float32]) -> Planes:
        calls.append(image.shape)
        found = original(self, image)
        return (
            found
            if len(calls) == 1
            else Planes(1 - found.alpha, 1 - found.fg, 1 - found.bg, 1 - found.blend)
        )

    monkeypatch.setattr(OnnxNetwork, "__call__", forgetful)
    found = predictor(toy_model)(image)
    assert len(calls) > 2
    assert np.abs(found.alpha - expected).max() < 0.01


def test_a_tile_counts_where_alpha_is_soft_only() -> None:
    known = np.zeros((60, 80), np.float32)
    known[:, :30] = 1
    known[:, 30] = 0.5
    share = _share(known, known)
    assert share[30, 30] == 1
    assert not share[:, :20].any()
    assert not share[:, 50:].any()
    assert _share(known, known + np.float32(0.3))[30, 30] < 1e-5


def test_tiles_without_a_soft_pixel_are_left_out() -> None:
    alpha = np.zeros((100, 250), np.float32)
    alpha[40:60, 240:] = 1
    alpha[50, 239] = 0.5
    assert list(_boxes(alpha, 100)) == [Box(0, 100, 156, 250)]
    alpha[50, 239] = 0
    assert not list(_boxes(alpha, 100))
