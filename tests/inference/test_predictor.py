import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latefusion import LatefusionError, MattingOptions, Predictor, load


def portrait() -> NDArray[np.uint8]:
    """Wider than high; an orange subject at the upper left, on dark blue."""
    image = np.full((48, 64, 3), (0, 20, 100), np.uint8)
    image[:30, 5:20] = (240, 200, 50)
    return image


def test_planes_come_back_under_their_own_names(toy_model: Path) -> None:
    found = Predictor(toy_model)(portrait())

    inside = found.fg[10, 10], found.bg[10, 10], found.blend[10, 10]
    assert inside == pytest.approx((240 / 255, 1 - 200 / 255, 50 / 255), abs=1e-6)
    outside = found.fg[40, 50], found.bg[40, 50], found.blend[40, 50]
    assert outside == pytest.approx((0, 1 - 20 / 255, 100 / 255), abs=1e-6)


def test_alpha_is_the_networks_alpha_where_the_photo_has_the_networks_size(toy_model: Path) -> None:
    image = portrait()
    found = Predictor(toy_model, MattingOptions(framing="whole", refine="off"))(image)

    red, green, blue = np.moveaxis(image / 255, 2, 0)
    np.testing.assert_allclose(found.alpha, blue * red + (1 - blue) * green, atol=1e-6)
    assert found.alpha.dtype == np.float32


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (37, 91), (200, 150)])
def test_planes_have_the_photos_size(toy_model: Path, size: tuple[int, int]) -> None:
    found = Predictor(toy_model)(np.full((*size, 3), (255, 128, 0), np.uint8))

    for plane in (found.alpha, found.fg, found.bg, found.blend):
        assert plane.shape == size
        assert 0 <= plane.min() <= plane.max() <= 1
    assert found.image.shape == (*size, 3)
    np.testing.assert_allclose(found.fg, 1, atol=1e-6)


def test_a_subject_on_one_side_stays_there(toy_model: Path) -> None:
    image = portrait().repeat(10, axis=0).repeat(10, axis=1)
    found = Predictor(toy_model)(image)

    rows, columns = np.nonzero(found.fg > 0.5)
    box = rows.min(), rows.max(), columns.min(), columns.max()
    np.testing.assert_allclose(box, (0, 299, 50, 199), atol=5)


def test_transparent_stays_transparent(toy_model: Path) -> None:
    image = np.full((40, 60, 4), (255, 255, 255, 255), np.uint8)
    image[:, :20, 3] = 51
    found = Predictor(toy_model)(image)

    np.testing.assert_allclose(found.alpha[:, :20], 0.2, atol=1e-6)
    np.testing.assert_allclose(found.alpha[:, 20:], 1, atol=1e-6)


def test_size_must_suit_the_network(toy_model: Path) -> None:
    with pytest.raises(LatefusionError, match="size 500 is not a multiple of 32; use 512"):
        Predictor(toy_model, MattingOptions(size=500))


def test_a_greater_size_shows_the_network_more(toy_model: Path) -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255  # gone at 64, whole at 256
    assert np.ptp(Predictor(toy_model)(stripes).fg) < 0.01
    assert np.ptp(Predictor(toy_model, MattingOptions(size=256))(stripes).fg) == 1


def test_a_model_may_be_named_by_a_string(toy_model: Path) -> None:
    assert Predictor(str(toy_model)).model.side == 64


def test_a_predictor_goes_to_another_process(toy_model: Path) -> None:
    predictor = Predictor(toy_model, MattingOptions(framing="whole"))
    predictor.load()
    again = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_array_equal(again(portrait()).alpha, predictor(portrait()).alpha)


def test_numbers_of_numpy_are_numbers(toy_model: Path) -> None:
    predictor = Predictor(toy_model, MattingOptions(epsilon=np.float32(0.01)), threads=np.int64(1))  # type: ignore
    assert predictor(portrait()).alpha.shape == (48, 64)


def test_a_list_gives_a_list(toy_model: Path) -> None:
    found = Predictor(toy_model)([portrait(), portrait()])
    assert [matte.alpha.shape for matte in found] == [(48, 64), (48, 64)]


def test_options_of_another_type_are_refused() -> None:
    with pytest.raises(LatefusionError, match="'cpu' is not a MattingOptions"):
        load("lite", "cpu")  # type: ignore[arg-type]
