"""Fit of the constants of `Matte.expected_error` and `Matte.confidence`, with a check.

    python benchmarks/calibrate.py dev.tar [--model FILE.onnx] [--size 512] [--out calibration.json]

Every second photo is used for the fit; the figures printed under "held out" are for the others. MAD
and error are as in `latefusion evaluate`: |p - t|, whole image, at the photo's own size.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from latefusion import Matte, MattingOptions, Predictor
from latefusion.data.sources import VAL_LIST, decode_pair, read_pairs
from latefusion.evaluation.scores import doubtful_share, source_of
from latefusion.evaluation.summary import spearman
from latefusion.inference.matte import GOOD_MAD

Vector = NDArray[np.float64]
BINS = (0.0, 0.002, 0.01, 0.05, 0.1, 0.2, 0.4, 1.01)  # of the expected error, for the table


class Photo(NamedTuple):
    """Statistics of a photo's pixels, in place of the pixels themselves."""

    source: str
    mad: float
    means: Vector  # (2,) of the features, the roots of doubt and of min(alpha, 1 - alpha)
    moments: NDArray[np.float64]  # (2, 2) mean products of the features
    with_error: Vector  # (2,) mean products with the error
    doubt_share: float | None  # by |fg + bg - 1|
    error_share: float | None  # by the expected error
    histogram: NDArray[np.float64]  # (bins, 3): pixels, expected and true error in them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--size", type=int)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    predictor = Predictor(args.model, MattingOptions(size=args.size, framing="whole"))
    photos = []
    for pair in read_pairs([args.pairs], VAL_LIST):
        image, truth = decode_pair(pair)
        photos.append(
            look(source_of(pair.key), predictor(image), np.divide(truth, 255, dtype=np.float32))
        )
    fitted, held = photos[::2], photos[1::2]
    weights = fit_weights(fitted)
    offset, slope = fit_confidence(fitted, weights)
    print(f"weights of doubt and of min(alpha, 1 - alpha): {weights[0]:.3f}, {weights[1]:.3f}")
    print(f"ERROR_WEIGHT = {weights[1]:.3f}  # where the doubt has none")
    print(f"CONFIDENCE = ({offset:.3f}, {slope:.3f})")
    found = check(held, weights, offset, slope)
    print(json.dumps(found, indent=1))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1))


def look(source: str, matte: Matte, true: NDArray[np.float32]) -> Photo:
    error = np.abs(matte.alpha - true)
    undecided = np.minimum(matte.alpha, 1 - matte.alpha)
    features = np.sqrt([matte.doubt.ravel(), undecided.ravel()], dtype=np.float64)
    expected = matte.expected_error
    place = np.digitize(expected.ravel(), BINS) - 1
    columns = (np.ones(error.size), expected.ravel(), error.ravel())
    return Photo(
        source,
        float(error.mean(dtype=np.float64)),
        features.mean(axis=1),
        features @ features.T / error.size,
        features @ error.ravel().astype(np.float64) / error.size,
        doubtful_share(error, matte.doubt),
        doubtful_share(error, expected),
        np.stack([np.bincount(place, c, len(BINS) - 1) for c in columns], axis=1),
    )


def fit_weights(photos: list[Photo]) -> Vector:
    """Least-squares fit of the error to both features, with equal weight for each photo."""
    moments = np.sum([photo.moments for photo in photos], axis=0)
    with_error = np.sum([photo.with_error for photo in photos], axis=0)
    weights = np.asarray(np.linalg.solve(moments, with_error))
    if (weights < 0).any():  # use the better of the two features alone
        alone = with_error / np.diag(moments)
        gain = with_error * alone
        weights = np.where(np.arange(2) == gain.argmax(), alone, 0.0)
    return weights


def fit_confidence(photos: list[Photo], weights: Vector) -> tuple[float, float]:
    """Logistic regression of MAD < GOOD_MAD on the log of the mean expected error (Newton)."""
    x = np.log([photo.means @ weights for photo in photos])
    design = np.stack([np.ones_like(x), -x], axis=1)
    good = np.array([photo.mad < GOOD_MAD for photo in photos], np.float64)
    b = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ b))
        curve = design.T @ (design * (p * (1 - p))[:, None]) + 1e-3 * np.eye(2)
        b += np.linalg.solve(curve, design.T @ (good - p) - 1e-3 * b)
    return float(b[0]), float(b[1])


def check(photos: list[Photo], weights: Vector, offset: float, slope: float) -> dict[str, object]:
    """Measures of ranking and calibration on the held-out photos."""
    expected = np.array([photo.means @ weights for photo in photos])
    mads = np.array([photo.mad for photo in photos])
    confidence = 1 / (1 + np.exp(-(offset - slope * np.log(expected))))
    groups: dict[str, list[int]] = {"all": list(range(len(photos)))}
    for i, photo in enumerate(photos):
        groups.setdefault(photo.source, []).append(i)
    shares = {
        "by |fg + bg - 1|": [photo.doubt_share for photo in photos],
        "by expected_error": [photo.error_share for photo in photos],
    }
    thirds = np.array_split(np.argsort(confidence), 3)
    pixels = np.sum([photo.histogram for photo in photos], axis=0)
    return {
        "photos held out": len(photos),
        "spearman of 1 - confidence with MAD": {
            name: round(spearman(list(1 - confidence[at]), list(mads[at])), 3)
            for name, at in groups.items()
        },
        "error in the 10 % most doubtful pixels, mean of photos": {
            name: round(float(np.mean([s for s in each if s is not None])), 3)
            for name, each in shares.items()
        },
        "thirds by confidence: mean confidence, share with MAD below the limit, mean MAD": [
            [
                round(float(v), 4)
                for v in (confidence[t].mean(), (mads[t] < GOOD_MAD).mean(), mads[t].mean())
            ]
            for t in thirds
        ],
        "expected error with the constants in matte.py: from, share of pixels, expected, true": [
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
