"""How many cores this process may use, and work done side by side in its order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

MOST_WORKERS = 8

Given = TypeVar("Given")
Made = TypeVar("Made")


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
