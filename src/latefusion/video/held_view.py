"""Where a clip is looked at more closely: a view that stays put while the subject stays in it.

A closer look of its own for each frame would frame each a little differently, and alpha would
tremble with it.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from latefusion.images.framing import Box
from latefusion.inference.closeup import LEAST_ZOOM, MARGIN, find_subject, with_margin, zoom
from latefusion.inference.matte import Matte

ROOM = 0.35  # around the subject when a view is chosen, as a share of its longer side
TIGHT = MARGIN / 2  # it is chosen anew when less than that is left around the subject
SHRUNK = 0.6  # or when a new one would be smaller than that share of it

Tag = TypeVar("Tag")


def held_views(seen: Iterable[tuple[Matte, Tag]]) -> Iterator[tuple[Matte, Box | None, Tag]]:
    """First looks at the frames of a clip, each with the part to look at closer, None for none."""
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
    """Whether a view still shows the subject with some room, and not from too far away."""
    holds = (
        held.top <= tight.top
        and tight.bottom <= held.bottom
        and held.left <= tight.left
        and tight.right <= held.right
    )
    return holds and _side(wanted) >= SHRUNK * _side(held)


def _side(box: Box) -> int:
    return max(box.bottom - box.top, box.right - box.left)
