"""Scores of many photos: a model's mattes or ready alphas against truths, per photo and together.

A photo that cannot be scored (a file that does not open, a missing prediction, sizes that differ)
becomes a `Bad` entry with its reason; all others are scored.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latefusion.data.alphas import find_prediction, pictures_by_key, read_alpha
from latefusion.data.sources import Pair, decode_image, decode_pair, size_text
from latefusion.errors import DataError, LatefusionError
from latefusion.inference.matte import Matte
from latefusion.metrics import MEASURES, Alpha, Measure

TOTAL = "all"  # the group of all photos in a summary
DOUBTFUL = 0.1  # the share of the pixels that `doubt_share` looks at
RESAMPLES, SEED, COVERAGE = 2000, 0, 95  # of the bootstrap; coverage in %
DRAWS_AT_ONCE = 4_000_000  # photos drawn by the bootstrap in one array, to hold memory down


@dataclass(frozen=True)
class Row:
    """The scores of one photo, by the key of the measure."""

    key: str
    source: str
    height: int
    width: int
    scores: dict[str, float]
    confidence: float | None = None  # the model's own, in [0, 1]
    doubt_share: float | None = None  # share of the absolute error in the 10 % most doubtful pixels


class Bad(NamedTuple):
    """A photo that could not be scored, and why; the reason names it."""

    key: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """What was measured, photo by photo in the order given, and what could not be."""

    measures: Mapping[str, Measure]
    rows: list[Row]
    bad: list[Bad]


class Example(NamedTuple):
    """A photo (H, W, 3) uint8 RGB where there is one, what was predicted for it, and the truth."""

    image: NDArray[np.uint8] | None
    pred: Alpha | Matte
    true: Alpha


class Case(NamedTuple):
    """A photo to score; `load` raises LatefusionError where it cannot be."""

    key: str
    load: Callable[[], Example]


class Interval(NamedTuple):
    """A mean over the photos that have a value, with its bootstrap interval."""

    mean: float
    low: float
    high: float
    photos: int


@dataclass(frozen=True)
class Group:
    """The photos of one source, or all: a mean per measure, and how well doubt finds the errors."""

    photos: int
    scores: dict[str, Interval]
    spearman: float | None  # of 1 - confidence with the error, see `ranking`
    doubt_share: float | None  # mean over photos


Predict: TypeAlias = Callable[[NDArray[np.uint8]], Alpha | Matte]  # image (H, W, 3) uint8 RGB
Track: TypeAlias = Callable[[list[Case]], Iterable[Case]]  # a progress bar round the cases
Watch: TypeAlias = Callable[[Row, Example], None]  # sees every scored photo


def evaluate_model(
    predict: Predict,
    pairs: Sequence[Pair],
    measures: Mapping[str, Measure] = MEASURES,
    track: Track = iter,
    watch: Watch = lambda *_: None,
) -> Evaluation:
    """Score a Predictor, or any function from an image to an alpha or Matte, on pairs."""
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
    """Score ready alphas against the truths of the same relative path without the ending.

    A prediction may also be called KEY-alpha or KEY-cutout. `images` holds the photos, for `watch`
    only. Every truth has to have a prediction. Raises DataError for a folder without pictures, or
    without a photo for any truth.
    """
    found, truths = pictures_by_key(preds), pictures_by_key(trues)
    photos = pictures_by_key(images, photos=True) if images else {}
    if images and not truths.keys() & photos.keys():
        raise DataError(f"{images}: no photo is called as a truth is, such as {next(iter(truths))}")
    cases = [
        Case(key, partial(_read, key, found, true, photos.get(key))) for key, true in truths.items()
    ]
    return _evaluate(cases, measures, track, watch)


def score(
    key: str, pred: Alpha | Matte, true: Alpha, measures: Mapping[str, Measure] = MEASURES
) -> Row:
    """The row of one photo; both alphas (H, W) in [0, 1], of a Matte also its confidence and doubt.

    Raises DataError where the sizes differ or a prediction is not in [0, 1].
    """
    matte = pred if isinstance(pred, Matte) else None
    alpha = np.asarray(pred.alpha if isinstance(pred, Matte) else pred, np.float32)
    if alpha.shape != true.shape:
        sizes = f"prediction is {size_text(alpha)} but truth is {size_text(true)}"
        raise DataError(f"{key}: {sizes}; they must be equal")
    if not (alpha.min() >= 0 and alpha.max() <= 1):  # also where it is nan
        raise DataError(f"{key}: prediction holds {alpha.min():g} to {alpha.max():g}, not 0 to 1")
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
    """What stands before the first '-' of the file name; without one, the folder's name."""
    path = PurePath(key)
    name, dash, _ = path.name.partition("-")
    source = (name if dash else path.parent.name) or "photos"
    return f"{source}-" if source == TOTAL else source


def doubtful_share(error: Alpha, doubt: Alpha) -> float | None:
    """Which share of the error lies in the tenth of the pixels with the most doubt.

    Of pixels with equal doubt at the limit each counts in part. None where there is no error.
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
    """The measure that says which photos are worst: MAD, or the first one where it is left out."""
    return measures.get("mad") or next(iter(measures.values()))


def badness(row: Row, measure: Measure) -> float:
    """A photo's value of the measure, turned so that higher is worse; nan where it has none."""
    value = row.scores[measure.key]
    return value if measure.better == "lower" else -value


def summarise(
    rows: Sequence[Row],
    measures: Mapping[str, Measure],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Group]:
    """Source -> its figures, sources sorted, and at the end those of all photos under "all".

    Intervals are 95 % percentile bootstraps over the photos that have a value.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.source):
        groups[row.source].append(row)
    groups[TOTAL] = list(rows)
    return {
        name: Group(
            photos=len(group),
            scores={
                key: interval([row.scores[key] for row in group], resamples, seed)
                for key in measures
            },
            spearman=_doubt_correlation(group, ranking(measures)),
            doubt_share=_mean_share(group),
        )
        for name, group in groups.items()
    }


def interval(values: Sequence[float], resamples: int = RESAMPLES, seed: int = SEED) -> Interval:
    """The mean of the values that are not nan and its 95 % percentile bootstrap interval."""
    finite = np.array([value for value in values if np.isfinite(value)])
    if finite.size == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    draws = np.random.default_rng(seed)
    step = max(1, DRAWS_AT_ONCE // finite.size)
    counts = [min(step, resamples - start) for start in range(0, resamples, step)]
    means = [
        finite[draws.integers(finite.size, size=(count, finite.size))].mean(axis=1)
        for count in counts
    ]
    tail = (100 - COVERAGE) / 2
    low, high = np.percentile(np.concatenate(means), [tail, 100 - tail])
    return Interval(float(finite.mean()), float(low), float(high), finite.size)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, ties averaged; pairs with a nan are left out.

    nan where fewer than two pairs are left or where one side is constant.
    """
    both = np.array([a, b], np.float64)
    both = both[:, np.isfinite(both).all(axis=0)]
    if both.shape[1] < 2 or (both == both[:, :1]).all(axis=1).any():
        return float("nan")
    return float(np.corrcoef(_ranks(both[0]), _ranks(both[1]))[0, 1])


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


def _read(key: str, found: Mapping[str, Path], true: Path, photo: Path | None) -> Example:
    pred, truth = read_alpha(find_prediction(key, found)), read_alpha(true)
    image = decode_image(photo) if photo else None
    if image is not None and image.shape[:2] != truth.shape:
        sizes = f"photo is {size_text(image)} but truth is {size_text(truth)}"
        raise DataError(f"{key}: {sizes}; they must be equal")
    return Example(image, pred, truth)


def _doubt_correlation(rows: Sequence[Row], measure: Measure) -> float | None:
    pairs = [(1 - r.confidence, badness(r, measure)) for r in rows if r.confidence is not None]
    return spearman(*zip(*pairs, strict=True)) if pairs else None


def _mean_share(rows: Sequence[Row]) -> float | None:
    shares = [row.doubt_share for row in rows if row.doubt_share is not None]
    return float(np.mean(shares)) if shares else None


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for the least; equal values share the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place])
