"""Means of many photos' scores per source, with bootstrap intervals and rank correlations."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from latefusion.evaluation.scores import TOTAL, Row, badness, ranking
from latefusion.metrics import Measure

RESAMPLES, SEED, COVERAGE = 2000, 0, 95  # of the bootstrap; coverage in %
DRAWS_AT_ONCE = 4_000_000  # photos that the bootstrap draws in one array, to limit memory


class Interval(NamedTuple):
    """The mean of a measure over the photos that have a value, and its bootstrap interval.

    `low` and `high` are nan for fewer than two photos.
    """

    mean: float
    low: float
    high: float
    photos: int


@dataclass(frozen=True)
class Group:
    """The scores of one source or of all photos: means, and how well doubt predicts the error."""

    photos: int
    scores: dict[str, Interval]
    spearman: float | None  # of 1 - confidence with the error by `ranking`, in [-1, 1]
    doubt_share: float | None  # mean over photos, in [0, 1]


def summarise(
    rows: Sequence[Row],
    measures: Mapping[str, Measure],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Group]:
    """Group the photos by source: a dict of the sorted sources, then "all" for all photos.

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
    """The mean of the finite values and its 95 % percentile bootstrap interval.

    One value has none: every resample would repeat it.
    """
    finite = np.array([value for value in values if np.isfinite(value)])
    if finite.size < 2:
        return Interval(float(finite[0]) if finite.size else np.nan, np.nan, np.nan, finite.size)
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
    """Spearman's rank correlation in [-1, 1]; ties get their mean rank, pairs with nan are dropped.

    nan if fewer than two pairs are left or one side is constant.
    """
    both = np.array([a, b], np.float64)
    both = both[:, np.isfinite(both).all(axis=0)]
    if both.shape[1] < 2 or (both == both[:, :1]).all(axis=1).any():
        return float("nan")
    return float(np.corrcoef(_ranks(both[0]), _ranks(both[1]))[0, 1])


def _doubt_correlation(rows: Sequence[Row], measure: Measure) -> float | None:
    pairs = [(1 - r.confidence, badness(r, measure)) for r in rows if r.confidence is not None]
    return spearman(*zip(*pairs, strict=True)) if pairs else None


def _mean_share(rows: Sequence[Row]) -> float | None:
    shares = [row.doubt_share for row in rows if row.doubt_share is not None]
    return float(np.mean(shares)) if shares else None


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1 for the least value; equal values get the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place])
