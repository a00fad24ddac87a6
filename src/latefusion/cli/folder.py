"""The folder mode of `matte` on this machine: many photos, resumed or watched."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import cv2
import typer

from latefusion.cli.run_log import RunLog
from latefusion.cli.terminal import complain, item_bar
from latefusion.errors import OutputError
from latefusion.folder.batch import Batch, Done, run, workers_for
from latefusion.folder.jobs import Job, Wish, plan
from latefusion.folder.manifest import NAME, Manifest
from latefusion.folder.review import THUMBS, write_review
from latefusion.images.writing import make_folder, remove_parts
from latefusion.inference.outputs import Look
from latefusion.inference.predictor import Predictor

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
    resume: bool
    review: bool
    watch: bool


def matte_here(task: Task) -> bool:
    """Do the photos on this machine; True if none failed. Raises LatefusionError."""
    sources, wish = [Path(photo) for photo in task.photos], task.wish
    jobs = _plan(sources, wish)
    if not jobs and not task.watch:
        raise typer.BadParameter(f"no photos in {sources[0]}; add -r to include folders below it")
    workers, each = workers_for(MANY if task.watch else len(jobs), task.threads)
    predictor = task.network(threads=each)
    predictor.load()  # a bad model ends the run here, not once per photo
    root = _root(jobs, wish)
    asked = task.resume or task.review or task.watch
    kept = asked or any(photo.is_dir() for photo in sources)
    for folder in {path.parent for job in jobs for _, path in job.results} if kept else ():
        remove_parts(folder)  # left by a run that was killed
    settings = task.settings(model=predictor.model.card["sha256"])
    with Manifest(root / NAME, task.resume) if kept else nullcontext() as manifest:
        thumbs = root / THUMBS if task.review else None
        batch = Batch(predictor, root, task.look, settings, manifest, thumbs)
        try:
            return _run(_rounds(jobs, sources, wish, task.watch), batch, workers)
        finally:  # also after Ctrl-C, which ends a --watch
            if task.review and manifest:
                typer.echo(write_review(root, manifest.records.values()))


def _plan(photos: Iterable[Path], wish: Wish) -> list[Job]:
    try:
        return plan(photos, wish)
    except OutputError as error:
        raise typer.BadParameter(str(error)) from None


def _root(jobs: list[Job], wish: Wish) -> Path:
    """Make the folder of all results, and return it."""
    single = jobs and wish.out in [path for _, path in jobs[0].results]
    root = wish.out.parent if single else wish.out
    make_folder(root)
    return root


def _rounds(jobs: list[Job], photos: list[Path], wish: Wish, watch: bool) -> Iterator[list[Job]]:
    """Yield the jobs; with `watch`, keep yielding those of new and changed photos."""
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
        # A photo that still changes is being written.
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


def _run(rounds: Iterable[list[Job]], batch: Batch, workers: int) -> bool:
    """Do the jobs and report them; True if none failed."""
    cv2.setNumThreads(1 if workers > 1 else -1)
    log = RunLog(batch.before)
    try:
        for jobs in rounds:
            by_name = {job.name: job for job in jobs}
            with item_bar(len(jobs), "photos") as step:

                def report(done: Done) -> None:
                    step()
                    results = by_name[done.record.photo].results  # noqa: B023
                    log.add(done, (path for _, path in results))

                run(jobs, batch, report, workers)
    finally:
        log.summary()
    return not log.failed
