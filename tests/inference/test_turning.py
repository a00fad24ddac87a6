import numpy as np
import pytest
from numpy.typing import NDArray

from latefusion.images.framing import Box, letterbox
from latefusion.inference.detail import Detail
from latefusion.inference.matte import Matte
from latefusion.inference.turning import search_turn
from latefusion.runtime.planes import Planes

UPRIGHT = 200


def scene() -> NDArray[np.uint8]:
    """An image whose upper left corner shows which way it is turned."""
    image = np.zeros((70, 90, 3), np.uint8)
    image[:, :, 0] = 2 * np.arange(90)  # more than half at the right, the subject
    image[:, :, 1] = np.arange(70)[:, None]
    image[:20, :20, 2] = UPRIGHT
    return image


def look(image: NDArray[np.uint8]) -> Matte:
    """A network that is sure of upright images only; planes that show every pixel's place."""
    sure = image[5, 5, 2] == UPRIGHT
    size = image.shape[0], image.shape[1]
    frame = letterbox(size, 96)
    planes = Planes(*(frame.fit(image)[:, :, [0, 0, 1, 1]] / 255).transpose(2, 0, 1))
    alpha = frame.restore(planes.alpha) if sure else np.full(size, 0.5, np.float32)
    if not sure:
        return Matte(image, alpha, planes, frame)
    alpha = np.round(alpha)  # nothing in doubt
    box = Box(10, 40, 20, 80)
    part = np.ascontiguousarray(image[box.slices])
    closer = letterbox((30, 60), 64)
    inside = Planes(*(closer.fit(part)[:, :, [0, 0, 1, 1]] / 255).transpose(2, 0, 1))
    return Matte(image, alpha, planes, frame, details=(Detail(box, closer, inside),))


def as_it_is(found: Matte) -> Matte:
    return found


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_photo_is_found_and_everything_lies_as_it_does(turns: int) -> None:
    image = np.rot90(scene(), turns).copy()
    found = search_turn(look, as_it_is, image)
    assert found.image is image
    assert found.alpha.shape == image.shape[:2]
    assert found.confidence > 0.9
    inner = (slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(found.fg[inner], image[inner][..., 0] / 255, atol=0.01)
    np.testing.assert_allclose(found.bg[inner], image[inner][..., 1] / 255, atol=0.01)


def test_where_no_turn_is_surer_the_photo_stays() -> None:
    calls = []

    def unsure(image: NDArray[np.uint8]) -> Matte:
        calls.append(image.shape)
        found = look(image)
        return Matte(image, np.full(image.shape[:2], 0.5, np.float32), found.planes, found.frame)

    image = scene()
    found = search_turn(unsure, as_it_is, image)
    assert found.image is image
    assert found.frame == look(image).frame
    assert len(calls) == 4


def test_a_sure_look_is_the_only_one() -> None:
    calls = []

    def counted(image: NDArray[np.uint8]) -> Matte:
        calls.append(image.shape)
        return look(image)

    search_turn(counted, as_it_is, scene())
    assert len(calls) == 1


def test_only_the_turn_that_is_taken_is_looked_at_in_detail() -> None:
    seen = []

    def detail(found: Matte) -> Matte:
        seen.append(found.image[5, 5, 2])
        return found

    search_turn(look, detail, np.rot90(scene(), 2).copy())
    assert seen == [UPRIGHT]
