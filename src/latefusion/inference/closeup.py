"""A second, closer look at a subject that is small in its photo."""

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
LEAST_ZOOM = 1.2  # a smaller gain in resolution is not worth a second pass
SPECK = 0.05  # parts below this share of the largest one's area are ignored
MOST_FLIPPED = 0.1  # share of the subject; if the looks contradict in more, the first is kept
SURE = 0.9


def look_closer(network: Network, model: ModelFile, found: Matte, side: int | None) -> Matte:
    """The matte with its subject seen again, as large as the network's input allows.

    The matte is returned unchanged if that gains little resolution, if there is no subject, or if
    the closer look contradicts the first, since a subject is harder to tell without its context.
    """
    box = subject_box(found.planes.alpha, found.frame)
    if box is None or zoom(box, found.alpha.shape) < LEAST_ZOOM:
        return found
    return look_at(network, model, found, side, box)


def look_at(network: Network, model: ModelFile, found: Matte, side: int | None, box: Box) -> Matte:
    """The matte with a part of its photo seen closer; unchanged if the looks contradict."""
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
    """Box of the subject in the photo, with its margin, given alpha at the network's size."""
    found = find_subject(alpha, frame)
    return with_margin(found, frame, MARGIN) if found else None


def find_subject(alpha: Plane, frame: Letterbox) -> Box | None:
    """Box of the subject in alpha at the network's size, in pixels from the frame's corner.

    It holds all parts that are not small beside the largest one; None if there is no subject.
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
    """A box of `find_subject` in pixels of the photo, with a margin as a share of its side."""
    room = margin * max(found.right - found.left, found.bottom - found.top)
    down, across = (photo / small for photo, small in zip(frame.photo, frame.inner, strict=True))
    return Box(
        max(0, int((found.top - room) * down)),
        min(frame.photo[0], int(np.ceil((found.bottom + room) * down))),
        max(0, int((found.left - room) * across)),
        min(frame.photo[1], int(np.ceil((found.right + room) * across))),
    )


def zoom(box: Box, photo: tuple[int, ...]) -> float:
    """Gain in resolution from a look at one part of a photo of size (H, W)."""
    return max(photo) / max(box.bottom - box.top, box.right - box.left)


def _flipped(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Share of the subject where the two looks are sure and contradict each other."""
    gained = ((before < 1 - SURE) & (after > SURE)).sum()
    lost = ((before > SURE) & (after < 1 - SURE)).sum()
    return float((gained + lost) / max(1, (before > 0.5).sum()))
