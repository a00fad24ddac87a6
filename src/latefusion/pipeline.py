"""Work on several frames at a time: results in their order, and only so many of them held."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

from latefusion.batch import MOST_WORKERS, usable_cores

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
