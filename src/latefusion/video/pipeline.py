"""Frames of a clip through the network: several in parallel, in order, few of them in memory."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.errors import LatefusionError, VideoError, reason
from latefusion.images.framing import Box
from latefusion.inference.matte import Matte
from latefusion.inference.options import WHOLE
from latefusion.inference.predictor import Predictor
from latefusion.parallel import in_order
from latefusion.video.held_view import held_views
from latefusion.video.steady import steadied

Item = TypeVar("Item")


@contextmanager
def as_video_error(name: str) -> Iterator[None]:
    """Raise a lack of memory and errors of OpenCV as a VideoError of the clip `name`."""
    try:
        yield
    except MemoryError:
        raise VideoError(f"{name} does not fit into memory; make it smaller") from None
    except cv2.error as error:
        raise VideoError(f"{name}: {reason(error)}") from None


def frame_mattes(
    items: Iterable[Item],
    pixels: Callable[[Item], NDArray[np.uint8]],
    predictor: Predictor,
    smooth: float,
    pool: Executor,
    workers: int,
) -> Iterator[tuple[Matte, Item]]:
    """Yield the matte of each frame, without flicker, with its item; `workers` run in parallel.

    `pixels` converts an item to (H, W, 3) RGB, on any thread. A small subject is matted again in a
    closer view that is kept fixed, unless the predictor's framing is `whole`. `smooth` is that of
    `steadied`.

    Raises LatefusionError for a predictor with options for photos only.
    """
    if predictor.options.photos_only:
        raise LatefusionError(
            f"{' and '.join(predictor.options.photos_only)}: for photos only, not for clips"
        )

    def look(item: Item) -> tuple[Matte, Item]:
        return predictor.look(pixels(item)), item

    def look_closer(view: tuple[Matte, Box | None, Item]) -> tuple[Matte, Item]:
        found, box, item = view
        return predictor.finish(predictor.look_at(found, box) if box else found), item

    looks = in_order(pool, look, items, workers)
    views = ((found, None, item) for found, item in looks)
    closer = views if predictor.options.framing == WHOLE else held_views(looks)
    seen = in_order(pool, look_closer, closer, workers)
    return steadied(seen, smooth, lambda work, many: in_order(pool, work, many, workers))
