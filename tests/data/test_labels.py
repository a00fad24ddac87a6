"""Masks of labels are told from alphas, however faint, and mended or refused by name."""

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from latefusion.data.labels import (
    ANY,
    LabelsWarning,
    alpha_of,
    deep_labels,
    label_alpha,
    labels_in,
    listed,
    palette_labels,
)
from latefusion.errors import DataError

Levels = NDArray[np.uint8]

Y, X = np.mgrid[:60, :96]
DISTANCE = np.hypot(X - 30, Y - 33)  # from a place left of the middle
INSIDE = DISTANCE < 20
RIM = np.abs(DISTANCE - 20) < 2.5
SOFT = np.clip((26 - DISTANCE) / 12, 0, 1)
NOISE = np.random.default_rng(3)


def levels(values: NDArray[np.generic]) -> Levels:
    return np.rint(values).astype(np.uint8)


def voc(label: int, rim: NDArray[np.bool_] = RIM) -> Levels:
    return levels(np.where(rim, 255, INSIDE * label))


TWO = levels(np.where(X > 70, 1, INSIDE * 15))
TINY = levels(np.where((abs(X - 30) < 5) & (abs(Y - 33) < 5), 255, 0))
TINY[31:35, 28:32] = 15


@pytest.mark.parametrize("label", [1, 2, 3, 15, 63, 100, 127])
def test_one_label_becomes_an_alpha_with_a_word_that_names_the_folder(label: int) -> None:
    mask = levels(INSIDE * label)
    with pytest.warns(LabelsWarning, match=rf"set/deep: masks with 0 and the label {label} are"):
        alpha = alpha_of(mask, "set/deep/a.png")
    assert np.array_equal(alpha, INSIDE * 255)
    assert alpha.dtype == np.uint8


@pytest.mark.parametrize("label", [1, 15])
def test_a_mask_that_is_all_label_is_a_full_alpha(label: int) -> None:
    with pytest.warns(LabelsWarning):
        assert (alpha_of(np.full((5, 7), label, np.uint8), "a.png") == 255).all()


@pytest.mark.parametrize("label", [1, 255, 257, 24_001])
def test_one_label_in_16_bits_becomes_an_alpha(label: int) -> None:
    with pytest.warns(LabelsWarning, match=f"the label {label} are read as alphas of 0 and 65535"):
        alpha = alpha_of((INSIDE * label).astype(np.uint16), "a.png")
    assert np.array_equal(alpha, INSIDE * 65535)


@pytest.mark.parametrize(
    ("mask", "labels"),
    [
        pytest.param(TWO, "1 and 15", id="two things"),
        pytest.param(voc(15), "15 and 255", id="VOC"),
        pytest.param(voc(1, (X > 80) & (Y < 14)), "1 and 255", id="void, wide but less"),
        pytest.param(TINY, "15 and 255", id="void, more than the label but thin"),
        pytest.param(levels(np.where(RIM, 1, INSIDE * 2)), "1 and 2", id="nested"),
        pytest.param(levels(np.where(RIM, 3, 2 - INSIDE)), "1, 2 and 3", id="Oxford pets"),
        pytest.param(
            levels(INSIDE * (X // 8 * 5 % 7 + 1)), "2, 3, 4, 5 and 2 more", id="parts of a body"
        ),
    ],
)
def test_several_labels_are_refused_by_name(mask: Levels, labels: str) -> None:
    with pytest.raises(DataError) as caught:
        alpha_of(mask, "set/a.png")
    assert str(caught.value).startswith(f"set/a.png is a mask of labels ({labels}), not an alpha; ")
    assert "prepare --label N" in str(caught.value)


@pytest.mark.parametrize(
    "alpha",
    [
        pytest.param(INSIDE * 0, id="nobody"),
        pytest.param(INSIDE * 255, id="hard"),
        pytest.param(INSIDE * 255 + 0 * X + ~INSIDE * 255, id="full"),
        pytest.param(INSIDE * 128, id="half"),
        pytest.param(INSIDE * 0 + 51, id="a fifth everywhere"),
        pytest.param(np.where(RIM, 128, INSIDE * 255), id="trimap"),
        pytest.param(SOFT * 255, id="soft"),
        pytest.param(SOFT * 120, id="peak 120"),
        pytest.param(SOFT * 20, id="peak 20, flat inside"),
        pytest.param(SOFT * 3, id="peak 3"),
        pytest.param(X / 96 * 4 - 0.5, id="0 to 3, smooth"),
        pytest.param(X / 96 * 16 - 0.5, id="0 to 15, smooth"),
        pytest.param(NOISE.integers(0, 4, X.shape), id="0 to 3, scattered"),
        pytest.param(NOISE.integers(0, 2, X.shape), id="0 to 1, scattered"),
        pytest.param(np.where(RIM, NOISE.integers(0, 4, X.shape), INSIDE * 255), id="hard, noisy"),
        pytest.param(np.where(Y > 45, np.where(X > 80, 40, 0), INSIDE * 255), id="with a shadow"),
    ],
)
def test_an_alpha_stays_as_it_is(alpha: NDArray[np.generic]) -> None:
    given = levels(alpha)
    assert alpha_of(given, "a.png") is given
    deep = given.astype(np.uint16) * 257
    assert alpha_of(deep, "a.png") is deep


def test_a_mask_shrunk_by_jpeg_is_an_alpha() -> None:
    data = cv2.imencode(".jpg", levels(INSIDE * 255))[1]
    mask = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    assert labels_in(mask) == ()


def encoded(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def with_palette(mask: Levels, colours: dict[int, tuple[int, int, int]]) -> bytes:
    picture = Image.fromarray(mask).convert("P")
    picture.putdata(mask.ravel().tolist())
    palette = np.zeros((256, 3), np.uint8)
    for index, colour in colours.items():
        palette[index] = colour
    picture.putpalette(palette.ravel().tolist())
    return encoded(picture)


def test_a_palette_of_colours_has_labels_and_one_of_greys_none() -> None:
    coloured = with_palette(voc(15), {15: (192, 128, 128), 255: (224, 224, 192)})
    found = palette_labels(coloured)
    assert found is not None
    assert np.array_equal(found, voc(15))
    assert palette_labels(with_palette(levels(INSIDE * 1), {1: (255, 255, 255)})) is None
    assert palette_labels(encoded(Image.fromarray(voc(15)))) is None
    photo = Image.fromarray(NOISE.integers(0, 256, (9, 12, 3)).astype(np.uint8))
    assert palette_labels(encoded(photo.quantize(64))) is None
    assert palette_labels(b"a text") is None


def test_indices_of_a_palette_are_labels_at_any_level() -> None:
    with pytest.warns(LabelsWarning, match="the label 200"):
        assert np.array_equal(alpha_of(levels(INSIDE * 200), "a", indices=True), INSIDE * 255)


def test_labels_of_16_bits_are_found_and_alphas_left() -> None:
    def deep(mask: NDArray[np.generic]) -> bytes:
        return encoded(Image.fromarray(mask.astype(np.uint16)))

    found = deep_labels(deep(TWO))
    assert found is not None
    assert np.array_equal(found, TWO)
    assert deep_labels(deep(SOFT * 65535)) is None
    assert deep_labels(encoded(Image.fromarray(TWO))) is None


def test_a_wanted_label_becomes_an_alpha() -> None:
    assert np.array_equal(label_alpha(TWO, {15}, "a.png"), (TWO == 15) * 255)
    assert np.array_equal(label_alpha(TWO, {1, 15}, "a.png"), (TWO > 0) * 255)
    assert np.array_equal(label_alpha(TWO, ANY, "a.png"), (TWO > 0) * 255)
    assert np.array_equal(label_alpha(TWO, {0, 1}, "a.png"), (TWO < 2) * 255)
    hard = levels(INSIDE * 255)
    assert np.array_equal(label_alpha(hard, ANY, "a.png"), hard)


@pytest.mark.parametrize("wanted", [ANY, {15}])
def test_void_goes_with_what_is_nearest(wanted: frozenset[int]) -> None:
    alpha = label_alpha(voc(15), wanted, "a.png")
    outline = np.abs(DISTANCE - 20) < 1
    assert np.array_equal(alpha[~outline], (INSIDE * 255)[~outline])


def test_a_label_that_does_not_occur_is_named() -> None:
    with pytest.raises(DataError, match=r"a\.png has no label 7; its labels are 0, 1 and 15"):
        label_alpha(TWO, {7}, "a.png")
    with pytest.raises(DataError, match="has no label 15; its labels are 0 and 255"):
        label_alpha(levels(INSIDE * 255), {15}, "a.png")
    with pytest.raises(DataError, match=r"a\.png is an alpha, not a mask of labels"):
        label_alpha(levels(SOFT * 255), {15}, "a.png")


def test_labels_in_words() -> None:
    assert [listed(range(1, n)) for n in (2, 3, 6, 9)] == [
        "1", "1 and 2", "1, 2, 3, 4 and 5", "1, 2, 3, 4 and 4 more",
    ]  # fmt: skip
