"""Closer view of a small subject in a clip, kept fixed while the subject stays inside it.

A new view for each frame would differ a little from frame to frame, and alpha would
flicker with it.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from latefusion.images.framing import Box
from latefusion.inference.closeup import LEAST_ZOOM, MARGIN, find_subject, with_margin, zoom
from latefusion.inference.matte import Matte

ROOM = 0.35  # margin around the subject in a new view, as a share of its longer side
TIGHT = MARGIN / 2  # a new view is chosen when less than this margin is left
SHRUNK = 0.6  # or when it would be smaller than this share of the old one

Tag = TypeVar("Tag")


def held_views(seen: Iterable[tuple[Matte, Tag]]) -> Iterator[tuple[Matte, Box | None, Tag]]:
    """Yield the first mattes of a clip's frames, each with the part to matte again, closer.

    The part is None if the subject is large enough. Tags are passed through.
    """
    held: Box | None = None
    for matte, tag in seen:
        subject = find_subject(matte.planes.alpha, matte.frame)
        if subject:
            wanted, tight = (with_margin(subject, matte.frame, room) for room in (ROOM, TIGHT))
            if held is None or not _serves(held, tight, wanted):
                held = wanted
        closer = held is not None and zoom(held, matte.alpha.shape) >= LEAST_ZOOM
        yield matte, held if closer else None, tag


def _serves(held: Box, tight: Box, wanted: Box) -> bool:
    """Return whether a view still holds the subject with its tight margin, and is not too large."""
    inside = (
        held.top <= tight.top
        and tight.bottom <= held.bottom
        and held.left <= tight.left
        and tight.right <= held.right
    )
    return inside and _side(wanted) >= SHRUNK * _side(held)


def _side(box: Box) -> int:
    return max(box.bottom - box.top, box.right - box.left)
