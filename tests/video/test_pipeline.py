"""Parallel work: results in order, computed a limited number in advance."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import pytest

from latefusion.errors import VideoError
from latefusion.parallel import in_order
from latefusion.video.pipeline import as_video_error


def test_results_keep_their_order_whichever_ends_first() -> None:
    def work(number: int) -> int:
        time.sleep(0.02 if number % 2 == 0 else 0)
        return number

    with ThreadPoolExecutor(4) as pool:
        assert list(in_order(pool, work, range(12), 4)) == list(range(12))


def test_a_limited_number_of_items_is_taken_in_advance() -> None:
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


def test_an_error_is_raised_in_its_place() -> None:
    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, lambda number: 6 // (3 - number), range(6), 2)
        assert [next(results) for _ in range(3)] == [2, 3, 6]
        with pytest.raises(ZeroDivisionError):
            next(results)


@pytest.mark.parametrize(
    ("error", "said"),
    [(MemoryError(), "in.mp4 does not fit into memory"), (cv2.error("odd"), "in.mp4: odd")],
)
def test_memory_and_opencv_errors_name_their_clip(error: Exception, said: str) -> None:
    with pytest.raises(VideoError, match=said), as_video_error("in.mp4"):
        raise error
