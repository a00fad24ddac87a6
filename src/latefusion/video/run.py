"""Clips: frames side by side through the network, steadied in their order, written as a clip."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from latefusion.errors import LatefusionError, VideoError, shown
from latefusion.images.writing import refuse_input
from latefusion.inference.matte import Matte
from latefusion.inference.outputs import CLIP_KINDS, PLAIN, Look, render
from latefusion.inference.predictor import Predictor
from latefusion.parallel import in_order, side_by_side
from latefusion.video.pipeline import frame_mattes, too_much_named
from latefusion.video.reading import Clip, Frame
from latefusion.video.steady import SMOOTH
from latefusion.video.writing import Writer, check_target, open_writer


def never() -> bool:
    """The answer of a run that nobody stops."""
    return False


def matte_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    kind: str = "cutout",
    look: Look = PLAIN,
    predictor: Predictor | None = None,
    smooth: float = SMOOTH,
    workers: int | None = None,
    step: Callable[[], None] = lambda: None,
    stop: Callable[[], bool] = never,
) -> int:
    """Write the matte of a clip as a clip, with its sound and times; the number of its frames.

    `target` is a .mov (ProRes 4444), .webm (VP9) or .mp4 (H.264, which needs a background), or,
    for numbered PNGs, a folder or a pattern like `out/%05d.png`. `kind` is one of CLIP_KINDS;
    `look` and `predictor` are as for photos, `tiles` and `rotate_search` apart, `smooth` as in
    `steadied`. `workers` frames are worked on at a time, one a core unless given; `step` is called
    after each. Where `stop` says so, what was done by then becomes a whole clip.

    Raises LatefusionError where it is asked for what clips cannot have, and OutputError; VideoError
    for a clip that is damaged or cut short, after writing what there is of it.
    """
    source, target = Path(source), Path(target)
    if kind not in CLIP_KINDS:
        raise LatefusionError(f"{kind!r} is not one of {', '.join(CLIP_KINDS)}")
    transparent = kind == "cutout" and look.transparent
    check_target(target, transparent)
    refuse_input(target, source, "clip")
    if isinstance(look.background, str | os.PathLike):
        refuse_input(target, Path(look.background), "background")
    predictor = predictor or fast_predictor()
    workers = workers or side_by_side()
    done = 0
    with (
        too_much_named(shown(source)),
        Clip(source) as clip,
        open_writer(target, clip, transparent) as writer,
        ThreadPoolExecutor(workers, thread_name_prefix="latefusion") as pool,
    ):
        frames = _frames(clip, writer, stop)
        seen = frame_mattes(frames, clip.upright, predictor, smooth, pool, workers)
        numbered = enumerate(seen, 1)
        for ready in in_order(pool, partial(_show, writer, kind, look), numbered, workers):
            writer.add(ready)
            done += 1
            step()
    if clip.damage and not stop():
        raise VideoError(f"{clip.damage}; {shown(target)} holds what could be read")
    return done


def mattes(
    source: str | os.PathLike[str],
    *,
    predictor: Predictor | None = None,
    smooth: float = SMOOTH,
    workers: int | None = None,
) -> Iterator[Matte]:
    """The mattes of a clip's frames, upright and in their order. Raises VideoError.

    A damaged clip, or one that is cut short, raises after the last frame that could be read.
    """
    predictor = predictor or fast_predictor()
    workers = workers or side_by_side()
    with (
        too_much_named(shown(Path(source))),
        Clip(Path(source)) as clip,
        ThreadPoolExecutor(workers) as pool,
    ):
        frames = (event for event in clip.events() if isinstance(event, Frame))
        for matte, _ in frame_mattes(frames, clip.upright, predictor, smooth, pool, workers):
            yield matte
    if clip.damage:
        raise VideoError(clip.damage)


def about_frames(source: str | os.PathLike[str]) -> int | None:
    """About how many frames a clip has; None where it does not say. Raises VideoError."""
    with Clip(Path(source)) as clip:
        return clip.frames or None


def fast_predictor() -> Predictor:
    """A Predictor for frames side by side, one thread each."""
    return Predictor(threads=1)


def _frames(clip: Clip, writer: Writer, stop: Callable[[], bool]) -> Iterator[Frame]:
    """The frames of a clip; its sound goes to the writer on the way."""
    for event in clip.events():
        if stop():
            return
        if isinstance(event, Frame):
            yield event
        else:
            writer.add_sound(event)


def _show(writer: Writer, kind: str, look: Look, numbered: tuple[int, tuple[Matte, Frame]]) -> Any:
    number, (matte, frame) = numbered
    pixels = np.asarray(render(matte, kind, look).pixels, np.uint8)
    return writer.prepare(pixels, number, frame.ticks, frame.lasts)
