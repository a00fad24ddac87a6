"""Folders of ready alphas of any tool: finding the file for a key, and reading its alpha."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.data.labels import FAINTEST, alpha_of, labels_in, palette_labels
from latefusion.data.neighbours import beside
from latefusion.data.sources import decode, folder_files
from latefusion.errors import DataError
from latefusion.metrics import Alpha

# Of files with the same key the one with the first ending is the alpha, with the last the photo.
SUFFIXES = (".png", ".tif", ".tiff", ".webp", ".bmp", ".jpeg", ".jpg")
# What may follow the key in the name of a prediction: `latefusion matte` writes these.
PREDICTION_MARKS = ("", "-alpha", "-cutout")
SUBJECT = 0.5  # a true alpha above this is subject


def pictures_by_key(folder: Path, photos: bool = False) -> dict[str, Path]:
    """Relative path without the ending -> picture, sorted; of several the first of SUFFIXES.

    Where `photos` are wanted, the last one. Raises DataError where there is none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; name the one that holds the pictures")
    files = folder_files(folder, SUFFIXES)
    files.sort(key=lambda file: SUFFIXES.index(file.suffix.lower()), reverse=not photos)
    named = {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}
    if not named:
        raise DataError(f"{folder}: no pictures in it; expected {', '.join(SUFFIXES)}")
    return dict(sorted(named.items()))


def find_prediction(key: str, found: Mapping[str, Path]) -> Path:
    """The prediction for a truth's key: KEY, KEY-alpha or KEY-cutout. Raises DataError."""
    for mark in PREDICTION_MARKS:
        if key + mark in found:
            return found[key + mark]
    raise DataError(f"{key}: no prediction of that name; call it {key}.png")


def read_alpha(path: Path, may_be_labels: Callable[[], bool] = lambda: True) -> Alpha:
    """A ready alpha (H, W) in [0, 1] of any tool: 8 or 16 bits, grey or with an alpha channel.

    Where the picture has an alpha channel, that is it. A mask of one label is read as the alpha
    that it stands for, with a warning, unless `may_be_labels` denies it, which is asked only about
    grey levels that look like labels. Raises DataError.
    """
    picture, indices = _levels_in(path)
    around = partial(beside, path)
    if indices or (labels_in(picture, around) and may_be_labels()):
        picture = alpha_of(picture, str(path), indices, around)
    return np.divide(picture, np.iinfo(picture.dtype).max, dtype=np.float32)


def are_labels(predictions: Iterable[tuple[Path, Path]]) -> bool:
    """True where predictions, each with its truth, are masks of labels in place of alphas.

    All are clearly such masks but those of a single level. Those of one label have the same, and of
    what they or the faintest mark at least half is subject in the truths: a faint haze in photos
    without people is no label.
    """
    marked = right = 0
    single: set[tuple[int, ...]] = set()
    for path, true in predictions:
        with suppress(DataError):
            levels, indices = _levels_in(path)
            if indices or levels.min() == levels.max():
                continue
            labels = labels_in(levels)
            if not labels:
                return False
            single.update([labels] if len(labels) == 1 else [])
            if len(labels) == 1 or max(labels) <= FAINTEST:
                truth = read_alpha(true)
                if truth.shape == levels.shape:
                    marked += int(np.count_nonzero(levels))
                    right += int(np.count_nonzero(truth[levels > 0] > SUBJECT))
    return len(single) <= 1 and 2 * right >= marked


def _levels_in(path: Path) -> tuple[NDArray[Any], bool]:
    """The levels (H, W) of an alpha; True for indices of a palette. Raises DataError."""
    picture: NDArray[Any] = decode(path, cv2.IMREAD_UNCHANGED, str(path))
    indices = False
    if picture.ndim == 3 and picture.shape[2] == 4:
        if _is_opaque_grey(picture):
            raise DataError(f"{path} is a grey mask saved opaque; save it without alpha channel")
        picture = picture[:, :, 3]
    elif picture.ndim == 3:
        picture, indices = _single_plane(path, picture)
    if picture.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path} holds {picture.dtype} values; save it with 8 or 16 bits")
    return picture, indices


def _is_opaque_grey(picture: NDArray[Any]) -> bool:
    """True for an (H, W, 4) picture that is opaque with a grey mask in its colours."""
    colour, alpha = picture[:, :, :3], picture[:, :, 3]
    grey = bool((colour == colour[:, :, :1]).all())
    return grey and alpha.min() == alpha.max() > 0 and colour.min() < colour.max()


def _single_plane(path: Path, picture: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """The levels (H, W) of a grey picture (H, W, 3), or the indices of a palette; and which."""
    if (picture == picture[:, :, :1]).all():
        return picture[:, :, 0], False
    labels = palette_labels(path.read_bytes())
    if labels is None:
        raise DataError(f"{path} is a colour picture, not an alpha; save it grey or as RGBA")
    return labels, True
