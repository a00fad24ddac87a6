"""Raw frames through a pipe: RGB24 in, straight RGBA out, for those who have ffmpeg around it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from latefusion.errors import OutputError, VideoError, reason
from latefusion.images.framing import Size
from latefusion.inference.matte import Matte
from latefusion.inference.outputs import PLAIN, Look, render
from latefusion.inference.predictor import Predictor
from latefusion.parallel import in_order
from latefusion.video.pipeline import frame_mattes, too_much_named
from latefusion.video.steady import SMOOTH


def matte_raw(
    source: IO[bytes],
    target: IO[bytes],
    size: Size,
    predictor: Predictor,
    *,
    workers: int = 1,
    look: Look = PLAIN,
    smooth: float = SMOOTH,
) -> int:
    """The cut-outs of raw RGB24 frames of `size`, (H, W), as raw RGBA frames; how many there were.

    With a background they are RGB24. They come a few frames late. Raises VideoError where there are
    none, or where the last one is not whole, after writing those before it, and OutputError where
    the target takes no more.
    """
    done = 0
    frames = RawFrames(source, size)
    with (
        too_much_named("stdin"),
        ThreadPoolExecutor(workers, thread_name_prefix="latefusion") as pool,
    ):
        seen = frame_mattes(frames, np.asarray, predictor, smooth, pool, workers)
        for pixels in in_order(pool, partial(_show, look), seen, workers):
            try:
                target.write(pixels.tobytes())
                target.flush()
            except OSError as error:
                raise OutputError(
                    f"stdout takes no more after {done} frames: {reason(error)}"
                ) from None
            done += 1
    if frames.left:
        height, width = size
        raise VideoError(
            f"stdin ends within frame {done + 1}, after {frames.left} of {frames.whole} bytes; are"
            f" the frames RGB24 of {width} x {height}?"
        )
    if not done:
        raise VideoError("stdin held no frames; did the program before it fail?")
    return done


class RawFrames:
    """Frames (H, W, 3) of a stream, until it ends; `left` is then what a last one has of `whole`.

    Both are in bytes, and `left` is 0 where all frames are whole.
    """

    def __init__(self, source: IO[bytes], size: Size) -> None:
        self._source, self._size = source, size
        self.whole, self.left = 3 * size[0] * size[1], 0

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        while len(given := self._source.read(self.whole)) == self.whole:
            yield np.frombuffer(given, np.uint8).reshape(*self._size, 3)
        self.left = len(given)


def _show(look: Look, seen: tuple[Matte, Any]) -> NDArray[np.uint8]:
    return np.asarray(render(seen[0], "cutout", look).pixels, np.uint8)
