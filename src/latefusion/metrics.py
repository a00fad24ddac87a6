"""Measures of a predicted alpha against the true one, each with its convention.

In all functions `pred` and `true` are (H, W) float32 in [0, 1] of the photo's own size, and
`region` is an (H, W) bool mask, or None for the whole image. A region limits the pixels that are
summed; filters and connected components always use the whole image. Sums and means are computed in
float64. Over an empty region a sum is 0, and a mean or an IoU is nan. The definitions are those of
the Deep Image Matting (DIM) evaluation code, Xu et al. 2017; each function states where it differs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.errors import DataError

Alpha: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]

GRAD_SIGMA, GRAD_HALF = 1.4, 4  # a kernel of 9 x 9
# Exact tenths (np.arange(0, 1.1, 0.1)[6] is above 0.6) as Python floats: NumPy then compares in the
# single precision of the alphas, where a pixel of 0.7 reaches 0.7; in double it would not.
CONN_LEVELS = tuple(step / 10 for step in range(11))
CONN_SLACK = 0.15  # a pixel less than this above its level counts as connected


def sad(pred: Alpha, true: Alpha, region: Mask | None = None) -> float:
    """Sum of absolute differences, in thousands: sum |p - t| / 1000."""
    return _sum(np.abs(_difference(pred, true, region)), region) / 1000


def mse(pred: Alpha, true: Alpha, region: Mask | None = None) -> float:
    """Mean squared difference."""
    return _mean(np.square(_difference(pred, true, region)), region)


def mad(pred: Alpha, true: Alpha, region: Mask | None = None) -> float:
    """Mean absolute difference."""
    return _mean(np.abs(_difference(pred, true, region)), region)


def grad(pred: Alpha, true: Alpha, region: Mask | None = None) -> float:
    """Gradient error: sum (A_p - A_t)^2 / 1000, A the amplitude of the Gaussian gradient.

    The 9 x 9 kernel, a Gaussian times its derivative at sigma 1.4, has unit L2 norm; the border is
    replicated. DIM first stretches both alphas to [0, 1] by their own minimum and maximum. Here
    they are not stretched, so that a faint alpha has an error. Only amplitudes are compared: 1 - t
    scores 0 against t, and blending towards the truth can increase the error.
    """
    _check(pred, true, region)
    return _sum(np.square(_amplitude(pred) - _amplitude(true)), region) / 1000


def conn(pred: Alpha, true: Alpha, region: Mask | None = None) -> float:
    """Connectivity error: sum |phi_p - phi_t| / 1000, phi = 1 - d [d >= 0.15], d = value - l.

    At each threshold 0.1, 0.2 .. 1, omega is the largest 4-connected component in which both alphas
    reach it. l is the last threshold before a pixel leaves omega for the first time, or 1 if it
    never does. If no pixel reaches a threshold, omega is empty and every pixel leaves, as in DIM.
    Of several equally large components all count, so that flips do not matter; DIM takes the first.
    """
    _check(pred, true, region)
    both = np.minimum(pred, true, dtype=np.float32)
    connected = np.ones(both.shape, np.bool_)
    level = np.zeros(both.shape, np.uint8)
    for threshold in CONN_LEVELS[1:]:
        connected &= _largest_components(both >= threshold)
        level += connected
    reached = np.array(CONN_LEVELS, np.float32)[level]
    return _sum(np.abs(_phi(pred, reached) - _phi(true, reached)), region) / 1000


def iou(pred: Alpha, true: Alpha, threshold: float = 0.5, region: Mask | None = None) -> float:
    """Intersection over union of pred > `threshold` and true > `threshold`; 1 if both are empty."""
    _check(pred, true, region)
    if region is not None and not region.any():
        return float("nan")
    p, t = pred > threshold, true > threshold
    if region is not None:
        p, t = p[region], t[region]
    union = int((p | t).sum())
    return int((p & t).sum()) / union if union else 1.0


def dtssd(
    pred: Alpha, true: Alpha, pred_before: Alpha, true_before: Alpha, region: Mask | None = None
) -> float:
    """Flicker at a frame: sqrt(mean(((p - p') - (t - t'))^2)), p' and t' of the previous frame.

    The value of a clip is the mean over all frames but the first; tables of RobustVideoMatting
    multiply it by 100. A constant error of a moving subject counts, too: the measure is not 0
    without flicker.

    Source: dtSSD of Erofeev et al., "Perceptually Motivated Benchmark for Video Matting" (BMVC
    2015).
    """
    change = _difference(pred, pred_before, region)
    change -= _difference(true, true_before, region)
    return float(np.sqrt(_mean(np.square(change), region)))


def outline_band(true: Alpha, radius: float = 10) -> Mask:
    """Mask of the pixels within `radius` pixels of a pixel on the other side of the true outline.

    The outline is where alpha crosses 1/2. Distances are Euclidean between pixel centres: at a
    straight edge the band is `radius` pixels wide on either side. Without an outline it is empty.
    """
    inside = true > 0.5
    if inside.all() or not inside.any():
        return np.zeros(true.shape, np.bool_)
    # Each transform is 0 on the other side, so their sum is the distance across the outline.
    across = _distance_out(inside) + _distance_out(~inside)
    return np.asarray(across <= radius)


def unknown(trimap: NDArray[np.uint8]) -> Mask:
    """Mask of the unknown region of a trimap (H, W): levels above 0 and below 255."""
    return np.asarray((trimap > 0) & (trimap < 255))


@dataclass(frozen=True)
class Measure:
    """A measure in a region, with the convention needed to compare its numbers with others.

    `mask` computes the region from the true alpha; None stands for the whole image. `str(measure)`
    is the footnote of a table.
    """

    key: str  # "mad_band10"
    label: str  # "MAD (band10)"
    region: str  # "whole image"
    convention: str  # formula, scaling, normalisation, border
    better: Literal["lower", "higher"]
    digits: int  # decimal places in a table
    function: Callable[..., float]  # of (pred, true, region=)
    mask: Callable[[Alpha], Mask] | None = None

    def __call__(self, pred: Alpha, true: Alpha) -> float:
        """Compute the measure for one photo."""
        return self.function(pred, true, region=self.mask(true) if self.mask else None)

    def __str__(self) -> str:
        return f"{self.label}: {self.convention}; {self.region}; {self.better} is better"


def _whole_image() -> dict[str, Measure]:
    whole = "whole image"
    return {
        measure.key: measure
        for measure in (
            Measure("sad", "SAD", whole, "sum of |p - t| / 1000", "lower", 2, sad),
            Measure("mse", "MSE", whole, "mean of (p - t)^2", "lower", 5, mse),
            Measure("mad", "MAD", whole, "mean of |p - t|", "lower", 4, mad),
            Measure(
                "grad",
                "Grad",
                whole,
                "sum of squared differences of the Gaussian gradient amplitudes / 1000, sigma 1.4, "
                "9 x 9 kernel of unit L2 norm, replicated border, no min-max stretch",
                "lower",
                2,
                grad,
            ),
            Measure(
                "conn",
                "Conn",
                whole,
                "sum of |phi_p - phi_t| / 1000, thresholds 0.1 to 1 in steps of 0.1, largest "
                "4-connected component (all of equal size), less than 0.15 above it forgiven, "
                "every pixel leaves where none reaches a threshold (as in Deep Image Matting)",
                "lower",
                2,
                conn,
            ),
            Measure(
                "iou",
                "IoU",
                whole,
                "intersection over union of p > 0.5 and t > 0.5, 1 where both are empty",
                "higher",
                4,
                iou,
            ),
        )
    }


WHOLE_IMAGE = _whole_image()


def measures_in(suffix: str, region: str, mask: Callable[[Alpha], Mask]) -> dict[str, Measure]:
    """Return every measure in another region, by key: `measures_in("unknown", ...)["sad_unknown"]`.

    `region` describes the region, and `mask` computes it from the true alpha. For a region from
    another source, such as a photo's own trimap, use `lambda true: unknown(trimap)`.
    """
    return {
        f"{key}_{suffix}": replace(
            measure,
            key=f"{key}_{suffix}",
            label=f"{measure.label} ({suffix})",
            region=region,
            mask=mask,
        )
        for key, measure in WHOLE_IMAGE.items()
    }


def measures_in_band(radius: int = 10) -> dict[str, Measure]:
    """Return every measure within `radius` pixels of the true outline: `mad_band10` and so on."""
    return measures_in(
        f"band{radius}",
        f"within {radius} px of the true outline (t = 0.5)",
        partial(outline_band, radius=radius),
    )


# The default columns of `evaluate`, in their order: key -> measure.
MEASURES = {**WHOLE_IMAGE, "mad_band10": measures_in_band(10)["mad_band10"]}


def _check(pred: Alpha, true: Alpha, region: Mask | None) -> None:
    if pred.ndim != 2 or pred.shape != true.shape:
        raise DataError(
            f"prediction {pred.shape} and truth {true.shape} must be two alphas (H, W) of one size"
        )
    if region is not None and (region.shape != true.shape or region.dtype != np.bool_):
        raise DataError(
            f"region {region.shape} {region.dtype} must be a bool mask of the truth's {true.shape}"
        )


def _difference(pred: Alpha, true: Alpha, region: Mask | None) -> NDArray[np.float64]:
    _check(pred, true, region)
    return np.subtract(pred, true, dtype=np.float64)


def _sum(plane: NDArray[np.floating], region: Mask | None) -> float:
    return float((plane if region is None else plane[region]).sum(dtype=np.float64))


def _mean(plane: NDArray[np.floating], region: Mask | None) -> float:
    pixels = plane.size if region is None else int(region.sum())
    return _sum(plane, region) / pixels if pixels else float("nan")


def _amplitude(alpha: Alpha) -> NDArray[np.float64]:
    """Gradient amplitude sqrt(gx^2 + gy^2) of an alpha: unit-norm derivatives of a Gaussian."""
    at = np.arange(-GRAD_HALF, GRAD_HALF + 1)
    smooth = np.exp(-(at**2) / (2 * GRAD_SIGMA**2))
    slope = at * smooth
    smooth, slope = smooth / np.linalg.norm(smooth), slope / np.linalg.norm(slope)
    plane = alpha.astype(np.float64)
    border = cv2.BORDER_REPLICATE
    gx = cv2.sepFilter2D(plane, cv2.CV_64F, slope, smooth, borderType=border)
    gy = cv2.sepFilter2D(plane, cv2.CV_64F, smooth, slope, borderType=border)
    return np.hypot(gx, gy)  # cv2.magnitude rounds by memory alignment: equal alphas would differ


def _largest_components(mask: Mask) -> Mask:
    """Mask of the largest 4-connected component, or of all that share the largest size."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S
    )
    if count == 1:  # label 0 is the background, not a component
        return np.zeros_like(mask)
    sizes = stats[:, cv2.CC_STAT_AREA]
    sizes[0] = 0
    return np.asarray((sizes == sizes.max())[labels])


def _phi(alpha: Alpha, reached: Alpha) -> Alpha:
    d = alpha - reached
    return np.asarray(1 - d * (d >= CONN_SLACK))


def _distance_out(inside: Mask) -> NDArray[np.float32]:
    """Distance of each pixel of `inside` to the nearest pixel outside; 0 outside."""
    return np.asarray(
        cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    )
