"""Raw frames through a pipe, RGB24 in and straight RGBA out, for use between ffmpeg processes."""

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
from latefusion.video.pipeline import as_video_error, frame_mattes
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
    """Write the cut-outs of raw RGB24 frames of `size` (H, W) as raw RGBA; return their number.

    With a background in `look` the output is RGB24. It is a few frames late. `workers` frames are
    processed in parallel; `smooth` is that of `steadied`.

    Raises VideoError if there are no frames, or if the last one is incomplete, after writing the
    others. Raises OutputError if the target cannot be written.
    """
    done = 0
    frames = RawFrames(source, size)
    with (
        as_video_error("stdin"),
        ThreadPoolExecutor(workers, thread_name_prefix="latefusion") as pool,
    ):
        seen = frame_mattes(frames, np.asarray, predictor, smooth, pool, workers)
        for pixels in in_order(pool, partial(_show, look), seen, workers):
            try:
                target.write(pixels.tobytes())
                target.flush()
            except OSError as error:
                raise OutputError(
                    f"stdout cannot be written after {done} frames: {reason(error)}"
                ) from None
            done += 1
    if frames.left:
        height, width = size
        raise VideoError(
            f"stdin ends within frame {done + 1}, after {frames.left} of {frames.whole} bytes;"
            f" check that the frames are RGB24 of {width} x {height}"
        )
    if not done:
        raise VideoError("stdin held no frames; check the program that writes them")
    return done


class RawFrames:
    """Iterator over the raw frames (H, W, 3) of a stream.

    `whole` is the size of a frame in bytes. After the last frame, `left` is the size of an
    incomplete one in bytes, or 0.
    """

    def __init__(self, source: IO[bytes], size: Size) -> None:
        self._source, self._size = source, size
        self.whole, self.left = 3 * size[0] * size[1], 0

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        while len(given := self._read()) == self.whole:
            yield np.frombuffer(given, np.uint8).reshape(*self._size, 3)
        self.left = len(given)

    def _read(self) -> bytes:
        try:
            return self._source.read(self.whole)
        except OSError as error:  # closed, or a folder
            why = reason(error)
            raise VideoError(f"stdin cannot be read: {why}; pipe frames into it") from None


def _show(look: Look, seen: tuple[Matte, Any]) -> NDArray[np.uint8]:
    return np.asarray(render(seen[0], "cutout", look).pixels, np.uint8)
