"""Many photos side by side; a bad one never stops the rest, and runs can be resumed."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

import cv2

from latefusion.errors import ImageError, LatefusionError, OutputError, reason, shown
from latefusion.folder.jobs import Job
from latefusion.folder.manifest import Manifest, Record, digest_of, size_of
from latefusion.images.reader_pool import ReaderPool
from latefusion.images.reading import read_photo
from latefusion.images.writing import Picture, make_folder, write_picture
from latefusion.inference.options import MattingOptions
from latefusion.inference.outputs import PLAIN, Look, render
from latefusion.inference.predictor import Predictor
from latefusion.parallel import MOST_WORKERS, usable_cores

HUGE = 30_000_000  # pixels; photos above are processed one at a time
HUGE_IN_TILES = 8_000_000  # the same with tiles, each of which holds memory, too
THUMB_KIND, THUMB_SUFFIX = "preview", ".jpg"
THUMB_LOOK = Look(strip=True)

Written: TypeAlias = tuple[int, str]  # size in bytes, and sha256
Write: TypeAlias = Callable[[Path, Picture], Written]

_huge = threading.Lock()


@dataclass(frozen=True)
class Batch:
    """The settings that all photos of a run share.

    Records name outputs relative to `root`. `settings` is the digest of all that results depend on
    except the photo. `before` is the manifest of an earlier run; photos that it holds unchanged are
    skipped. `thumbs` is the folder of the review's pictures. `readers` read the photos, where the
    time for that is limited.
    """

    predictor: Predictor
    root: Path
    look: Look = PLAIN
    settings: str = ""
    before: Manifest | None = None
    thumbs: Path | None = None
    readers: ReaderPool | None = None


class Done(NamedTuple):
    """A photo's record; `fresh` if this run made it, and not an earlier one."""

    record: Record
    fresh: bool


def workers_for(photos: int, threads: int | None) -> tuple[int, int]:
    """Number of photos side by side, and of the network's threads for each.

    Photos side by side use the cores better than many threads on one photo, because decoding,
    colours and encoding run meanwhile. For a few photos one network takes all threads.
    """
    cores = threads or usable_cores()
    if photos < 2 * cores:
        return 1, cores
    workers = min(cores, MOST_WORKERS)
    return workers, cores // workers


def run(
    jobs: Iterable[Job], batch: Batch, report: Callable[[Done], None], workers: int = 1
) -> None:
    """Do all jobs, `workers` at a time, and report each from the calling thread as it ends.

    Jobs are taken as they are needed. Ctrl-C starts no other photo; those in progress are finished
    and reported, and a report that was interrupted is repeated.
    """
    jobs = iter(jobs)
    with ThreadPoolExecutor(workers, thread_name_prefix="latefusion") as pool:
        ahead: set[Future[Done]] = set()
        try:
            while True:
                wanted = islice(jobs, 2 * workers - len(ahead))
                ahead |= {pool.submit(work, job, batch) for job in wanted}
                if not ahead:
                    return
                for future in wait(ahead, return_when=FIRST_COMPLETED).done:
                    report(future.result())
                    ahead.remove(future)
        except BaseException:  # Ctrl-C, or a bug: photos in progress are not lost
            for future in [future for future in ahead if not future.cancel()]:
                with suppress(Exception):
                    report(future.result())
            raise


def work(job: Job, batch: Batch) -> Done:
    """Do one photo, from its file to its results; an error goes into the record."""
    sha256 = digest_of(job.photo) if batch.before else ""
    outputs = [relative(path, batch.root) for _, path in job.results]
    seen = batch.thumbs is None or size_of(thumb_of(batch.thumbs, job.name)) > 0
    if batch.before and seen and batch.before.holds(job.name, sha256, batch.settings, outputs):
        return Done(batch.before.records[job.name], False)
    record = Record(job.name, sha256, batch.settings, outputs)
    photo = Encoded(job.photo, str(job.photo))
    return Done(matte_photo(photo, record, job.results, batch, write_result), True)


class Encoded(NamedTuple):
    """A photo's file or its content, and its name in error messages."""

    source: Path | bytes
    label: str


def matte_photo(
    photo: Encoded,
    planned: Record,
    results: Sequence[tuple[str, Path]],
    batch: Batch,
    write: Write,
) -> Record:
    """Make and write the results of a photo, on one machine or on many, and return its record.

    `write` stores a result on the disk. An error goes into the record, which then names no outputs.
    """
    record = replace(planned, device=batch.predictor.device)
    try:
        return replace(record, **_matte(photo, planned.photo, results, batch, write))
    except (LatefusionError, MemoryError, cv2.error) as error:
        return replace(record, outputs=(), error=_line(photo.label, error))


def write_result(path: Path, picture: Picture) -> Written:
    """Write a result to its path, and make its folder if needed. Raises OutputError."""
    make_folder(path.parent)
    write_picture(path, picture)
    return size_of(path), digest_of(path)


def _line(photo: str, error: Exception) -> str:
    """An error in one line that names the photo."""
    if isinstance(error, MemoryError):
        return f"{shown(photo)} does not fit into the memory; make it smaller"
    text = reason(error)
    named = isinstance(error, ImageError | OutputError)
    return text if named else f"{shown(photo)}: {text}"


def _matte(
    encoded: Encoded,
    name: str,
    results: Sequence[tuple[str, Path]],
    batch: Batch,
    write: Write,
) -> dict[str, Any]:
    """Write a photo's results, and return the fields of its record."""
    start = perf_counter()
    read = batch.readers.read if batch.readers else read_photo
    photo = read(encoded.source, name=shown(encoded.label))
    height, width = photo.image.shape[:2]
    with turn_of(height * width, batch.predictor.options.tiles):
        found = batch.predictor.of(photo)
        del photo
        written = [write(path, render(found, kind, batch.look)) for kind, path in results]
        if batch.thumbs:
            write_result(thumb_of(batch.thumbs, name), render(found, THUMB_KIND, THUMB_LOOK))
    return {
        "width": width,
        "height": height,
        "seconds": round(perf_counter() - start, 4),
        "subject_found": found.subject_found,
        "confidence": round(found.confidence, 4),
        "notes": found.notes,
        "fused": round(found.fused, 4),
        "warnings": found.warnings,
        "sizes": tuple(size for size, _ in written),
        "digests": tuple(sha256 for _, sha256 in written),
    }


def turn_of(pixels: int, tiles: bool = False) -> AbstractContextManager[object]:
    """A lock to hold while a photo of so many pixels is processed, so that huge ones take turns."""
    return _huge if pixels > (HUGE_IN_TILES if tiles else HUGE) else nullcontext()


def relative(path: Path, root: Path) -> str:
    """A path relative to the root, with / between the parts, as records name it."""
    return Path(os.path.relpath(path, root)).as_posix()


def thumb_of(thumbs: Path, name: str) -> Path:
    """Path of a photo's picture on the review page."""
    return thumbs / f"{name}{THUMB_SUFFIX}"


def settings_digest(
    version: str,
    options: MattingOptions,
    look: Look,
    *,
    results: object,
    background: Path,
    model: str,
) -> str:
    """Twelve hex digits of all that results depend on except the photo.

    The background of `look` is text; `background` is the same as a path, whose content is digested.
    `model` is the network's sha256. `results` must be JSON values.
    """
    settings = [version, asdict(options), asdict(look), digest_of(background), results, model]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
