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
# of min(alpha, 1 - alpha); the probability of a good matte from the mean of that, and of a person
# from the agreement of the two looks; the confidence from which on 95 % of the mattes are good.
ERROR_WEIGHT = 0.619
GOOD = (-21.202, 5.17)
PERSON = (-4.628, 5.442)
SURE = 0.83

LEAST_SUBJECT = 5e-4  # share of the photo; less is a speck, and no subject
LEAST_PART = 0.02  # of the largest part's area; less is a speck, and no part

Note: TypeAlias = Literal["no-subject", "unsure", "parts"]
NO_SUBJECT: Final = "no-subject"
UNSURE: Final = "unsure"
PARTS: Final = "parts"


# What each note says to a person, and what to try.
SENTENCES: dict[Note, str] = {
    NO_SUBJECT: "Nobody was found, so the cut-out is empty, or nearly so. If someone is there, crop"
    " the photo closer to them, or try --rotate-search if it lies on its side.",
    UNSURE: "Something may be missing, or too much was kept.",
    PARTS: "Several separate parts were kept: --subject largest keeps the largest one alone,"
    " --subject X,Y the one at that pixel.",
}


class Evidence(NamedTuple):
    """What a confidence is computed from, each in [0, 1]; None without a second look."""

    expected: float  # mean expected error
    agreement: float | None = None  # of the two looks: the soft IoU of their alphas


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
    either = float(np.maximum(first, second).sum(dtype=np.float64))
    both = float(np.minimum(first, second).sum(dtype=np.float64))
    return Evidence(expected, both / either if either else 1.0)


def confidence_of(found: Evidence) -> float:
    """Estimated probability that the subject is a person and the matte's MAD is below 0.02."""
    good = _logistic(GOOD, -math.log(max(found.expected, 1e-9)))
    if found.agreement is None:
        return good
    return good * _logistic(PERSON, -math.log(1.02 - found.agreement))


def _logistic(fit: tuple[float, float], feature: float) -> float:
    offset, slope = fit
    return 1 / (1 + math.exp(-max(-700.0, min(offset + slope * feature, 700.0))))


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
