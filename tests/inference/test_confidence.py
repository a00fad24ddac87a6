from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latefusion import Matte, MattingOptions, Predictor
from latefusion.images.framing import letterbox
from latefusion.images.levels import Plane
from latefusion.images.reading import read_photo
from latefusion.inference.confidence import (
    SENTENCES,
    confidence_of,
    evidence,
    has_subject,
    parts_of,
)
from latefusion.inference.outputs import Look, render
from latefusion.inference.predictor import predict
from tests.helpers.mattes import whole


def standing(height: int = 120, width: int = 160) -> Plane:
    """A subject on the left, sharp."""
    alpha = np.zeros((height, width), np.float32)
    alpha[20:, 10:70] = 1
    return alpha


def seen(alpha: Plane, second: Plane | None) -> Matte:
    matte = whole(np.zeros((*alpha.shape, 3), np.uint8), alpha, alpha, 1 - alpha, alpha)
    return replace(matte, second=second)


def with_arm() -> Plane:
    """A second look that sees an arm, too."""
    second = standing()[::2, ::2].copy()
    second[30:50, 34:60] = 1
    return second


def test_a_second_look_that_sees_the_same_agrees() -> None:
    assert evidence(standing(), standing()[::2, ::2]) == (0, 1)


def test_a_second_look_that_sees_more_or_less_disagrees_by_its_share() -> None:
    outline = standing()[::2, ::2].copy()
    outline[10:, 35:36] = 1
    for second, agreement in (
        (outline, 1500 / 1550),
        (with_arm(), 1500 / (1500 + 20 * 25)),  # lost, perhaps
        (standing()[::2, ::2] * (np.arange(80) < 20), 15 / 30),  # kept, perhaps
        (np.zeros((60, 80), np.float32), 0),
    ):
        assert evidence(standing(), second).agreement == pytest.approx(agreement)


def test_confidence_falls_where_the_looks_disagree_and_with_soft_pixels() -> None:
    gone = np.zeros((60, 80), np.float32)
    confidences = [
        seen(standing(), second).confidence for second in (standing()[::2, ::2], with_arm(), gone)
    ]
    assert confidences == sorted(confidences, reverse=True)
    assert confidences[0] > 0.95
    assert confidences[1] < confidences[0] - 0.05
    assert confidences[2] < 0.2
    soft = np.clip(standing(), 0.1, 0.9)
    assert seen(soft, soft[::2, ::2]).confidence < 0.2


def test_a_photo_without_a_subject_is_a_result_of_its_own() -> None:
    alpha = np.zeros((300, 400), np.float32)
    alpha[7:13, 90:99] = 1  # a speck: 54 of 120,000 pixels
    matte = seen(alpha, alpha[::2, ::2])
    assert not matte.subject_found
    assert matte.confidence == 0
    assert matte.notes == ("no-subject",)
    assert "no subject" in repr(matte)


def test_a_small_subject_is_one() -> None:
    alpha = np.zeros((300, 400), np.float32)
    alpha[7:17, 90:100] = 1
    assert has_subject(alpha)
    assert not has_subject(alpha * 0.5)


def test_crop_leaves_a_photo_without_a_subject_whole() -> None:
    alpha = np.zeros((300, 400), np.float32)
    alpha[7:9, 90:99] = 1
    empty = seen(alpha, None)
    assert render(empty, "alpha", Look(crop=True)).pixels.shape == (300, 400)
    found = seen(standing(), None)
    assert render(found, "alpha", Look(crop=True, margin=0)).pixels.shape == (100, 60)


def test_separate_parts_are_counted_but_not_specks() -> None:
    alpha = standing()
    assert parts_of(alpha) == 1
    alpha[90:110, 120:150] = 1
    assert parts_of(alpha) == 2
    alpha[10:14, 150:154] = 1  # 16 pixels beside 6000
    assert parts_of(alpha) == 2
    assert parts_of(np.zeros((30, 40), np.float32)) == 0
    assert seen(alpha, alpha[::2, ::2]).notes == ("parts",)


def test_every_note_has_a_sentence() -> None:
    gone = np.zeros((60, 80), np.float32)
    alpha = standing()
    alpha[90:110, 120:150] = 1
    assert set(SENTENCES) == {"no-subject", *seen(alpha, gone).notes}


def left_half(height: int, width: int) -> np.ndarray:
    """White, a subject for the toy network, on the left; black elsewhere."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 3] = 255
    return image


@pytest.mark.parametrize("subject", ["all", "largest"])
def test_the_second_look_lies_on_the_photo(toy_model: Path, subject: str) -> None:
    matte = Predictor(toy_model, MattingOptions(subject=subject))(left_half(90, 160))
    assert matte.second is not None
    assert matte.second.shape == (18, 32)  # half of the toy's input of 64
    assert matte.second[:, :9].min() > 0.9
    assert matte.second[:, 13:].max() < 0.1


def test_what_an_option_drops_is_no_dispute(toy_model: Path) -> None:
    image = left_half(90, 160)
    image[30:60, 120:140] = 255
    plain = Predictor(toy_model)
    kept = plain.sharing(MattingOptions(subject="largest"))(image)
    assert kept.alpha[45, 130] == 0
    assert kept.second is not None
    assert kept.second[9, 26] < 0.1
    assert plain(image).notes == ("parts",)
    assert "parts" not in kept.notes


def test_a_photos_own_transparency_is_no_dispute(toy_model: Path) -> None:
    rgba = np.dstack([left_half(90, 160), np.full((90, 160), 255, np.uint8)])
    rgba[40:, :, 3] = 0
    matte = Predictor(toy_model)(rgba)
    agreement = evidence(matte.alpha, matte.second).agreement
    assert agreement is not None
    assert agreement > 0.95


def test_a_turned_photo_has_its_second_look_turned(toy_model: Path) -> None:
    options = MattingOptions(rotate_search=True)
    matte = Predictor(toy_model, options)(left_half(90, 160))
    assert matte.second is not None
    assert matte.second.shape[0] < matte.second.shape[1]


def test_one_look_alone_gives_a_confidence(toy_model: Path) -> None:
    predictor = Predictor(toy_model)
    photo = read_photo(left_half(90, 160))
    matte = predict(predictor.file.load(), photo, letterbox((90, 160), 64))
    assert matte.second is None
    assert 0 < matte.confidence <= 1
    assert confidence_of(evidence(matte.alpha, None)) == matte.confidence


def test_a_person_on_an_evenly_transparent_photo_is_one(toy_model: Path) -> None:
    rgba = np.dstack([left_half(90, 160), np.full((90, 160), 100, np.uint8)])
    matte = Predictor(toy_model)(rgba)
    assert matte.alpha.max() < 0.5
    assert matte.subject_found
    assert "no-subject" not in matte.notes


def test_a_photo_without_a_subject_has_a_warning(toy_model: Path) -> None:
    matte = Predictor(toy_model)(np.zeros((90, 160, 3), np.uint8))
    assert matte.warnings == ("no subject found; the result is empty, or nearly so",)
    assert Predictor(toy_model)(left_half(90, 160)).warnings == ()
