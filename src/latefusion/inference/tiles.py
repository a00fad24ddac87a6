"""The outline of a large photo seen again in tiles, down to the photo's own pixels."""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.images.framing import Box, cuts, resize_plane, scales
from latefusion.images.levels import Plane
from latefusion.inference.detail import SEAM_SHARE, Detail
from latefusion.inference.matte import Matte
from latefusion.runtime.model_file import ModelFile
from latefusion.runtime.runtimes import Network

LEAST_GAIN = 1.2  # in scale; less is not worth another pass
TILE_SIDE = 640  # longest side of the network's input
SOFT = 0.02  # only pixels with alpha from SOFT to 1 - SOFT are looked at again
BAND = 4  # pixels around soft ones in which a tile may change alpha
# A tile sees no whole person, so it may add detail but not decide what is subject: it weighs less
# where its mean over NEARBY pixels differs from the known alpha by DISSENT or more.
NEARBY, DISSENT = 16.0, 0.08


def look_in_tiles(network: Network, model: ModelFile, found: Matte) -> Matte:
    """The matte with its soft pixels seen again in tiles, at larger and larger scales.

    Each pass at most doubles the scale; the last one sees the photo's own pixels. The matte is
    returned unchanged if the network has seen nearly these already, or if there is no outline.
    """
    alpha = found.alpha.copy()
    details: list[Detail] = []
    seen = found.frame.scale
    for scale in scales(seen) if seen * LEAST_GAIN < 1 else ():
        for box in _boxes(alpha, _longest(model, scale)):
            detail = _look(network, model, found.image, alpha, box, scale)
            detail.paste(alpha, detail.planes.alpha)
            details.append(detail.halved())
    if not details:
        return found
    return replace(found, alpha=alpha, details=(*found.details, *details))


def _longest(model: ModelFile, scale: float) -> int:
    """Longest side of a tile, in the photo's pixels."""
    return round((min(model.size) if model.size else TILE_SIDE) / scale)


def _boxes(alpha: Plane, longest: int) -> Iterator[Box]:
    """Tiles that cover a photo, without those that have no soft pixel."""
    soft = (alpha > SOFT) & (alpha < 1 - SOFT)
    shared = round(2 * SEAM_SHARE * longest)  # room for both seams where two meet
    rows, columns = (cuts(length, longest, shared) for length in alpha.shape)
    for top, bottom in rows:
        for left, right in columns:
            box = Box(top, bottom, left, right)
            if soft[box.slices].any():
                yield box


def _look(
    network: Network,
    model: ModelFile,
    image: NDArray[np.uint8],
    alpha: Plane,
    box: Box,
    scale: float,
) -> Detail:
    """The network's view of a tile, and its weight at each pixel."""
    part = np.ascontiguousarray(image[box.slices])
    size = part.shape[0], part.shape[1]
    frame = model.frame(size, None if model.size else max(1, round(max(size) * scale)))
    planes = network(frame.fit(part).transpose(2, 0, 1)[None])
    known = resize_plane(np.ascontiguousarray(alpha[box.slices]), frame.inner)
    return Detail(box, frame, planes, _share(known, frame.inside(planes.alpha)))


def _share(known: Plane, seen: Plane) -> Plane:
    """Weight of a tile's alpha at each pixel, in [0, 1], given the known alpha; all (H, W)."""
    soft = np.asarray((known > SOFT) & (known < 1 - SOFT)).astype(np.float32)
    width = 2 * BAND + 1
    band = cv2.blur(cv2.dilate(soft, np.ones((width, width), np.uint8)), (width, width))
    dissent = cv2.GaussianBlur(np.abs(seen - known), (0, 0), NEARBY)
    return np.asarray(band * np.exp(-np.square(dissent / DISSENT)), np.float32)
