"""Work side by side, in order, and only so far ahead."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import pytest

from latefusion.errors import VideoError
from latefusion.parallel import in_order
from latefusion.video.pipeline import too_much_named


def test_results_come_in_order_whatever_ends_first() -> None:
    def work(number: int) -> int:
        time.sleep(0.02 if number % 2 == 0 else 0)
        return number

    with ThreadPoolExecutor(4) as pool:
        assert list(in_order(pool, work, range(12), 4)) == list(range(12))


def test_items_are_taken_only_so_far_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, lambda number: number, items(), 3)
        assert next(results) == 0
        assert len(taken) == 4
        assert next(results) == 1
        assert len(taken) == 5


def test_an_error_comes_at_its_place() -> None:
    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, lambda number: 6 // (3 - number), range(6), 2)
        assert [next(results) for _ in range(3)] == [2, 3, 6]
        with pytest.raises(ZeroDivisionError):
            next(results)


@pytest.mark.parametrize(
    ("error", "said"),
    [(MemoryError(), "in.mp4 does not fit into the memory"), (cv2.error("odd"), "in.mp4: odd")],
)
def test_what_is_too_much_is_told_of_its_clip(error: Exception, said: str) -> None:
    with pytest.raises(VideoError, match=said), too_much_named("in.mp4"):
        raise error
