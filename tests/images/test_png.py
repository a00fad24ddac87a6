"""PNG files as other programs read them."""

import io
import struct

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from latefusion.images.levels import ROWS
from latefusion.images.png import write_png

SHAPES = [(1, 1), (1, 7), (5, 1), (ROWS, 3), (2 * ROWS + 1, 4)]  # the last ones end within a strip


def written(pixels: NDArray[np.generic], **more: object) -> bytes:
    file = io.BytesIO()
    write_png(file, pixels, **more)  # type: ignore[arg-type]
    return file.getvalue()


def noise(*shape: int, kind: type = np.uint8) -> NDArray[np.generic]:
    return np.random.default_rng(3).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
@pytest.mark.parametrize("size", SHAPES)
def test_pillow_and_opencv_read_the_pixels(size: tuple[int, int], channels: tuple[int]) -> None:
    pixels = noise(*size, *channels)
    data = written(pixels)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    found = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    order = {(): [0], (3,): [2, 1, 0], (4,): [2, 1, 0, 3]}[channels]
    np.testing.assert_array_equal(found.reshape(*size, -1)[:, :, order], pixels.reshape(*size, -1))


@pytest.mark.parametrize("size", SHAPES)
def test_sixteen_bits_read_back(size: tuple[int, int]) -> None:
    pixels = noise(*size, kind=np.uint16)
    found = cv2.imdecode(np.frombuffer(written(pixels), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found, pixels)


def test_a_cropped_or_transposed_view_is_written_correctly() -> None:
    pixels = noise(40, 60, 4)[5:30:2, ::-1]
    with Image.open(io.BytesIO(written(pixels))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_profile_and_resolution_precede_the_pixels() -> None:
    data = written(noise(30, 20, 3), icc=b"profile" * 99, dpi=(300, 240))
    kinds, place = [], 8
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        kinds.append(kind)
        place += 12 + length
    assert kinds == [b"IHDR", b"iCCP", b"pHYs", *[b"IDAT"] * kinds.count(b"IDAT"), b"IEND"]
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == b"profile" * 99
        assert image.info["dpi"] == pytest.approx((300, 240), abs=0.02)
