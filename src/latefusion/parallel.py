"""The cores that this process may use, and parallel work whose results keep their order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

MOST_WORKERS = 8

Given = TypeVar("Given")
Made = TypeVar("Made")


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def side_by_side(threads: int | None = None) -> int:
    """Return the number of frames to process in parallel: one per thread, by default per core."""
    return min(threads or usable_cores(), MOST_WORKERS)


def in_order(
    pool: Executor, work: Callable[[Given], Made], items: Iterable[Given], ahead: int
) -> Iterator[Made]:
    """Yield `work(item)` for each item, in order, computing at most `ahead` results in advance.

    `items` is iterated in the calling thread, as results are requested.
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
