"""Measures of a matte against the truth: whole image, at the image's own size, values in [0, 1]."""

import numpy as np
from numpy.typing import NDArray


def mad(pred: NDArray[np.float32], true: NDArray[np.float32]) -> float:
    """Mean absolute difference over the whole image; 0 is perfect."""
    return float(np.abs(pred - true).mean(dtype=np.float64))


def iou(pred: NDArray[np.float32], true: NDArray[np.float32], threshold: float = 0.5) -> float:
    """Intersection over union of the two mattes cut at `threshold`; 1 where both are empty."""
    p, t = pred > threshold, true > threshold
    union = int((p | t).sum())
    return int((p & t).sum()) / union if union else 1.0
