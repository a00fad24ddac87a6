"""Photos turned without an EXIF tag: the quarter turn with the highest confidence wins."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latefusion.images.framing import Box, Letterbox
from latefusion.inference.detail import Detail
from latefusion.inference.matte import Matte
from latefusion.runtime.planes import Planes

Look: TypeAlias = Callable[[Any], Matte]

LEAD = 0.5  # in confidence; with less, an upright photo may be taken for a turned one


def search_turn(look: Look, detail: Look, image: NDArray[np.uint8]) -> Matte:
    """The matte of an image (H, W, 3), found in the most confident of its four quarter turns.

    Another turn must lead by LEAD in confidence, so none is tried if the first look is above
    1 - LEAD. `detail` takes the closer looks at the chosen turn, before it is turned back.
    """
    best, turned = look(image), 0
    others = (1, 2, 3) if best.confidence <= 1 - LEAD else ()
    least = best.confidence + LEAD
    for turns in others:
        found = look(np.rot90(image, turns).copy())
        if found.confidence >= least:
            best, turned, least = found, turns, found.confidence
    return _turned_back(detail(best), turned, image) if turned else detail(best)


def _turned_back(found: Matte, turns: int, image: NDArray[np.uint8]) -> Matte:
    """The matte of an image turned by so many quarters, turned back."""
    frame, planes = _view_back(found.frame, found.planes, turns)
    details = tuple(
        Detail(
            _box_back(each.box, found.alpha.shape, turns),
            *_view_back(each.frame, each.planes, turns),
            None if each.share is None else np.rot90(each.share, -turns).copy(),
        )
        for each in found.details
    )
    alpha = np.ascontiguousarray(np.rot90(found.alpha, -turns))
    second = None if found.second is None else np.rot90(found.second, -turns).copy()
    found = replace(found, image=image, alpha=alpha, second=second)
    return replace(found, planes=planes, frame=frame, details=details)


def _view_back(frame: Letterbox, planes: Planes, turns: int) -> tuple[Letterbox, Planes]:
    """A view without its padding, turned back."""
    alpha, fg, bg, blend = (
        np.ascontiguousarray(np.rot90(frame.inside(plane), -turns))
        for plane in (planes.alpha, planes.fg, planes.bg, planes.blend)
    )
    photo = frame.photo[::-1] if turns % 2 else frame.photo
    inner = alpha.shape[0], alpha.shape[1]
    return Letterbox(photo, inner, inner), Planes(alpha, fg, bg, blend, planes.fused)


def _box_back(box: Box, turned: tuple[int, ...], turns: int) -> Box:
    """A box of the turned image, of size `turned`, as a box of the image."""
    for _ in range(turns):  # a quarter clockwise undoes one of np.rot90
        box = Box(box.left, box.right, turned[0] - box.bottom, turned[0] - box.top)
        turned = turned[::-1]
    return box
