"""Scores of many photos: a model's mattes, or ready alphas, against true alphas.

A photo that cannot be scored (an unreadable file, a missing prediction, different sizes) becomes a
`Bad` entry with its reason; all others are scored.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePath
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latefusion.data.alphas import (
    PREDICTION_MARKS,
    are_labels,
    find_prediction,
    pictures_by_key,
    read_alpha,
)
from latefusion.data.sources import Pair, decode_image, decode_pair, size_text
from latefusion.errors import DataError, LatefusionError
from latefusion.inference.matte import Matte
from latefusion.metrics import MEASURES, Alpha, Measure

TOTAL = "all"  # the group of all photos in a summary; no source has this name
DOUBTFUL = 0.1  # the fraction of the pixels, those with the most doubt, behind `doubt_share`


@dataclass(frozen=True)
class Row:
    """The scores of one photo of height x width pixels; `scores` has a value per measure's key."""

    key: str
    source: str
    height: int
    width: int
    scores: dict[str, float]
    confidence: float | None = None  # the model's own, in [0, 1]
    doubt_share: float | None = None  # see `doubtful_share`


class Bad(NamedTuple):
    """A photo that could not be scored; `reason` is a message that names it."""

    key: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """The scored photos in the order of the input, and those that could not be scored."""

    measures: Mapping[str, Measure]
    rows: list[Row]
    bad: list[Bad]


class Example(NamedTuple):
    """A photo (H, W, 3) uint8 RGB or None, its prediction and its true alpha (H, W) in [0, 1]."""

    image: NDArray[np.uint8] | None
    pred: Alpha | Matte
    true: Alpha


class Case(NamedTuple):
    """A photo to score; `load` raises LatefusionError if it cannot be scored."""

    key: str
    load: Callable[[], Example]


Predict: TypeAlias = Callable[[NDArray[np.uint8]], Alpha | Matte]  # image (H, W, 3) uint8 RGB
Track: TypeAlias = Callable[[list[Case]], Iterable[Case]]  # a progress bar over the cases
Watch: TypeAlias = Callable[[Row, Example], None]  # called for every scored photo


def evaluate_model(
    predict: Predict,
    pairs: Sequence[Pair],
    measures: Mapping[str, Measure] = MEASURES,
    track: Track = iter,
    watch: Watch = lambda *_: None,
) -> Evaluation:
    """Score a Predictor, or any function from an image to an alpha or Matte, on pairs.

    An image is (H, W, 3) uint8 RGB, an alpha (H, W) float32 in [0, 1] of the image's size.
    """
    cases = [Case(pair.key, partial(_predict, predict, pair)) for pair in pairs]
    return _evaluate(cases, measures, track, watch)


def evaluate_folders(
    preds: Path,
    trues: Path,
    measures: Mapping[str, Measure] = MEASURES,
    track: Track = iter,
    watch: Watch = lambda *_: None,
    images: Path | None = None,
) -> Evaluation:
    """Score ready alphas against truths, matched by relative path without the extension.

    A prediction may also be called KEY-alpha or KEY-cutout. A truth without a prediction is a `Bad`
    entry. `images` is a folder of photos, used by `watch` only. Raises DataError for a folder
    without pictures, or if `images` has no photo for any truth.
    """
    found, truths = pictures_by_key(preds), pictures_by_key(trues)
    photos = pictures_by_key(images, photos=True) if images else {}
    if images and not truths.keys() & photos.keys():
        raise DataError(
            f"{images}: no photo has the name of a truth; right would be {next(iter(truths))}"
        )

    @cache
    def labelled() -> bool:
        named = (
            (found[key + mark], true)
            for key, true in truths.items()
            for mark in PREDICTION_MARKS
            if key + mark in found
        )
        return are_labels(named)

    read = partial(_read, found=found, labelled=labelled)
    cases = [Case(key, partial(read, key, true, photos.get(key))) for key, true in truths.items()]
    return _evaluate(cases, measures, track, watch)


def score(
    key: str, pred: Alpha | Matte, true: Alpha, measures: Mapping[str, Measure] = MEASURES
) -> Row:
    """Score one photo; both alphas are (H, W) in [0, 1].

    A Matte also gives the row a confidence and a doubt share. Raises DataError if the sizes differ
    or the prediction is not in [0, 1].
    """
    matte = pred if isinstance(pred, Matte) else None
    alpha = np.asarray(pred.alpha if isinstance(pred, Matte) else pred, np.float32)
    if alpha.shape != true.shape:
        sizes = f"prediction is {size_text(alpha)} but truth is {size_text(true)}"
        raise DataError(f"{key}: {sizes}; they must be equal")
    if not (alpha.min() >= 0 and alpha.max() <= 1):  # nan fails too
        raise DataError(
            f"{key}: prediction ranges from {alpha.min():g} to {alpha.max():g}; use alpha in 0 to 1"
        )
    return Row(
        key=key,
        source=source_of(key),
        height=true.shape[0],
        width=true.shape[1],
        scores={name: measure(alpha, true) for name, measure in measures.items()},
        confidence=None if matte is None else matte.confidence,
        doubt_share=None
        if matte is None
        else doubtful_share(np.abs(alpha - true), matte.expected_error),
    )


def source_of(key: str) -> str:
    """The source of a photo: its file name up to the first '-', or else its folder's name."""
    path = PurePath(key)
    name, dash, _ = path.name.partition("-")
    source = (name if dash else path.parent.name) or "photos"
    return f"{source}-" if source == TOTAL else source


def doubtful_share(error: Alpha, doubt: Alpha) -> float | None:
    """The fraction in [0, 1] of the total error found in the 10 % of pixels with the most doubt.

    `error` and `doubt` are (H, W) and not negative. Pixels that tie at the limit count in equal
    parts. None if there is no error.
    """
    total = error.sum(dtype=np.float64)
    if total == 0:
        return None
    wanted = DOUBTFUL * doubt.size
    last = math.ceil(wanted)
    limit = np.partition(doubt.ravel(), -last)[-last]
    above, at = doubt > limit, doubt == limit
    part = (wanted - above.sum()) / at.sum()
    inside = error[above].sum(dtype=np.float64) + part * error[at].sum(dtype=np.float64)
    return float(inside / total)


def ranking(measures: Mapping[str, Measure]) -> Measure:
    """The measure that orders photos from best to worst: MAD, or the first if MAD is not there."""
    return measures.get("mad") or next(iter(measures.values()))


def badness(row: Row, measure: Measure) -> float:
    """A photo's value of the measure, negated if needed so that higher is worse, or nan."""
    value = row.scores[measure.key]
    return value if measure.better == "lower" else -value


def _evaluate(
    cases: list[Case], measures: Mapping[str, Measure], track: Track, watch: Watch
) -> Evaluation:
    evaluation = Evaluation(measures, [], [])
    for case in track(cases):
        try:
            example = case.load()
            row = score(case.key, example.pred, example.true, measures)
        except LatefusionError as error:
            evaluation.bad.append(Bad(case.key, str(error)))
            continue
        evaluation.rows.append(row)
        watch(row, example)
    return evaluation


def _predict(predict: Predict, pair: Pair) -> Example:
    image, truth = decode_pair(pair)
    return Example(image, predict(image), np.divide(truth, 255, dtype=np.float32))


def _read(
    key: str,
    true: Path,
    photo: Path | None,
    found: Mapping[str, Path],
    labelled: Callable[[], bool],
) -> Example:
    pred, truth = read_alpha(find_prediction(key, found), labelled), read_alpha(true)
    image = decode_image(photo) if photo else None
    if image is not None and image.shape[:2] != truth.shape:
        sizes = f"photo is {size_text(image)} but truth is {size_text(truth)}"
        raise DataError(f"{key}: {sizes}; they must be equal")
    return Example(image, pred, truth)
