"""Matting of clips: read a clip, process its frames in parallel, write a clip or PNGs."""

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latefusion.errors import LatefusionError, VideoError, shown
from latefusion.images.compositing import parse_blur, read_background
from latefusion.images.writing import refuse_input
from latefusion.inference.matte import Matte
from latefusion.inference.outputs import CLIP_KINDS, PLAIN, Look, render
from latefusion.inference.predictor import Predictor
from latefusion.parallel import in_order, side_by_side
from latefusion.video.colour import with_finer_steps
from latefusion.video.light import PQ, differs_from_srgb, from_srgb
from latefusion.video.pipeline import as_video_error, frame_mattes
from latefusion.video.reading import Clip
from latefusion.video.steady import SMOOTH
from latefusion.video.times import WHOLE_CLIP, Frame, Span
from latefusion.video.writing import Writer, check_target, open_writer


def matte_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    kind: str = "cutout",
    look: Look = PLAIN,
    predictor: Predictor | None = None,
    smooth: float = SMOOTH,
    span: Span = WHOLE_CLIP,
    workers: int | None = None,
    step: Callable[[], None] = lambda: None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Write the mattes of a clip as a clip, with its sound and times; return the number of frames.

    `target` is a .mov (ProRes 4444), a .webm (VP9), a .mp4 (H.264, or HEVC for HDR; it needs a
    background), or, for numbered PNGs, a folder or a pattern like `out/%05d.png`. `kind` is one of
    CLIP_KINDS.
    `look` and `predictor` are as for photos, without `tiles` and `rotate_search`. `smooth` is that
    of `steadied`. `span` is the part of the clip to process. `workers` frames are processed in
    parallel, by default one per core. `step` is called after each frame. When `stop` returns True,
    the frames done so far become a whole clip. A clip's own alpha multiplies that of the network.

    Raises LatefusionError for options that clips do not support, and OutputError for a target that
    cannot be written. Raises VideoError for a clip that is damaged or cut short, after writing what
    can be read. Warns where no frame has a subject.
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
        as_video_error(shown(source)),
        Clip(source, span) as clip,
        open_writer(target, clip, transparent) as writer,
        ThreadPoolExecutor(workers, thread_name_prefix="latefusion") as pool,
    ):
        look = _in_space_of(clip, look)
        frames = _frames(clip, writer, stop)
        seen = frame_mattes(frames, clip.seen, predictor, smooth, pool, workers)
        numbered = enumerate(seen, 1)
        subjects: set[bool] = set()
        show = partial(_show, clip, writer, kind, look, subjects)
        for ready in in_order(pool, show, numbered, workers):
            writer.add(ready)
            done += 1
            step()
    if subjects == {False}:
        warnings.warn(f"{clip.name}: no subject found in any frame", stacklevel=2)
    if clip.damage and not stop():
        raise VideoError(f"{clip.damage}; {shown(target)} holds what could be read")
    return done


def mattes(
    source: str | os.PathLike[str],
    *,
    predictor: Predictor | None = None,
    smooth: float = SMOOTH,
    span: Span = WHOLE_CLIP,
    workers: int | None = None,
) -> Iterator[Matte]:
    """Yield the mattes of a clip's frames, upright and in order.

    The arguments are those of `matte_video`. Raises VideoError; for a clip that is damaged or cut
    short after the last frame that can be read.
    """
    predictor = predictor or fast_predictor()
    workers = workers or side_by_side()
    with (
        as_video_error(shown(Path(source))),
        Clip(Path(source), span) as clip,
        ThreadPoolExecutor(workers) as pool,
    ):
        frames = (event for event in clip.events() if isinstance(event, Frame))
        for seen in frame_mattes(frames, clip.seen, predictor, smooth, pool, workers):
            yield _own(clip, *seen)
    if clip.damage:
        raise VideoError(clip.damage)


def about_frames(source: str | os.PathLike[str], span: Span = WHOLE_CLIP) -> int | None:
    """Return the approximate number of frames of a clip, or None if unknown. Raises VideoError."""
    with Clip(Path(source), span) as clip:
        return clip.frames or None


def fast_predictor() -> Predictor:
    """A Predictor for frames side by side, one thread each."""
    return Predictor(threads=1)


def _frames(clip: Clip, writer: Writer, stop: Callable[[], bool]) -> Iterator[Frame]:
    """Yield the frames of a clip, and pass its sound on to the writer."""
    for event in clip.events():
        if stop():
            return
        if isinstance(event, Frame):
            yield event
        else:
            writer.add_sound(event)


def _in_space_of(clip: Clip, look: Look) -> Look:
    """Bring a background, which is in sRGB, into the clip's space. Raises ImageError."""
    plain = not differs_from_srgb(clip.colour)
    if plain or look.transparent or parse_blur(look.background) is not None:
        return look
    return replace(
        look, background=from_srgb(read_background(look.background, clip.size), clip.colour)
    )


def _show(
    clip: Clip,
    writer: Writer,
    kind: str,
    look: Look,
    subjects: set[bool],
    numbered: tuple[int, tuple[Matte, Frame]],
) -> Any:
    """Prepare a frame's picture for the writer, and note in `subjects` if it has a subject."""
    number, (matte, frame) = numbered
    matte = _own(clip, matte, frame)
    subjects.add(matte.subject_found)
    pixels: NDArray[Any] = np.asarray(render(matte, kind, look).pixels, np.uint8)
    deep = clip.deep(frame) if writer.deep and pixels.ndim == 3 else None
    if deep is not None:
        pixels = with_finer_steps(pixels, matte.image, deep, matte.alpha)
    return writer.prepare(pixels, number, frame.ticks, frame.lasts)


def _own(clip: Clip, matte: Matte, frame: Frame) -> Matte:
    """Give a matte the clip's own levels, and multiply alpha by that of the clip, if it has one."""
    if clip.colour.transfer == PQ:
        matte = replace(matte, image=clip.upright(frame))
    return matte.faded(clip.opacity(frame))
