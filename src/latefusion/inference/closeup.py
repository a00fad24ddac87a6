"""A second, closer look at a subject that is small in its photo: found coarsely, seen in detail."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.images.framing import Box, Letterbox
from latefusion.images.levels import Plane
from latefusion.inference.detail import Detail
from latefusion.inference.matte import Matte
from latefusion.runtime.model_file import ModelFile
from latefusion.runtime.runtimes import Network

MARGIN = 0.2  # around the subject, as a share of its longer side
LEAST_ZOOM = 1.2  # a smaller gain in pixels is not worth a second pass
SPECK = 0.05  # parts below that share of the largest one's area are not framed
MOST_FLIPPED = 0.1  # of the subject: where the two looks contradict each other, the first one stays
SURE = 0.9


def look_closer(network: Network, model: ModelFile, found: Matte, side: int | None) -> Matte:
    """The matte with its subject seen a second time, as large as the network's input allows.

    The matte itself where that would show hardly more, where there is no subject, or where the
    closer look takes much for subject that the first one was sure is none, or the other way round:
    without its surroundings a thing may be hard to tell.
    """
    box = subject_box(found.planes.alpha, found.frame)
    if box is None or zoom(box, found.alpha.shape) < LEAST_ZOOM:
        return found
    return look_at(network, model, found, side, box)


def look_at(network: Network, model: ModelFile, found: Matte, side: int | None, box: Box) -> Matte:
    """The matte with that part of its photo seen closer, or itself where the looks contradict."""
    part = np.ascontiguousarray(found.image[box.slices])
    frame = model.frame((part.shape[0], part.shape[1]), side)
    planes = network(frame.fit(part).transpose(2, 0, 1)[None])
    detail = Detail(box, frame, planes)
    alpha = found.alpha.copy()
    detail.paste(alpha, planes.alpha)
    if _flipped(found.alpha[box.slices], alpha[box.slices]) > MOST_FLIPPED:
        return found
    return replace(found, alpha=alpha, details=(detail,))


def subject_box(alpha: Plane, frame: Letterbox) -> Box | None:
    """Where the subject is in the photo, with its margin, given alpha at the network's size."""
    found = find_subject(alpha, frame)
    return with_margin(found, frame, MARGIN) if found else None


def find_subject(alpha: Plane, frame: Letterbox) -> Box | None:
    """The subject in alpha at the network's size, in pixels from where the frame lies in it.

    Of several parts all that are not small beside the largest one; None where there is none.
    """
    inner = frame.inside(alpha)
    count, _, stats, _ = cv2.connectedComponentsWithStats((inner > 0.5).astype(np.uint8))
    if count < 2:
        return None
    areas = stats[1:, cv2.CC_STAT_AREA]
    parts = stats[1:][areas >= SPECK * areas.max()]
    left, top = parts[:, cv2.CC_STAT_LEFT].min(), parts[:, cv2.CC_STAT_TOP].min()
    right = (parts[:, cv2.CC_STAT_LEFT] + parts[:, cv2.CC_STAT_WIDTH]).max()
    bottom = (parts[:, cv2.CC_STAT_TOP] + parts[:, cv2.CC_STAT_HEIGHT]).max()
    return Box(int(top), int(bottom), int(left), int(right))


def with_margin(found: Box, frame: Letterbox, margin: float) -> Box:
    """What `find_subject` found as a part of the photo; the margin is a share of its side."""
    room = margin * max(found.right - found.left, found.bottom - found.top)
    down, across = (photo / small for photo, small in zip(frame.photo, frame.inner, strict=True))
    return Box(
        max(0, int((found.top - room) * down)),
        min(frame.photo[0], int(np.ceil((found.bottom + room) * down))),
        max(0, int((found.left - room) * across)),
        min(frame.photo[1], int(np.ceil((found.right + room) * across))),
    )


def zoom(box: Box, photo: tuple[int, ...]) -> float:
    """How much larger the network sees a part of a photo of size (H, W) than in the whole."""
    return max(photo) / max(box.bottom - box.top, box.right - box.left)


def _flipped(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """What share of the subject the two looks are sure about and contradict each other in."""
    gained = ((before < 1 - SURE) & (after > SURE)).sum()
    lost = ((before > SURE) & (after < 1 - SURE)).sum()
    return float((gained + lost) / max(1, (before > 0.5).sum()))
