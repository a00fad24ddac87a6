"""Folders of ready alphas of any tool: finding the file for a key, and reading its alpha."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.data.labels import alpha_of, palette_labels
from latefusion.data.sources import decode, folder_files
from latefusion.errors import DataError
from latefusion.metrics import Alpha

# Of files with the same key the one with the first ending is the alpha, with the last the photo.
SUFFIXES = (".png", ".tif", ".tiff", ".webp", ".bmp", ".jpeg", ".jpg")
# What may follow the key in the name of a prediction: `latefusion matte` writes these.
PREDICTION_MARKS = ("", "-alpha", "-cutout")


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


def read_alpha(path: Path) -> Alpha:
    """A ready alpha (H, W) in [0, 1] of any tool: 8 or 16 bits, grey or with an alpha channel.

    Where the picture has an alpha channel, that is it. A mask of one label is read as the alpha
    that it stands for, with a warning. Raises DataError.
    """
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
    picture = alpha_of(picture, str(path), indices)
    return np.divide(picture, np.iinfo(picture.dtype).max, dtype=np.float32)


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
