"""The command for clips: video."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Annotated

import cv2
import typer

from latefusion.cli_matte import PIPE
from latefusion.cli_options import (
    TRANSPARENT,
    Behind,
    Device,
    Epsilon,
    FillHoles,
    Framing,
    Linear,
    Model,
    Refine,
    Side,
    Strict,
    Subject,
    Threads,
    parse_background,
)
from latefusion.devices import AUTO
from latefusion.errors import OutputError
from latefusion.lazy import EPSILON
from latefusion.outputs import CLIP_KINDS, Look
from latefusion.pipeline import side_by_side
from latefusion.predictor import CLOSED_FORM, Matter
from latefusion.steady import SMOOTH
from latefusion.subject import ALL
from latefusion.terminal import complain, extra_packages, item_bar

video_app = typer.Typer()


@video_app.command()
def video(
    clip: Annotated[
        Path | None, typer.Argument(metavar="CLIP", show_default=False, help="A video of people.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="NAME.mov: ProRes 4444 with alpha. NAME.webm: VP9 with alpha. NAME.mp4: H.264,"
            " with a --background. A folder, or a name like out/%05d.png: a PNG for each frame.",
        ),
    ] = None,
    save: Annotated[str, typer.Option(help=f"What to save: {', '.join(CLIP_KINDS)}.")] = "cutout",
    background: Behind = TRANSPARENT,
    linear: Linear = False,
    smooth: Annotated[
        float,
        typer.Option(min=0, max=0.95, help="How much is done against flicker; 0 does nothing."),
    ] = SMOOTH,
    raw: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="W H", help="Raw RGB24 frames from stdin, RGBA frames to stdout; no CLIP."
        ),
    ] = None,
    framing: Framing = AUTO,
    refine: Refine = CLOSED_FORM,
    subject: Subject = ALL,
    fill_holes: FillHoles = False,
    model: Model = None,
    size: Side = None,
    device: Device = AUTO,
    threads: Threads = None,
    strict: Strict = False,
    epsilon: Epsilon = EPSILON,
) -> None:
    """Cut people out of a clip: sound, times, rotation and colours are kept.

    A clip that is damaged or cut short is done as far as it can be read; the exit code is then 1.
    Ctrl-C ends a run with a whole clip of what was done.
    """
    _check_words(clip, out, raw, save)
    look = Look(parse_background(background), linear)
    workers = side_by_side(threads)
    matter = Matter(
        model,
        size,
        1,
        device,
        strict=strict,
        epsilon=epsilon,
        framing=framing,
        refine=refine,
        subject=subject,
        fill_holes=fill_holes,
    )
    matter.load()
    cv2.setNumThreads(1)
    with extra_packages("video"):
        if raw:
            _raw(raw, matter, look, smooth, workers)
        elif clip and out:
            _movie(clip, out, matter, look, save, smooth, workers)


def _check_words(
    clip: Path | None, out: Path | None, raw: tuple[int, int] | None, save: str
) -> None:
    if save not in CLIP_KINDS:
        raise typer.BadParameter(f"{save!r} is not one of {', '.join(CLIP_KINDS)}")
    if raw is None and (clip is None or out is None):
        raise typer.BadParameter("give a CLIP and -o, or --raw W H")
    if PIPE in (clip, out):
        raise typer.BadParameter("- is no clip; for pipes use --raw W H")
    if raw is not None and (clip or out or save != CLIP_KINDS[0]):
        raise typer.BadParameter("--raw goes from stdin to stdout, without CLIP, -o and --save")
    if raw is not None and min(raw) < 1:
        raise typer.BadParameter(f"--raw {raw[0]} {raw[1]} is no size; use e.g. --raw 1920 1080")


def _movie(
    clip: Path, out: Path, matter: Matter, look: Look, kind: str, smooth: float, workers: int
) -> None:
    from latefusion.video import about_frames, matte_video

    start = perf_counter()
    done = 0
    with item_bar(about_frames(clip), "frames") as step, _asked_to_stop() as asked:

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
                matter=matter,
                smooth=smooth,
                workers=workers,
                step=count,
                stop=asked.is_set,
            )
        finally:
            if done:
                rate = done / (perf_counter() - start)
                complain(f"{matter.device}: {done} frames, {rate:.1f} frames/s")
    typer.echo(out)
    if asked.is_set():
        raise KeyboardInterrupt


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Ctrl-C sets the event; a second one interrupts as ever."""
    asked = threading.Event()

    def ask(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _raw(raw: tuple[int, int], matter: Matter, look: Look, smooth: float, workers: int) -> None:
    from latefusion.raw_video import matte_raw

    width, height = raw
    source, target = sys.stdin.buffer, sys.stdout.buffer
    try:
        matte_raw(
            source, target, (height, width), matter, workers=workers, look=look, smooth=smooth
        )
    except OutputError:
        # Python would try again to write what is left, at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
