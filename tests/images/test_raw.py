"""Cameras' RAW files, which the extra `raw` develops."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latefusion.errors import ImageError, SizeError
from latefusion.images import raw
from latefusion.images.reading import read_photo
from tests.helpers.raw_files import dng


def scene() -> NDArray[np.uint16]:
    """Linear light, 48 x 80, a bright red corner at the top left; the rest is dim green."""
    image = np.zeros((48, 80, 3), np.uint16)
    image[:, :] = (500, 9000, 500)
    image[:24, :20] = (50000, 900, 500)
    return image


def needs_rawpy() -> None:
    pytest.importorskip("rawpy", reason="the extra raw is not installed")


@pytest.mark.parametrize(
    ("orientation", "size", "corner"), [(1, (48, 80), (0, 0)), (6, (80, 48), (0, -1))]
)
def test_a_raw_file_is_developed_and_turned_upright_once(
    orientation: int, size: tuple[int, int], corner: tuple[int, int], tmp_path: Path
) -> None:
    needs_rawpy()
    path = tmp_path / "me.DNG"
    path.write_bytes(dng(scene(), orientation))
    for source in (path, path.read_bytes()):
        photo = read_photo(source)
        assert photo.image.shape == (*size, 3)
        assert photo.icc is None
        y, x = corner
        assert photo.image[y, x, 0] > 200 > 120 > photo.image[y, x, 2]
        red = (photo.image[:, :, 0] > photo.image[:, :, 1]).mean()
        assert 0.1 < red < 0.15  # 24 x 20 of 48 x 80


def test_a_large_raw_file_is_refused_before_it_is_developed() -> None:
    needs_rawpy()
    with pytest.raises(SizeError, match=r"80 x 48 pixels, more than the 0\.001 million"):
        read_photo(dng(scene()), most_pixels=1000)


def test_half_a_raw_file_is_damaged() -> None:
    needs_rawpy()
    with pytest.raises(ImageError, match="is damaged or cut short"):
        read_photo(dng(scene())[:-6000])


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "has_rawpy", lambda: False)
    for data in (dng(scene()), b"II*\0\x10\0\0\0CR\2\0" + bytes(90)):
        with pytest.raises(ImageError, match=r"develop it to TIFF or JPEG, or run .*\[raw\]"):
            read_photo(data)


def test_where_raw_files_are_off_no_decoder_sees_them() -> None:
    for data in (dng(scene()), b"FUJIFILMCCD-RAW 0201" + bytes(90)):
        with pytest.raises(ImageError, match=r"RAW file; develop it to TIFF or JPEG$"):
            read_photo(data, raw=False)
