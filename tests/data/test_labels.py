"""Masks of labels are told from alphas, however faint, and mended or refused by name."""

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from latefusion.data.labels import (
    ANY,
    Beside,
    LabelsWarning,
    alpha_of,
    deep_labels,
    label_alpha,
    labels_in,
    listed,
    outline,
    palette_labels,
    used_labels,
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


@pytest.mark.parametrize("label", [1, 2, 3, 15, 31])
def test_one_label_becomes_an_alpha_with_a_word_that_names_the_folder(label: int) -> None:
    mask = levels(INSIDE * label)
    with pytest.warns(LabelsWarning, match=rf"set/deep: masks with 0 and the label {label} are"):
        alpha = alpha_of(mask, "set/deep/a.png")
    assert np.array_equal(alpha, INSIDE * 255)
    assert alpha.dtype == np.uint8


@pytest.mark.parametrize("label", [1, 15])
def test_a_mask_that_is_all_label_is_a_full_alpha_among_masks_of_that_label(label: int) -> None:
    mask = np.full((5, 7), label, np.uint8)
    with pytest.warns(LabelsWarning):
        alpha = alpha_of(mask, "a.png", beside=lambda: Beside(labels=frozenset([(label,)])))
    assert (alpha == 255).all()
    assert alpha_of(mask, "a.png") is mask
    others = Beside(labels=frozenset([(label + 1,)]))
    assert alpha_of(mask, "a.png", beside=lambda: others) is mask


@pytest.mark.parametrize("label", [1, 255, 257])
def test_one_label_in_16_bits_becomes_an_alpha(label: int) -> None:
    with pytest.warns(LabelsWarning, match=f"the label {label} are read as alphas of 0 and 65535"):
        alpha = alpha_of((INSIDE * label).astype(np.uint16), "a.png")
    assert np.array_equal(alpha, INSIDE * 65535)


@pytest.mark.parametrize(
    ("mask", "labels"),
    [
        pytest.param(TWO, "1 and 15", id="two things"),
        pytest.param(voc(15), "15 and 255", id="VOC"),
        pytest.param(voc(15, (X > 80) & (Y < 14)), "15 and 255", id="void, wide but less"),
        pytest.param(voc(1), "1 and 255", id="void round the lowest label"),
        pytest.param(TINY, "15 and 255", id="void, more than the label but thin"),
        pytest.param(levels(np.where(X > 70, 1, INSIDE * 2)), "1 and 2", id="apart"),
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
        pytest.param(INSIDE * 0 + 1, id="1 everywhere"),
        pytest.param(INSIDE * 0 + 31, id="31 everywhere"),
        pytest.param(INSIDE * 32, id="glass of an eighth"),
        pytest.param(INSIDE * 100, id="glass"),
        pytest.param(np.where(X > 70, 60, INSIDE * 100), id="two glasses"),
        pytest.param(SOFT * 2, id="peak 2"),
        pytest.param(np.where(X > 50, 1, INSIDE * 255), id="hard beside a flat 1"),
        pytest.param(np.where(X > 80, 255, X > 40), id="less hard than flat 1"),
        pytest.param(np.where(X == 90, 255, X < 9), id="a wire far from a haze"),
    ],
)
def test_an_alpha_stays_as_it_is(alpha: NDArray[np.generic]) -> None:
    given = levels(alpha)
    assert alpha_of(given, "a.png") is given
    deep = given.astype(np.uint16) * 257
    assert alpha_of(deep, "a.png") is deep


HAZE = levels(INSIDE)
NESTED = levels(np.where(RIM, 1, INSIDE * 2))
WIDE_VOID = voc(1, (X > 80) & (Y < 14))


@pytest.mark.parametrize("mask", [HAZE, levels(np.where(X > 70, 1, INSIDE * 2))])
def test_the_faintest_levels_are_an_alpha_among_soft_alphas(mask: Levels) -> None:
    assert labels_in(mask) == used_labels(mask)
    assert labels_in(mask, lambda: Beside(soft=True)) == ()


@pytest.mark.parametrize(("mask", "labels"), [(NESTED, (1, 2)), (WIDE_VOID, (1,))])
def test_what_may_be_an_alpha_is_labels_among_masks_of_the_same(
    mask: Levels, labels: tuple[int, ...]
) -> None:
    assert labels_in(mask) == ()
    assert labels_in(mask, lambda: Beside(labels=frozenset([(1, 7)]))) == ()
    alike = frozenset([labels])
    assert labels_in(mask, lambda: Beside(labels=alike)) == used_labels(mask)
    assert labels_in(mask, lambda: Beside(soft=True, labels=alike)) == ()


@pytest.mark.parametrize("mask", [INSIDE * 2, INSIDE * 15, TWO, voc(15)])
def test_clear_labels_are_labels_even_among_soft_alphas(mask: NDArray[np.generic]) -> None:
    given = levels(mask)
    assert labels_in(given, lambda: Beside(soft=True)) == used_labels(given)


def test_the_masks_beside_are_asked_only_about_what_may_be_labels() -> None:
    def unasked() -> Beside:
        raise AssertionError

    for alpha in (SOFT * 255, SOFT * 40, INSIDE * 255, INSIDE * 0, INSIDE * 100):
        assert labels_in(levels(alpha), unasked) == ()


def test_a_picture_says_whether_it_is_soft_or_which_labels_it_has() -> None:
    assert outline(levels(SOFT * 255)) == Beside(soft=True)
    assert outline(np.uint16(257) * levels(SOFT * 255)) == Beside(soft=True)
    assert outline(voc(15)) == Beside(labels=frozenset([(15,)]))
    assert outline(NESTED) == Beside(labels=frozenset([(1, 2)]))
    for silent in (INSIDE * 255, INSIDE * 0, INSIDE * 0 + 1, 40 + X, WIDE_VOID):
        assert outline(levels(silent)) == Beside()


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
