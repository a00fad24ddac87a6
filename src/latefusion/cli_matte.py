"""The commands for photos: matte, and doctor."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated

import cv2
import typer

from latefusion import __version__
from latefusion.batch import Batch, Done, digest, run, workers_for
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
    Tiles,
    parse_background,
)
from latefusion.devices import AUTO
from latefusion.errors import OutputError
from latefusion.jobs import SUFFIX, Job, Wish, plan
from latefusion.lazy import EPSILON
from latefusion.manifest import NAME, Manifest, digest_of
from latefusion.outputs import KINDS, Look, refuse_misfit, render
from latefusion.predictor import CLOSED_FORM, Matter
from latefusion.review import THUMBS, write_review
from latefusion.subject import ALL
from latefusion.terminal import complain, item_bar, one_line
from latefusion.writing import FORMATS_OUT, make_folder, remove_parts, write_picture

photos_app = typer.Typer()

PIPE = Path("-")
WATCH_SECONDS = 1.0
NO_SHADOW = "no"
MANY = 1000  # photos that a watched folder may bring


def parse_kinds(text: str) -> list[str]:
    """Kinds by their names, separated by commas. Raises typer.BadParameter."""
    kinds = list(dict.fromkeys(kind.strip() for kind in text.split(",")))
    for kind in kinds:
        if kind not in KINDS:
            raise typer.BadParameter(f"{kind!r} is not one of {', '.join(KINDS)}")
    return kinds


@photos_app.command()
def matte(
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO", show_default=False, help="Photos of people, or folders; - is stdin."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help="The folder of the results; with one photo and one kind also a name like me.png,"
            " or - for stdout.",
        ),
    ] = Path(),
    save: Annotated[
        str, typer.Option(help=f"What to save, separated by commas: {', '.join(KINDS)}.")
    ] = "cutout",
    format_: Annotated[
        str, typer.Option("--format", help="png, webp, tiff; jpg where there is no alpha.")
    ] = "",
    background: Behind = TRANSPARENT,
    linear: Linear = False,
    shadow: Annotated[
        str, typer.Option(help="no: none is made up, and the photo's own stays behind.")
    ] = NO_SHADOW,
    crop: Annotated[bool, typer.Option("--crop", help="Crop the results to the subject.")] = False,
    margin: Annotated[
        float, typer.Option(min=0, max=10, help="With --crop: room, as a share of its longer side.")
    ] = 0.05,
    bits: Annotated[int, typer.Option(help="Of the alpha: 8 or 16.")] = 8,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Folders below the given ones, too.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what the manifest says is done.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with photos that arrive, until Ctrl-C.")
    ] = False,
    review: Annotated[
        bool, typer.Option("--review", help="Write review.html: all photos, least sure first.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Results may take the place of the photos.")
    ] = False,
    framing: Framing = AUTO,
    tiles: Tiles = False,
    refine: Refine = CLOSED_FORM,
    subject: Subject = ALL,
    fill_holes: FillHoles = False,
    rotate_search: Annotated[
        bool, typer.Option("--rotate-search", help="Try quarter turns where it is not sure.")
    ] = False,
    model: Model = None,
    size: Side = None,
    device: Device = AUTO,
    threads: Threads = None,
    strict: Strict = False,
    epsilon: Epsilon = EPSILON,
) -> None:
    """Cut people out of photos: writes PHOTO-cutout.png, or what --save names.

    A folder's results mirror it, with a manifest.jsonl of what was done. A photo that cannot be
    read is reported and left out; the exit code is then 1.
    """
    kinds = parse_kinds(save)
    if shadow != NO_SHADOW:
        raise typer.BadParameter(f"--shadow {shadow}: shadows are not made up; leave it at no")
    look = Look(parse_background(background), linear, margin if crop else None, _deep(bits))
    read = (Path(background), *([model] if model else []))
    inputs = frozenset(path for path in read if os.path.isfile(path))  # noqa: PTH113 - never raises
    wish = Wish(kinds, out, _suffix(format_, out), recursive, overwrite, inputs)
    _check_alpha(wish, look)
    network = partial(
        Matter,
        model,
        size,
        device=device,
        strict=strict,
        epsilon=epsilon,
        framing=framing,
        tiles=tiles,
        refine=refine,
        subject=subject,
        fill_holes=fill_holes,
        rotate_search=rotate_search,
    )
    if PIPE in (*photos, out):
        matter = network(threads=threads)
        if resume or review or watch:
            raise typer.BadParameter("--resume, --review and --watch do not go with -")
        _pipe(matter, photos, wish, look)
        return
    jobs = _plan(photos, wish)
    if not jobs and not watch:
        raise typer.BadParameter(f"no photos in {photos[0]}; -r looks into folders below it, too")
    workers, each = workers_for(MANY if watch else len(jobs), threads)
    matter = network(threads=each)
    matter.load()  # a bad model ends the run here, not once per photo
    settings = digest(
        version=__version__,
        model=matter.model.card["sha256"],
        network=[size, epsilon, framing, tiles, refine, subject, fill_holes, rotate_search],
        results=[kinds, wish.suffix, background, digest_of(Path(background)), bits],
        look=[linear, look.margin],
    )
    root = _root(jobs, wish)
    kept = any(photo.is_dir() for photo in photos) or resume or review or watch
    for folder in {path.parent for job in jobs for _, path in job.results} if kept else ():
        remove_parts(folder)  # of a run that was killed
    with Manifest(root / NAME, resume) if kept else nullcontext() as manifest:
        batch = Batch(matter, root, look, settings, manifest, root / THUMBS if review else None)
        try:
            fine = _run(_rounds(jobs, photos, wish, watch), batch, workers)
        finally:  # after Ctrl-C, too, which is how a --watch ends
            if review and manifest:
                typer.echo(write_review(root, manifest.records.values()))
    if not fine:
        raise typer.Exit(1)


def _deep(bits: int) -> bool:
    if bits not in (8, 16):
        raise typer.BadParameter(f"--bits {bits} is neither 8 nor 16")
    return bits == 16


def _suffix(format_: str, out: Path) -> str:
    """The suffix of the results: of --format, or of a file that -o names."""
    if not format_:
        return out.suffix.lower() if out.suffix.lower() in FORMATS_OUT else SUFFIX
    named = FORMATS_OUT.get(out.suffix.lower())
    suffix = f".{format_.lower().lstrip('.')}"
    if suffix not in FORMATS_OUT:
        known = ", ".join(known[1:] for known in FORMATS_OUT)
        raise typer.BadParameter(f"{format_!r} is not one of {known}")
    if named not in (None, FORMATS_OUT[suffix]) and not out.is_dir():
        raise typer.BadParameter(f"-o {out} and --format {format_} contradict each other")
    return suffix


def _check_alpha(wish: Wish, look: Look) -> None:
    """Refuse at the start what would fail with every photo."""
    try:
        refuse_misfit(wish.kinds, FORMATS_OUT[wish.suffix], look)
    except OutputError as error:
        raise typer.BadParameter(str(error)) from None


def _plan(photos: Iterable[Path], wish: Wish) -> list[Job]:
    try:
        return plan(photos, wish)
    except OutputError as error:
        raise typer.BadParameter(str(error)) from None


def _root(jobs: list[Job], wish: Wish) -> Path:
    """The folder that all results come into."""
    single = jobs and wish.out in [path for _, path in jobs[0].results]
    root = wish.out.parent if single else wish.out
    make_folder(root)
    return root


def _rounds(jobs: list[Job], photos: list[Path], wish: Wish, watch: bool) -> Iterator[list[Job]]:
    """The jobs; with `watch` again and again those whose photos are new, or other than before."""
    done = {job.photo: _state(job.photo) for job in jobs}
    before = dict(done)
    yield jobs
    while watch:
        time.sleep(WATCH_SECONDS)
        try:
            found = {job.photo: job for job in plan(photos, wish)}
        except OutputError as error:
            complain(f"error: {error}")
            continue
        now = {photo: _state(photo) for photo in found}
        # One that is still growing is on its way.
        fresh = [p for p, s in now.items() if s and s == before.get(p) and s != done.get(p)]
        before = now
        done |= {photo: now[photo] for photo in fresh}
        if fresh:
            yield [found[photo] for photo in fresh]


def _state(photo: Path) -> tuple[float, int] | None:
    try:
        found = photo.stat()
    except OSError:
        return None
    return found.st_mtime, found.st_size


class _Log:
    """What a run says: results on stdout, complaints and a summary on stderr."""

    def __init__(self, manifest: Manifest | None) -> None:
        self.manifest = manifest
        self.shares: list[float] = []  # of the tiles, in which the fusion network ran
        self.failed = self.left = 0
        self.start = perf_counter()

    def add(self, job: Job, done: Done) -> None:
        record = done.record
        if not done.fresh:
            self.left += 1
            return
        if self.manifest:
            self.manifest.add(record)
        if record.error:
            self.failed += 1
            complain(f"error: {record.error}")
            return
        self.shares.append(record.fused or 0.0)
        for _, path in job.results:
            typer.echo(path)

    def summary(self, device: str) -> None:
        if self.left:
            complain(f"{self.left} were done before")
        if self.shares:
            each = (perf_counter() - self.start) / (len(self.shares) + self.failed)
            share = sum(self.shares) / len(self.shares)
            complain(f"{device}: {each:.2f} s a photo, fusion in {share:.0%} of the tiles")


def _run(rounds: Iterable[list[Job]], batch: Batch, workers: int) -> bool:
    """Do the jobs and say what was done; whether all went well."""
    cv2.setNumThreads(1 if workers > 1 else -1)
    log = _Log(batch.before)
    try:
        for jobs in rounds:
            by_name = {job.name: job for job in jobs}
            with item_bar(len(jobs), "photos") as step:

                def report(done: Done) -> None:
                    step()
                    log.add(by_name[done.record.photo], done)  # noqa: B023

                run(jobs, batch, report, workers)
    finally:
        log.summary(batch.matter.device)
    return not log.failed


def _pipe(matter: Matter, photos: list[Path], wish: Wish, look: Look) -> None:
    """From stdin, to stdout, or both: one photo, one result."""
    if len(photos) * len(wish.kinds) != 1:
        raise typer.BadParameter("- goes with one photo and one kind")
    to_stdout = wish.out == PIPE or (photos == [PIPE] and wish.out == Path())
    source = sys.stdin.buffer.read() if photos == [PIPE] else photos[0]
    picture = render(matter(source), wish.kinds[0], look)
    if to_stdout:
        write_picture(sys.stdout.buffer, picture, FORMATS_OUT[wish.suffix])
        return
    path = wish.out
    if path.suffix.lower() not in FORMATS_OUT:
        path = path / f"stdin-{wish.kinds[0]}{wish.suffix}"
    if path.resolve() in {read.resolve() for read in wish.inputs} and not wish.overwrite:
        raise typer.BadParameter(f"{path} is one of the files that are read; choose another -o")
    make_folder(path.parent)
    write_picture(path, picture)
    typer.echo(path)


@photos_app.command()
def doctor(model: Model = None, device: Device = AUTO, threads: Threads = None) -> None:
    """Say what is installed, which devices there are, and whether a golden photo comes out right.

    The exit code is 1 where a check fails.
    """
    from latefusion.doctor import examine

    failed = False
    for name, text, fine in examine(model, device, threads):
        failed |= fine is False
        mark = {True: "ok", False: "!!", None: "  "}[fine]
        typer.echo(one_line(f"{mark} {name:<14} {text}"))
    if failed:
        raise typer.Exit(1)
