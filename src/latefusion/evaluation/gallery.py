"""Thumbnails of the worst photos of an evaluation, collected while it runs."""

import base64
import heapq
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.evaluation.scores import Example, Row, badness
from latefusion.images.foreground import estimate_foreground
from latefusion.images.framing import resize
from latefusion.images.levels import to_levels
from latefusion.inference.matte import Matte
from latefusion.metrics import Alpha, Measure

WORST = 24  # photos with pictures
HEIGHT = 260
MAX_ASPECT = 3  # a picture wider than this many heights is made lower than HEIGHT
JPEG_QUALITY = 88
GREEN = (0, 177, 64)
TOO_MUCH, MISSING = (214, 39, 40), (31, 90, 200)  # red and blue of the signed difference

RGB = NDArray[np.uint8]  # (h, w, 3)


class Picture(NamedTuple):
    """A picture of the report: its caption and its content as a data: URL."""

    caption: str
    url: str


class Gallery:
    """Pictures of the `worst` photos by a measure, among all that were added so far."""

    def __init__(self, measure: Measure, worst: int = WORST) -> None:
        self._measure = measure
        self._worst = worst
        self._kept: list[tuple[float, int, str, list[Picture]]] = []  # a heap, the best photo first
        self._added = 0

    def add(self, row: Row, example: Example) -> None:
        """Keep the pictures of a photo if it is among the worst; of equal ones the earlier stay."""
        self._added += 1
        order = (_order(badness(row, self._measure)), -self._added)
        if len(self._kept) < self._worst:
            heapq.heappush(self._kept, (*order, row.key, draw(example)))
        elif order > self._kept[0][:2]:
            heapq.heapreplace(self._kept, (*order, row.key, draw(example)))

    def pictures(self) -> dict[str, list[Picture]]:
        """A dict from a photo's key to its pictures, the worst photo first."""
        return {key: pictures for *_, key, pictures in sorted(self._kept, reverse=True)}


def draw(example: Example) -> list[Picture]:
    """Pictures of photo, truth, prediction, signed difference and cut-out.

    An example without a photo has no photo and no cut-out.
    """
    pred = example.pred.alpha if isinstance(example.pred, Matte) else np.asarray(example.pred)
    pred, true = _small(np.asarray(pred, np.float32)), _small(example.true)
    views: dict[str, NDArray[np.uint8]] = {
        "truth": to_levels(true),
        "prediction": to_levels(pred),
        "difference": signed_difference(pred, true),
    }
    if example.image is not None:
        image = _small(example.image)
        views = {"photo": image, **views, "cut-out": over_green(image, pred)}
    return [Picture(caption, _data_url(view)) for caption, view in views.items()]


def signed_difference(pred: Alpha, true: Alpha) -> RGB:
    """An (H, W, 3) image: white where equal, red where alpha is too high, blue where too low."""
    difference = (pred - true)[:, :, None]
    colour = np.where(difference > 0, np.array(TOO_MUCH, np.float32), np.array(MISSING, np.float32))
    strength = np.abs(difference)
    return np.asarray(np.rint(255 + strength * (colour - 255)), np.uint8)


def over_green(image: RGB, alpha: Alpha) -> RGB:
    """The subject, with estimated foreground colours, over green, which shows leftovers."""
    opacity = alpha[:, :, None]
    mixed = opacity * estimate_foreground(image, alpha) + (1 - opacity) * np.array(
        GREEN, np.float32
    )
    return np.asarray(np.rint(mixed), np.uint8)


def _order(badness: float) -> float:
    """The sort key of a photo; one without a value comes after all others."""
    return -np.inf if np.isnan(badness) else badness


def _small(picture: NDArray[Any]) -> NDArray[Any]:
    height, width = picture.shape[:2]
    scale = min(HEIGHT / height, MAX_ASPECT * HEIGHT / width)
    small = resize(picture, (max(1, round(height * scale)), max(1, round(width * scale))))
    return np.clip(small, 0, 1) if small.dtype == np.float32 else small  # bicubic overshoots


def _data_url(picture: NDArray[np.uint8]) -> str:
    """A picture, (h, w) or (h, w, 3) RGB, as a data: URL of a JPEG."""
    bgr = picture if picture.ndim == 2 else picture[:, :, ::-1]
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
