"""How far a matte can be trusted: whether it holds a subject, its confidence, and what to try.

The evidence is alpha itself and a second look: the same network on the mirrored photo at half its
size. On a person both agree; a thing that the first look took for one is often gone.
"""

import math
from typing import Final, Literal, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.images.framing import resize_plane
from latefusion.images.levels import Plane

GOOD_MAD = 0.02  # a matte with a smaller MAD is a good one

# Fitted to the default weights by benchmarks/calibrate.py: |alpha - true| of a pixel from the root
# of min(alpha, 1 - alpha); the probability of a good matte from the log of the mean of that alone;
# the same together with the second look's dispute; the probability that the subject is a person
# from the second look's support; and the confidence from which 95 % of the mattes are good.
ERROR_WEIGHT = 0.584
ALONE = (-20.903, 5.083)
GOOD = (-19.492, 4.799, 4.45)
PERSON = (-13.363, 18.949)
SURE = 0.77

LEAST_SUBJECT = 5e-4  # share of the photo; less is a speck, and no subject
LEAST_PART = 0.02  # of the largest part's area; less is a speck, and no part
RIM = 2  # pixels of the second look; a dispute that is no wider is a matter of the outline

Note: TypeAlias = Literal["no-subject", "unsure", "parts"]
NO_SUBJECT: Final = "no-subject"
UNSURE: Final = "unsure"
PARTS: Final = "parts"


# What each note says to a person, and what to try.
SENTENCES: dict[Note, str] = {
    NO_SUBJECT: "Nobody was found, so the cut-out is empty. If someone is there, crop the photo"
    " closer to them, or try --rotate-search if it lies on its side.",
    UNSURE: "Something may be missing, or too much was kept.",
    PARTS: "Several separate parts were kept: --subject largest keeps the largest one alone,"
    " --subject X,Y the one at that pixel.",
}


class Evidence(NamedTuple):
    """What a confidence is computed from, each in [0, 1]; None without a second look."""

    expected: float  # mean expected error
    dispute: float | None = None  # share of the photo where the looks contradict, but for a rim
    support: float | None = None  # mean of the second look's alpha inside the subject


def expected_error(alpha: Plane) -> Plane:
    """Estimate of |alpha - true| at each pixel, (H, W) in [0, 1]; it grows away from 0 and 1."""
    error = np.subtract(np.float32(1), alpha)
    np.minimum(error, alpha, out=error)
    np.sqrt(error, out=error)
    error *= np.float32(ERROR_WEIGHT)
    return error


def evidence(alpha: Plane, second: Plane | None) -> Evidence:
    """The evidence in alpha (H, W) and in a second look (h, w) at the same photo."""
    expected = float(expected_error(alpha).mean(dtype=np.float64))
    if second is None:
        return Evidence(expected)
    first = resize_plane(alpha, (second.shape[0], second.shape[1]))
    subject = first > 0.5
    contradicted = (np.abs(first - second) > 0.5).astype(np.uint8)
    square = np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8)
    dispute = float(cv2.erode(contradicted, square, borderValue=1).mean())
    return Evidence(expected, dispute, float(second[subject].mean()) if subject.any() else 0.0)


def confidence_of(found: Evidence) -> float:
    """Estimated probability that the subject is a person and the matte's MAD is below 0.02."""
    if found.dispute is None or found.support is None:
        return _logistic(ALONE, -math.log(max(found.expected, 1e-9)))
    good = _logistic(GOOD, -math.log(max(found.expected, 1e-9)), -math.sqrt(found.dispute))
    return good * _logistic(PERSON, found.support)


def _logistic(weights: tuple[float, ...], *features: float) -> float:
    total = weights[0] + math.fsum(w * x for w, x in zip(weights[1:], features, strict=True))
    return 1 / (1 + math.exp(-max(-700.0, min(total, 700.0))))


def has_subject(alpha: Plane) -> bool:
    """True if more than a speck of the photo is subject."""
    return bool(np.count_nonzero(alpha > 0.5) >= LEAST_SUBJECT * alpha.size)


def parts_of(alpha: Plane) -> int:
    """The number of separate parts of the subject that are more than specks."""
    scale = min(1.0, 512 / max(alpha.shape))
    size = max(1, round(alpha.shape[0] * scale)), max(1, round(alpha.shape[1] * scale))
    solid: NDArray[np.uint8] = (resize_plane(alpha, size) > 0.5).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(solid)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return int(np.count_nonzero(areas >= LEAST_PART * areas.max(initial=0))) if areas.size else 0
