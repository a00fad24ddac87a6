"""The masks in a folder tell what one of them is that may be labels or a faint alpha."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from latefusion.data.labels import Beside, LabelsWarning
from latefusion.data.neighbours import beside
from latefusion.data.prepare import read_matte
from latefusion.data.sources import decode_alpha
from latefusion.errors import DataError

Y, X = np.mgrid[:40, :70]
DISTANCE = np.hypot(X - 22, Y - 25)
INSIDE = DISTANCE < 13
SOFT = np.clip((18 - DISTANCE) / 9, 0, 1) * 255
NESTED = np.where(DISTANCE < 9, 2, INSIDE)


def save(path: Path, picture: NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    depth = np.uint16 if picture.dtype == np.uint16 else np.uint8
    assert cv2.imwrite(str(path), np.rint(picture).astype(depth))
    return path


def test_a_folder_of_one_kind_of_labels_has_those(tmp_path: Path) -> None:
    for name in "abc":
        path = save(tmp_path / f"{name}.png", INSIDE * 15)
    save(tmp_path / "once.png", INSIDE * 3)
    save(tmp_path / "photo.jpg", SOFT)
    (tmp_path / "damaged.png").write_bytes(b"no picture")
    assert beside(path) == Beside(labels=frozenset([(15,)]))
    assert beside(path.read_bytes()) == Beside()
    assert beside(tmp_path / "none" / "a.png") == Beside()


@pytest.mark.parametrize(
    "soft",
    [SOFT, np.rint(SOFT * 257).astype(np.uint16), np.dstack([SOFT * 0] * 3 + [SOFT])],
    ids=["8 bits", "16 bits", "transparency"],
)
def test_a_folder_with_a_soft_alpha_is_soft(tmp_path: Path, soft: NDArray[np.generic]) -> None:
    path = save(tmp_path / "faint.png", INSIDE)
    assert beside(path) == Beside()
    save(tmp_path / "soft.png", soft)
    assert beside(path) == Beside(soft=True)


def test_a_grey_photo_is_no_soft_alpha(tmp_path: Path) -> None:
    path = save(tmp_path / "a_mask.png", INSIDE)
    save(tmp_path / "a.png", 20 + 3 * X)
    assert beside(path) == Beside()


def test_a_faint_haze_among_soft_alphas_stays_one_in_every_reader(tmp_path: Path) -> None:
    faint = save(tmp_path / "faint.png", INSIDE)
    deep = save(tmp_path / "deep.png", (INSIDE * 257).astype(np.uint16))
    for read in (lambda path: decode_alpha(path, "k")[0], read_matte):
        with pytest.warns(LabelsWarning, match="0 and the label 1 "):
            assert read(faint).max() == 255
    save(tmp_path / "soft.png", SOFT)
    for read in (lambda path: decode_alpha(path, "k")[0], read_matte):
        assert np.array_equal(read(faint), INSIDE)
    assert read_matte(deep).max() == 1


def test_nested_levels_are_refused_where_another_mask_has_them(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", NESTED)
    assert np.array_equal(decode_alpha(path, "k")[0], NESTED)
    save(tmp_path / "b.png", np.flip(NESTED))
    with pytest.raises(DataError, match=r"labels \(1 and 2\)"):
        decode_alpha(path, "k")
