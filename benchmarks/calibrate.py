"""Fit of the constants in `latefusion/inference/confidence.py`, with a check.

    python benchmarks/calibrate.py --pairs dev.tar train-00.tar --empty background-00.tar
        [--every 1 7 2] [--leave-out KEY ...] [--model FILE.onnx] [--out calibration.json]

`--pairs` are photos with true alphas, `--empty` photos without people; `--every` takes each n-th
photo of a source, in their order, and `--leave-out` names photos of `--empty` that do show people.
The constants are fitted to all photos; the figures are cross-validated, so each photo's confidence
comes from the other four fifths. MAD and error are as in `latefusion evaluate`: |p - t|, whole
image, at the photo's own size, with the default options.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from latefusion import Matte, Predictor
from latefusion.data.sources import VAL_LIST, decode_image, decode_pair, named_images, read_pairs
from latefusion.evaluation.scores import doubtful_share, source_of
from latefusion.evaluation.summary import spearman
from latefusion.inference import confidence
from latefusion.inference.confidence import ERROR_WEIGHT, GOOD_MAD, Evidence, evidence

Vector = NDArray[np.float64]
Plane = NDArray[np.float32]
BINS = (0.0, 0.002, 0.01, 0.05, 0.1, 0.2, 0.4, 1.01)  # of the expected error, for the table
PRECISION = 0.95  # of the mattes that are called sure


class Photo(NamedTuple):
    """Statistics of a photo's pixels, in place of the pixels themselves."""

    key: str
    mad: float | None  # None for a photo without people
    found: bool  # that there is a subject
    seen: Evidence
    features: Vector  # (2,) means of the roots of doubt and of min(alpha, 1 - alpha)
    moments: NDArray[np.float64]  # (2, 2) mean products of these
    with_error: Vector  # (2,) mean products with the error
    doubt_share: float | None  # by |fg + bg - 1|
    error_share: float | None  # by the expected error
    histogram: NDArray[np.float64]  # (bins, 3): pixels, expected and true error in them

    @property
    def good(self) -> bool:
        return self.mad is not None and self.mad < GOOD_MAD


class Constants(NamedTuple):
    """What confidence.py takes over, by the same names."""

    GOOD: tuple[float, float]
    PERSON: tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--empty", type=Path, nargs="*", default=[])
    parser.add_argument("--every", type=int, nargs="*", default=[])
    parser.add_argument("--leave-out", nargs="*", default=[])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    steps = [*args.every, *[1] * (len(args.pairs) + len(args.empty) - len(args.every))]
    photos = list(read(Predictor(args.model), args.pairs, args.empty, steps, args.leave_out))
    weights = fit_weights(photos)
    print(f"weights of doubt and of min(alpha, 1 - alpha): {weights[0]:.3f}, {weights[1]:.3f}")
    print(f"ERROR_WEIGHT = {weights[1]:.3f}  # in use: {ERROR_WEIGHT}; run again after a change")
    for name, value in fit(photos)._asdict().items():
        print(f"{name} = {value}")
    confidences = crossed(photos)
    sure = threshold(photos, confidences)
    print(f"SURE = {sure}")
    report = check(photos, confidences, sure)
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1))


def read(
    predictor: Predictor,
    pairs: list[Path],
    empty: list[Path],
    every: list[int],
    left_out: list[str],
) -> Iterator[Photo]:
    """The photos of all sources, with people first."""
    for path, step in zip(pairs, every, strict=False):
        for pair in read_pairs([path], VAL_LIST)[::step]:
            if pair.key in left_out:
                continue
            image, true = decode_pair(pair)
            yield look(pair.key, predictor(image), np.divide(true, 255, dtype=np.float32))
    for path, step in zip(empty, every[len(pairs) :], strict=True):
        for key, content in named_images([path])[::step]:
            if key in left_out:
                continue
            yield look(key, predictor(decode_image(content)), None)


def look(key: str, matte: Matte, true: Plane | None) -> Photo:
    error = np.abs(matte.alpha - (0 if true is None else true))
    undecided = np.minimum(matte.alpha, 1 - matte.alpha)
    features = np.sqrt([matte.doubt.ravel(), undecided.ravel()], dtype=np.float64)
    expected = matte.expected_error
    place = np.digitize(expected.ravel(), BINS) - 1
    columns = (np.ones(error.size), expected.ravel(), error.ravel())
    return Photo(
        key,
        None if true is None else float(error.mean(dtype=np.float64)),
        matte.subject_found,
        evidence(matte.mix, matte.second),
        features.mean(axis=1),
        features @ features.T / error.size,
        features @ error.ravel().astype(np.float64) / error.size,
        doubtful_share(error, matte.doubt),
        doubtful_share(error, expected),
        np.stack([np.bincount(place, c, len(BINS) - 1) for c in columns], axis=1),
    )


def fit_weights(photos: list[Photo]) -> Vector:
    """Least-squares fit of the error to both features, with equal weight for each photo."""
    photos = [photo for photo in photos if photo.mad is not None]
    moments = np.sum([photo.moments for photo in photos], axis=0)
    with_error = np.sum([photo.with_error for photo in photos], axis=0)
    weights = np.asarray(np.linalg.solve(moments, with_error))
    if (weights < 0).any():  # use the better of the two features alone
        alone = with_error / np.diag(moments)
        gain = with_error * alone
        weights = np.where(np.arange(2) == gain.argmax(), alone, 0.0)
    return weights


def fit(photos: list[Photo]) -> Constants:
    """The constants, fitted to photos in which a subject was found.

    GOOD is fitted to photos of people, PERSON to photos with and without people.
    """
    photos = [photo for photo in photos if photo.found]
    people = [photo for photo in photos if photo.mad is not None]
    expected = np.array([-math.log(photo.seen.expected) for photo in people])
    agreement = np.array([-math.log(1.02 - (photo.seen.agreement or 0)) for photo in photos])
    return Constants(
        logistic(expected, np.array([photo.good for photo in people])),
        logistic(agreement, np.array([photo.mad is not None for photo in photos])),
    )


def logistic(feature: Vector, true: NDArray[np.bool_]) -> tuple[float, float]:
    """Logistic regression of n values, by Newton's method: offset and slope."""
    mean, spread = feature.mean(), feature.std()
    design = np.column_stack([np.ones(len(feature)), (feature - mean) / spread])
    b, ridge = np.zeros(2), np.diag([0.0, 0.1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ b, -500, 500)))
        curve = design.T @ (design * (p * (1 - p))[:, None]) + ridge
        b += np.linalg.solve(curve, design.T @ (true - p) - ridge @ b)
    slope = b[1] / spread
    return round(float(b[0] - slope * mean), 3), round(float(slope), 3)


def crossed(photos: list[Photo], folds: int = 5) -> Vector:
    """Each photo's confidence with constants that were fitted to the others."""
    fold = np.random.default_rng(0).permutation(len(photos)) % folds
    confidences = np.zeros(len(photos))
    for held in range(folds):
        constants = fit([photo for photo, own in zip(photos, fold, strict=True) if own != held])
        vars(confidence).update(constants._asdict())
        for at in np.flatnonzero(fold == held):
            seen = photos[at].seen
            confidences[at] = confidence.confidence_of(seen) if photos[at].found else 0.0
    return confidences


def threshold(photos: list[Photo], confidences: Vector) -> float:
    """The least confidence, in hundredths, from which on PRECISION of the mattes are good."""
    good = np.array([photo.good for photo in photos])
    for limit in np.arange(0.5, 1, 0.01):
        if good[confidences >= limit].mean() >= PRECISION:
            return round(float(limit), 2)
    return 0.99


def check(photos: list[Photo], confidences: Vector, limit: float) -> dict[str, object]:
    """Measures of ranking and calibration; a matte is called sure from `limit` on."""
    sure = confidences >= limit
    people = np.array([photo.mad is not None for photo in photos])
    found = np.array([photo.found for photo in photos])
    good = np.array([photo.good for photo in photos])
    groups: dict[str, list[int]] = {"all": list(np.flatnonzero(people))}
    for i in groups["all"]:
        groups.setdefault(source_of(photos[i].key), []).append(i)
    thirds = np.array_split(np.flatnonzero(people)[np.argsort(confidences[people])], 3)
    pixels = np.sum([p.histogram for p in photos if p.mad is not None], axis=0)
    shares = {
        "by |fg + bg - 1|": [p.doubt_share for p in photos if p.doubt_share is not None],
        "by expected_error": [p.error_share for p in photos if p.error_share is not None],
    }
    return {
        "photos with and without people": [int(people.sum()), int((~people).sum())],
        "people: called sure, of these good; no subject": [
            round(float(sure[people].mean()), 3),
            round(float(good[people & sure].mean()), 3),
            int((~found & people).sum()),
        ],
        "nobody: no subject, called sure": [
            int((~found & ~people).sum()),
            int(sure[~people].sum()),
        ],
        "spearman of 1 - confidence with MAD": {
            name: round(spearman(list(1 - confidences[at]), [photos[i].mad or 0.0 for i in at]), 3)
            for name, at in groups.items()
        },
        "error in the 10 % most doubtful pixels, mean of photos": {
            name: round(float(np.mean(each)), 3) for name, each in shares.items()
        },
        "thirds by confidence: mean confidence, share with MAD below the limit, mean MAD": [
            [
                round(float(v), 4)
                for v in (
                    confidences[t].mean(),
                    good[t].mean(),
                    np.mean([photos[i].mad for i in t]),
                )
            ]
            for t in thirds
        ],
        "expected error with the constant in use: from, share of pixels, expected, true": [
            [
                low,
                *(
                    round(float(v), 4)
                    for v in (n / pixels[:, 0].sum(), e / max(n, 1), t / max(n, 1))
                ),
            ]
            for low, (n, e, t) in zip(BINS[:-1], pixels, strict=True)
        ],
    }


if __name__ == "__main__":
    main()
