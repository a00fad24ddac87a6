from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latefusion import LatefusionError, MattingOptions, Predictor
from latefusion.images.framing import Box, Letterbox, letterbox
from latefusion.inference.closeup import subject_box
from latefusion.inference.detail import Detail
from latefusion.runtime.planes import Planes

SIZE = 400, 600


def small_subject() -> NDArray[np.uint8]:
    """A small subject with fine stripes, as the toy network sees one: red and green."""
    image = np.full((*SIZE, 3), (0, 0, 128), np.uint8)
    image[200:320:4, 300:380] = image[201:320:4, 300:380] = (255, 255, 128)
    image[202:320:4, 300:380] = image[203:320:4, 300:380] = (190, 190, 128)
    return image


def test_a_small_subject_is_seen_in_detail(toy_model: Path) -> None:
    image = small_subject()
    truth = image[:, :, 0] / 255
    off = MattingOptions(refine="off")
    whole, auto = (
        Predictor(toy_model, options)(image) for options in (replace(off, framing="whole"), off)
    )
    assert not whole.details
    assert len(auto.details) == 1
    errors = [np.abs(found.alpha - truth).mean() for found in (whole, auto)]
    assert errors[1] < 0.7 * errors[0]
    np.testing.assert_allclose(auto.fg, auto.alpha, atol=1e-5)  # all planes are seen closer
    np.testing.assert_allclose(auto.bg, 1 - auto.alpha, atol=1e-5)
    assert auto.doubt.max() < 1e-5


def test_a_large_subject_is_seen_once(toy_model: Path) -> None:
    image = np.full((*SIZE, 3), (0, 0, 128), np.uint8)
    image[40:, 50:550] = (255, 255, 128)
    assert not Predictor(toy_model)(image).details


@pytest.mark.parametrize("colour", [(0, 0, 128), (255, 255, 128)])
def test_no_subject_or_nothing_else_is_seen_once(
    toy_model: Path, colour: tuple[int, int, int]
) -> None:
    assert not Predictor(toy_model)(np.full((*SIZE, 3), colour, np.uint8)).details


def test_a_box_holds_all_parts_but_specks() -> None:
    frame = letterbox((800, 1200), 512)
    alpha = np.zeros(frame.outer, np.float32)
    inside = frame.inside(alpha)
    assert subject_box(alpha, frame) is None
    inside[100:150, 100:140] = 1
    inside[120:140, 300:330] = 1  # another person
    inside[5:8, 5:8] = 1  # a speck
    box = subject_box(alpha, frame)
    assert box is not None
    room, scale = 0.2 * 230, 1200 / 512
    expected = ((100 - room) * scale, (150 + room) * scale, (100 - room) * scale)
    assert box[:3] == pytest.approx(expected, abs=3)
    assert box.right == pytest.approx((330 + room) * scale, abs=3)


def test_a_closer_view_that_contradicts_the_first_is_not_taken(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(toy_model)
    network = predictor.file.load()
    calls: list[tuple[int, ...]] = []

    def forgetful(self: object, image: NDArray[np.float32]) -> Planes:
        calls.append(image.shape)
        found = original(network, image)
        return found if len(calls) == 1 else Planes(*[np.zeros_like(found.fg)] * 4)  # type: ignore[arg-type]

    original = type(network).__call__
    monkeypatch.setattr(type(network), "__call__", forgetful)
    found = predictor(small_subject())
    assert len(calls) == 3  # the whole, closer, and the second look
    assert not found.details
    assert found.alpha.max() > 0.7


def test_a_closer_view_fades_in_and_reaches_the_photos_own_edges() -> None:
    whole = np.zeros((100, 120), np.float32)
    box = Box(50, 100, 20, 70)  # its lower side is the photo's
    frame = Letterbox((50, 50), (50, 50), (50, 50))
    ones = np.ones((50, 50), np.float32)
    Detail(box, frame, Planes(ones, ones, ones, ones)).paste(whole, ones)
    assert not whole[:50].any()
    assert whole[99, 45] == 1
    assert 0 < whole[50, 45] < whole[52, 45] < 1
    assert whole[75, 20] == pytest.approx(whole[75, 69])
    assert (whole[60:, 30:60] == 1).all()


def test_a_wrong_framing_is_one_line() -> None:
    with pytest.raises(LatefusionError, match="unknown framing 'near'; choose auto or whole"):
        Predictor(options=MattingOptions(framing="near"))  # type: ignore[arg-type]
