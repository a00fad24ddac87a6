"""The command for clips, video."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Annotated

import cv2
import typer

from latefusion.cli.matte import PIPE
from latefusion.cli.options import (
    Device,
    Model,
    Strict,
    Threads,
    clip_options,
    with_background,
    with_options,
)
from latefusion.cli.streams import print_name
from latefusion.cli.terminal import complain, extra_packages, item_bar, threads_here
from latefusion.errors import LatefusionError, OutputError, shown
from latefusion.images.reading import MAX_PIXELS
from latefusion.images.writing import refuse_input
from latefusion.inference.options import IN_AND_OUT, QUALITY, MattingOptions
from latefusion.inference.outputs import CLIP_KINDS, ClipKind, Look
from latefusion.inference.predictor import Predictor
from latefusion.parallel import side_by_side
from latefusion.runtime.devices import AUTO
from latefusion.video.steady import SMOOTH
from latefusion.video.times import Span, parse_time

DEFAULT_SUFFIX = ".mov"  # of a result without -o

video_app = typer.Typer()


@video_app.command()
@with_options
def video(
    clip: Annotated[
        Path | None, typer.Argument(metavar="CLIP", show_default=False, help="A video of people.")
    ] = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="NAME.mov: ProRes 4444 with alpha. NAME.webm: VP9 with alpha. NAME.mp4: H.264,"
            " with a --background. A folder, or a name like out/%05d.png: a PNG for each frame.",
            show_default="CLIP-cutout.mov, or CLIP- and the kind of --save, in this folder",
            rich_help_panel=IN_AND_OUT,
        ),
    ] = None,
    save: Annotated[
        ClipKind, typer.Option(help="The kind of result.", rich_help_panel=IN_AND_OUT)
    ] = "cutout",
    start: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            show_default="0",
            help="Begin here: seconds, or H:MM:SS.",
            rich_help_panel=IN_AND_OUT,
        ),
    ] = "",
    end: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            show_default="the clip's end",
            help="End here: seconds from the clip's start, or H:MM:SS.",
            rich_help_panel=IN_AND_OUT,
        ),
    ] = "",
    look: Annotated[Look, clip_options(Look)],
    smooth: Annotated[
        float,
        typer.Option(
            min=0, max=0.95, help="Reduce flicker; 0 does nothing.", rich_help_panel=QUALITY
        ),
    ] = SMOOTH,
    raw: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="W H",
            help="Raw RGB24 frames from stdin, RGBA frames to stdout; no CLIP.",
            rich_help_panel=IN_AND_OUT,
        ),
    ] = None,
    matting: Annotated[MattingOptions, clip_options(MattingOptions)],
    model: Model = None,
    device: Device = AUTO,
    threads: Threads = None,
    strict: Strict = False,
) -> None:
    """Cut people out of a clip: writes CLIP-cutout.mov, or what -o names.

    Sound, times, rotation and colours are kept.
    Of a clip that is damaged or cut short, everything that can be read is written; the exit code is
    then 1. After Ctrl-C or SIGTERM the frames done so far are a complete clip.
    """
    span = _span(start, end)
    _check_words(clip, out, raw, save, span)
    if clip and not out:
        out = _default_name(clip, save)
    if out:
        refuse_input(out, Path(str(look.background)), "background")
    look = with_background(look)
    workers = side_by_side(threads_here(threads))
    predictor = Predictor(model, matting, device=device, threads=1, strict=strict)
    predictor.load()
    cv2.setNumThreads(1)
    with extra_packages("video"):
        if raw:
            _raw(raw, predictor, look, smooth, workers)
        elif clip and out:
            _movie(clip, out, predictor, look, save, smooth, span, workers)


def _span(start: str, end: str) -> Span:
    try:
        return Span(parse_time(start or "0"), parse_time(end) if end else None)
    except LatefusionError as error:
        raise typer.BadParameter(str(error)) from None


def _default_name(clip: Path, save: str) -> Path:
    """Return the name of a result without -o. Raises OutputError if there is such a file."""
    out = Path(f"{clip.stem}-{save}{DEFAULT_SUFFIX}")
    if os.path.lexists(out):  # of another clip or part; lexists never raises
        raise OutputError(
            f"{shown(out)} exists already; give another name with -o, or -o {shown(out)} to"
            " overwrite it"
        )
    return out


def _check_words(
    clip: Path | None, out: Path | None, raw: tuple[int, int] | None, save: str, span: Span
) -> None:
    if raw is None and clip is None:
        raise typer.BadParameter("give a CLIP, or --raw W H")
    if PIPE in (clip, out):
        raise typer.BadParameter("- is not a clip; for pipes use --raw W H")
    if raw is not None and (clip or out or save != CLIP_KINDS[0] or not span.whole):
        raise typer.BadParameter(
            "--raw reads stdin and writes stdout; leave out CLIP, -o, --save, --start and --end"
        )
    if raw is not None and min(raw) < 1:
        raise typer.BadParameter(
            f"--raw {raw[0]} {raw[1]} is not a valid size; use e.g. --raw 1920 1080"
        )
    if raw is not None and raw[0] * raw[1] > MAX_PIXELS:
        raise typer.BadParameter(
            f"--raw {raw[0]} {raw[1]} is more than the {MAX_PIXELS // 10**6} million pixels"
            " allowed; make the frames smaller"
        )


def _movie(
    clip: Path,
    out: Path,
    predictor: Predictor,
    look: Look,
    kind: str,
    smooth: float,
    span: Span,
    workers: int,
) -> None:
    from latefusion.video.run import about_frames, matte_video

    start = perf_counter()
    done = 0
    with item_bar(about_frames(clip, span), "frames") as step, _asked_to_stop() as asked:

        def count() -> None:
            nonlocal done
            done += 1
            step()

        try:
            matte_video(
                clip,
                out,
                kind=kind,
                look=look,
                predictor=predictor,
                smooth=smooth,
                span=span,
                workers=workers,
                step=count,
                stop=lambda: bool(asked),
            )
        finally:
            if done:
                rate = done / (perf_counter() - start)
                complain(f"{predictor.device}: {done} frames, {rate:.1f} frames/s")
    print_name(out)
    if asked:
        raise KeyboardInterrupt(asked[0])


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM: the first one requests a stop, a second one interrupts."""
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raw(
    raw: tuple[int, int], predictor: Predictor, look: Look, smooth: float, workers: int
) -> None:
    from latefusion.video.raw import matte_raw

    width, height = raw
    source, target = sys.stdin.buffer, sys.stdout.buffer
    matte_raw(source, target, (height, width), predictor, workers=workers, look=look, smooth=smooth)
