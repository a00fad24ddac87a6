"""Masks of labels, told from alphas by their levels: one label becomes an alpha, several do not.

A data set for segmentation marks a person by a number, such as 1 or VOC's 15, where an alpha has
255. As an alpha such a mask would be a nearly transparent subject. Every reader of an alpha passes
its levels through `alpha_of`. What one mask alone cannot tell, the masks beside it do: those of a
data set for segmentation are alike.
"""

import io
import warnings
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latefusion.errors import DataError
from latefusion.images.reading import DAMAGE

Levels = NDArray[Any]  # (H, W), uint8 or uint16
ANY: frozenset[int] = frozenset()  # stands for every label but 0 and void

MOST_LABELS = 32  # in one mask; a soft alpha has more levels
FLAT = 0.25  # at least this share of the labelled pixels has equal neighbours only
FLAT_LABELS = 0.5  # at least this share of the labels does; the rim of a soft alpha does not
JUMPS = 0.25  # more than this share of the steps between unequal neighbours skips a level
FAINTEST = 2  # peak up to which a soft alpha may look like labels: level 1, and perhaps 2
HIGHEST = {"u1": 31, "u2": 255}  # of one or two labels; a flat level above may be glass
SEVERAL = 3  # this many flat levels, without the steps between them, are labels however high
BELOW = 64  # labels beside void (the highest level) are smaller than this
VOID_WIDTH = 9  # pixels; void is a thinner line along the labelled things, or less than they are
NAMED_AT_MOST = 5


class LabelsWarning(UserWarning):
    """A mask of one label was read as the alpha that it stands for."""


@dataclass(frozen=True)
class Beside:
    """The masks and alphas beside one: whether any is soft, and the labels of two or more masks."""

    soft: bool = False
    labels: frozenset[tuple[int, ...]] = frozenset()


Ask = Callable[[], Beside]  # asked only about levels that may be labels


def alpha_of(levels: Levels, name: str, indices: bool = False, beside: Ask = Beside) -> Levels:
    """The levels (H, W) of an alpha as they are; those of a mask of one label as 0 and full.

    `indices` are of a palette of colours, and labels in any case; of other levels `labels_in`
    decides, with what lies `beside` them. The warning names the folder, so that Python shows it
    once for all masks in it. Raises DataError, beginning with `name`, for a mask of several labels.
    """
    labels = used_labels(levels) if indices else labels_in(levels, beside)
    if not labels:
        return levels
    full = np.iinfo(levels.dtype).max
    if len(labels) > 1:
        cure = "`latefusion prepare --label N` makes an alpha of label N, --label any of all"
        raise DataError(f"{name} is a mask of labels ({listed(labels)}), not an alpha; {cure}")
    place = PurePath(name).parent
    read = f"masks with 0 and the label {labels[0]} are read as alphas of 0 and {full}"
    warnings.warn(f"{place}: {read}", LabelsWarning, stacklevel=2)
    return np.where(levels > 0, full, 0).astype(levels.dtype)


def labels_in(levels: Levels, beside: Ask = Beside) -> tuple[int, ...]:
    """The labels but 0 in levels (H, W) of a mask; none for the levels of an alpha.

    A mask of labels has few low levels, in flat areas, that meet without the steps between them,
    and none in the upper half but void. What may be a faint alpha as well goes by what is `beside`
    it: a mask of level 1 is one of labels unless an alpha there is soft; a mask that is all label,
    one that rises by single steps, and level 1 beside a wide area of the highest one are only where
    two masks there have those labels. Of nearly every alpha only the maximum is looked at.
    """
    narrow = _narrow(levels)
    if narrow is not levels:
        return tuple(257 * label for label in labels_in(narrow, beside))
    full = int(np.iinfo(levels.dtype).max)
    peak = int(levels.max())
    marked, thin = levels, True
    if peak == 0 or (full // 2 < peak < full):
        return ()
    if peak == full:
        if _some_within(levels, BELOW, full - 1):
            return ()
        if not _some_within(levels, 1, BELOW):
            return ()
        void = np.equal(levels, full).view(np.uint8)
        marked = np.where(void, 0, levels).astype(levels.dtype)
        thin = _is_thin(void, marked)
        if not thin and cv2.countNonZero(void) >= cv2.countNonZero(marked):
            return ()
    labels = _flat_labels(marked, levels)
    if not labels:
        return ()
    found = used_labels(levels)
    faint = 1 in labels and max(labels) <= FAINTEST
    varied = levels.min() < peak
    if varied and not faint and _jumps(levels if thin else marked):
        return found
    if varied and faint and thin and (labels == (1,) or _jumps(levels)):
        return () if beside().soft else found
    around = beside()
    return found if labels in around.labels and not around.soft else ()


def outline(levels: Levels) -> Beside:
    """What one picture (H, W) says of the masks beside it: nothing if hard, empty or a photo."""
    levels = _narrow(levels)
    full = int(np.iinfo(levels.dtype).max)
    hard = np.count_nonzero((levels == 0) | (levels == full))
    if levels.max() > full // 2 and _some_within(levels, BELOW, full - 1):
        return Beside(soft=bool(2 * hard > levels.size))
    labels = labels_in(levels)
    if not labels and 0 < levels.max() <= full // 2 and levels.min() < levels.max():
        labels = _flat_labels(levels, levels)
    kept = tuple(label for label in labels if label < full)
    return Beside(labels=frozenset([kept] if kept else []))


def used_labels(levels: Levels) -> tuple[int, ...]:
    """The levels but 0 that occur, ascending."""
    flat = levels.ravel()
    used = np.flatnonzero(np.bincount(flat)) if levels.dtype == np.uint8 else np.unique(flat)
    return tuple(int(level) for level in used if level)


def palette_labels(data: bytes) -> NDArray[np.uint8] | None:
    """The indices (H, W) of a picture with a palette of colours, such as VOC's masks are.

    None for a palette of greys or with transparency, for more colours than labels, and for any
    other picture.
    """
    with suppress(*DAMAGE), Image.open(io.BytesIO(data)) as picture:
        if picture.mode != "P" or "transparency" in picture.info:
            return None
        indices, palette = np.asarray(picture), picture.getpalette("RGB")
        used = np.unique(indices)
        colours = np.resize(np.array(palette or [0], np.uint8), (256, 3))[used]
        grey = bool((colours == colours[:, :1]).all())
        return None if grey or len(used) > MOST_LABELS else indices
    return None


def deep_labels(data: bytes, beside: Ask = Beside) -> NDArray[np.uint16] | None:
    """The levels (H, W) of a grey 16-bit picture that is a mask of labels; None for any other."""
    with suppress(*DAMAGE), Image.open(io.BytesIO(data)) as picture:
        if not picture.mode.startswith("I"):
            return None
        levels = np.asarray(picture)
        if levels.min() >= 0 and levels.max() <= np.iinfo(np.uint16).max:
            levels = levels.astype(np.uint16)
            return levels if labels_in(levels, beside) else None
    return None


def label_alpha(levels: Levels, wanted: Collection[int], name: str) -> NDArray[np.uint8]:
    """The alpha (H, W), 0 and 255, of the wanted labels in a mask; ANY stands for all but 0.

    Void pixels, those of the highest level, go with the nearest ones that are not. Raises
    DataError, beginning with `name`, where none of the labels occurs, or for a soft alpha.
    """
    used = used_labels(levels)
    if len(used) > BELOW:
        raise DataError(f"{name} is an alpha, not a mask of labels; leave --label out")
    full = int(np.iinfo(levels.dtype).max)
    has_void = full in used and len(used) > 1 and full not in wanted
    void = np.equal(levels, full) if has_void else np.zeros(levels.shape, bool)
    chosen = np.isin(levels, [*wanted]) if wanted else (levels > 0) & ~void
    if not chosen.any():
        found = f"its labels are {listed((0, *used))}"
        raise DataError(f"{name} has no label {listed(sorted(wanted))}; {found}")
    if has_void:
        _, nearest = cv2.distanceTransformWithLabels(
            void.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        chosen = chosen[~void][np.asarray(nearest) - 1]  # numbered from 1, row by row
    return chosen.astype(np.uint8) * np.uint8(255)


def listed(labels: Collection[int]) -> str:
    """Labels as words: 1, 2 and 15; of many the first ones."""
    words = [str(label) for label in labels]
    if len(words) > NAMED_AT_MOST:
        words = [*words[: NAMED_AT_MOST - 1], f"{len(words) - NAMED_AT_MOST + 1} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if words[1:] else "".join(words)


def _narrow(levels: Levels) -> Levels:
    """Levels of 16 bits that are 8 bits stretched to them, as those 8 bits; others as they are."""
    if levels.dtype == np.uint8 or (levels[::16, ::16] % 257).any() or (levels % 257).any():
        return levels
    return np.floor_divide(levels, 257).astype(np.uint8)


def _flat_labels(marked: Levels, levels: Levels) -> tuple[int, ...]:
    """The levels but 0 of `marked` where they are few, low or several, and flat; else none."""
    used = used_labels(marked)
    low = bool(used) and used[-1] <= HIGHEST[levels.dtype.str[1:]]
    if len(used) > MOST_LABELS or not (low or len(used) >= SEVERAL):
        return ()
    around = np.ones((3, 3), np.uint8)
    flat = marked[cv2.erode(levels, around) == cv2.dilate(levels, around)]
    if np.count_nonzero(flat) < FLAT * np.count_nonzero(marked):
        return ()
    return used if len(used_labels(flat)) >= FLAT_LABELS * len(used) else ()


def _jumps(levels: Levels) -> bool:
    """True where many of the steps between unequal neighbours skip a level."""
    steps = [np.abs(np.diff(levels.astype(np.int32), axis=axis)) for axis in (0, 1)]
    unequal, jumps = (sum(np.count_nonzero(step > n) for step in steps) for n in (0, 1))
    return bool(jumps > JUMPS * unequal)


def _some_within(levels: Levels, least: int, most: int) -> bool:
    return cv2.countNonZero(cv2.inRange(levels, np.array(least), np.array(most))) > 0


def _is_thin(void: NDArray[np.uint8], marked: Levels) -> bool:
    """True where the highest level is a thin line, most of it along the labelled things."""
    around = np.ones((VOID_WIDTH, VOID_WIDTH), np.uint8)
    if cv2.erode(void, around).any():
        return False
    along = np.count_nonzero(cv2.dilate(marked, around)[void > 0])
    return bool(2 * along > cv2.countNonZero(void))
