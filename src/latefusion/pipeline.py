"""The frames of a clip through the network: several at a time, in their order, few of them held."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from latefusion.batch import MOST_WORKERS, usable_cores
from latefusion.framing import Box
from latefusion.held_view import held_views
from latefusion.matte import Matte
from latefusion.predictor import WHOLE, Matter
from latefusion.steady import steadied

Item = TypeVar("Item")
Given = TypeVar("Given")
Made = TypeVar("Made")


def side_by_side(threads: int | None = None) -> int:
    """How many frames are worked on at a time, one a thread; None takes one a core."""
    return min(threads or usable_cores(), MOST_WORKERS)


def in_order(
    pool: Executor, work: Callable[[Given], Made], items: Iterable[Given], ahead: int
) -> Iterator[Made]:
    """What `work` makes of each item, in their order, at most `ahead` of them beforehand.

    Items are taken from the calling thread, as they are needed.
    """
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def frame_mattes(
    items: Iterable[Item],
    pixels: Callable[[Item], NDArray[np.uint8]],
    matter: Matter,
    smooth: float,
    pool: Executor,
    workers: int,
) -> Iterator[tuple[Matte, Item]]:
    """The steadied matte of each frame with the item it came of, `workers` at a time.

    `pixels` makes an item (H, W, 3) RGB, on any thread. A small subject is looked at closer, unless
    the matter's framing is `whole`, in a view that is held still.
    """

    def look(item: Item) -> tuple[Matte, Item]:
        return matter.look(pixels(item)), item

    def look_closer(view: tuple[Matte, Box | None, Item]) -> tuple[Matte, Item]:
        found, box, item = view
        return matter.finish(matter.look_at(found, box) if box else found), item

    looks = in_order(pool, look, items, workers)
    views = ((found, None, item) for found, item in looks)
    closer = views if matter.framing == WHOLE else held_views(looks)
    seen = in_order(pool, look_closer, closer, workers)
    return steadied(seen, smooth, lambda work, many: in_order(pool, work, many, workers))
