"""The folder mode of `matte` on this machine: many photos, resumed or watched."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import typer

from latefusion.cli.run_log import RunLog
from latefusion.cli.streams import print_name
from latefusion.cli.terminal import (
    complain,
    ended_by_signals,
    item_bar,
    pass_counter,
    threads_here,
)
from latefusion.errors import OutputError, shown
from latefusion.folder.batch import Batch, Done, run, workers_for
from latefusion.folder.jobs import Job, Wish, jobs_of
from latefusion.folder.listing import THUMBS, Listing, find_photos
from latefusion.folder.lock import only_run
from latefusion.folder.manifest import NAME, Manifest
from latefusion.folder.review import ReviewPage
from latefusion.images.reader_pool import ReaderPool
from latefusion.images.writing import make_folder, remove_parts
from latefusion.inference.outputs import Look
from latefusion.inference.predictor import Predictor
from latefusion.parallel import usable_cores

WATCH_SECONDS = 1.0
MANY = 1000  # photos expected of a watched folder


@dataclass(frozen=True)
class Task:
    """The checked request of `latefusion matte`; `photos` as given.

    `network` makes the Predictor, given `threads`, and `settings` the digest of all that results
    depend on except the photo, given the sha256 of the `model`.
    """

    photos: Sequence[str]
    wish: Wish
    look: Look
    network: Callable[..., Predictor]
    settings: Callable[..., str]
    threads: int | None
    timeout: float | None
    resume: bool
    review: bool
    watch: bool


@ended_by_signals()
def matte_here(task: Task) -> bool:
    """Do the photos on this machine; True if none failed. Raises LatefusionError."""
    sources, wish = [Path(photo) for photo in task.photos], task.wish
    listing, jobs = _plan(sources, wish)
    if not jobs and not task.watch:
        raise typer.BadParameter("; ".join([f"no photos in {shown(sources[0])}", *listing.why()]))
    many = MANY if task.watch else len(jobs)
    workers, each = workers_for(many, threads_here(task.threads))
    predictor = task.network(threads=each)
    predictor.load()  # a bad model ends the run here, not once per photo
    root = _root(jobs, wish)
    asked = task.resume or task.review or task.watch
    kept = asked or any(photo.is_dir() for photo in sources)
    for folder in {path.parent for job in jobs for _, path in job.results} if kept else ():
        remove_parts(folder)  # left by a run that was killed
    settings = task.settings(model=predictor.model.card["sha256"])
    with (
        only_run(root) if kept else nullcontext(),
        Manifest(root / NAME, task.resume) if kept else nullcontext() as manifest,
        ReaderPool(workers, task.timeout) if task.timeout else nullcontext() as readers,
    ):
        thumbs = root / THUMBS if task.review else None
        batch = Batch(predictor, root, task.look, settings, manifest, thumbs, readers)
        log = RunLog(manifest, settings)
        page = ReviewPage(root, manifest) if task.review and manifest else None
        log.note(listing)
        try:
            _run(_rounds(jobs, sources, wish, task.watch, log), batch, workers, log, page)
        finally:  # also after Ctrl-C, which ends a --watch
            log.summary()
            if page:
                print_name(page.write())
    return not log.failed


def _plan(photos: Iterable[Path], wish: Wish) -> tuple[Listing, list[Job]]:
    try:
        listing = find_photos(photos, wish.out, wish.recursive)
        return listing, jobs_of(listing, wish)
    except OutputError as error:
        raise typer.BadParameter(str(error)) from None


def _root(jobs: list[Job], wish: Wish) -> Path:
    """Make the folder of all results, and return it."""
    single = jobs and wish.out in [path for _, path in jobs[0].results]
    root = wish.out.parent if single else wish.out
    make_folder(root)
    return root


def _rounds(
    jobs: list[Job], photos: list[Path], wish: Wish, watch: bool, log: RunLog
) -> Iterator[list[Job]]:
    """Yield the jobs; with `watch`, keep yielding those of new and changed photos, if any."""
    done = {job.photo: _state(job.photo) for job in jobs}
    before = dict(done)
    yield jobs
    while watch:
        time.sleep(WATCH_SECONDS)
        try:
            listing = find_photos(photos, wish.out, wish.recursive)
            found = {job.photo: job for job in jobs_of(listing, wish)}
        except OutputError as error:
            complain(f"error: {error}")
            continue
        now = {photo: _state(photo) for photo in found}
        # A photo that still changes is being written.
        fresh = [p for p, s in now.items() if s and s == before.get(p) and s != done.get(p)]
        before = now
        done |= {photo: now[photo] for photo in fresh}
        log.note(listing)
        yield [found[photo] for photo in fresh]


def _state(photo: Path) -> tuple[float, int] | None:
    try:
        found = photo.stat()
    except OSError:
        return None
    return found.st_mtime, found.st_size


def _run(
    rounds: Iterable[list[Job]], batch: Batch, workers: int, log: RunLog, page: ReviewPage | None
) -> None:
    """Do the jobs and report them."""
    cv2.setNumThreads(1 if workers > 1 else usable_cores())
    for jobs in rounds:
        if jobs:
            _round(jobs, batch, workers, log, page)
        if batch.before:
            batch.before.sync()
        if page:
            page.keep_up()


def _round(
    jobs: list[Job], batch: Batch, workers: int, log: RunLog, page: ReviewPage | None
) -> None:
    results = {job.name: [path for _, path in job.results] for job in jobs}
    with ExitStack() as stack:
        step = stack.enter_context(item_bar(len(jobs), "photos"))
        if len(jobs) == 1:
            before_pass = stack.enter_context(pass_counter(jobs[0].name))
            batch = replace(batch, predictor=batch.predictor.counted(before_pass))

        def report(done: Done) -> None:
            step()
            log.add(done, results[done.record.photo])
            if page:
                page.behind()

        run(jobs, batch, report, workers)
