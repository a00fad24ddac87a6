"""Many photos: several at a time; one bad one never stops the rest; a run can be gone on with."""

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
from latefusion.folder.manifest import Manifest, Record, digest_of
from latefusion.images.reading import read_photo
from latefusion.images.writing import Picture, make_folder, write_picture
from latefusion.inference.options import MattingOptions
from latefusion.inference.outputs import PLAIN, Look, render
from latefusion.inference.predictor import Predictor
from latefusion.parallel import MOST_WORKERS, usable_cores

HUGE = 30_000_000  # pixels: of such photos only one at a time is worked on
HUGE_IN_TILES = 8_000_000  # each tile holds some memory, too
THUMB_KIND, THUMB_SUFFIX = "preview", ".jpg"

Write: TypeAlias = Callable[[Path, Picture], None]

_huge = threading.Lock()


@dataclass(frozen=True)
class Batch:
    """What is done with every photo of a run.

    `root` is the folder that records name outputs from. `settings` is a digest of all that results
    depend on beside the photo. `before` holds what an earlier run did, and is left as it is where
    nothing has changed. `thumbs` is the folder of the review's pictures.
    """

    predictor: Predictor
    root: Path
    look: Look = PLAIN
    settings: str = ""
    before: Manifest | None = None
    thumbs: Path | None = None


class Done(NamedTuple):
    """A photo's record, and whether this run made it or an earlier one."""

    record: Record
    fresh: bool


def workers_for(photos: int, threads: int | None) -> tuple[int, int]:
    """How many photos at a time, and the threads of the network for each.

    Photos side by side use the cores better than many threads on one photo, as decoding, colours
    and encoding are done meanwhile; for a photo or two all threads are one network's.
    """
    cores = threads or usable_cores()
    if photos < 2 * cores:
        return 1, cores
    workers = min(cores, MOST_WORKERS)
    return workers, cores // workers


def run(
    jobs: Iterable[Job], batch: Batch, report: Callable[[Done], None], workers: int = 1
) -> None:
    """Do all jobs, `workers` at a time, and report each as it ends, from the calling thread.

    Jobs are taken as they are needed. Ctrl-C starts no other photo, lets those in work end and
    reports them.
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
        except BaseException:  # Ctrl-C, or a bug: what is in work is not lost
            for future in [future for future in ahead if not future.cancel()]:
                with suppress(Exception):
                    report(future.result())
            raise


def work(job: Job, batch: Batch) -> Done:
    """One photo, from its file to its results. What is wrong with it stands in the record."""
    sha256 = digest_of(job.photo) if batch.before else ""
    outputs = [relative(path, batch.root) for _, path in job.results]
    seen = batch.thumbs is None or thumb_of(batch.thumbs, job.name).is_file()
    if batch.before and seen and batch.before.holds(job.name, sha256, batch.settings, outputs):
        return Done(batch.before.records[job.name], False)
    record = Record(job.name, sha256, batch.settings, outputs)
    photo = Encoded(job.photo, str(job.photo))
    return Done(matte_photo(photo, record, job.results, batch, write_result), True)


class Encoded(NamedTuple):
    """A photo's file or its content, and what it is called in what goes wrong."""

    source: Path | bytes
    label: str


def matte_photo(
    photo: Encoded,
    planned: Record,
    results: Sequence[tuple[str, Path]],
    batch: Batch,
    write: Write,
) -> Record:
    """The one function of a photo, on one machine and on many: its record as it came out.

    `write` puts a result where it belongs. What is wrong with the photo stands in the record, which
    then names no outputs.
    """
    record = replace(planned, device=batch.predictor.device)
    try:
        return replace(record, **_matte(photo, planned.photo, results, batch, write))
    except (LatefusionError, MemoryError, cv2.error) as error:
        return replace(record, outputs=(), error=_line(photo.label, error))


def write_result(path: Path, picture: Picture) -> None:
    """Write a result where its path says, in a folder that need not be there. OutputError."""
    make_folder(path.parent)
    write_picture(path, picture)


def _line(photo: str, error: Exception) -> str:
    """What went wrong with a photo, in a line that names it."""
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
    """Write a photo's results and say what there is to say of it."""
    start = perf_counter()
    photo = read_photo(encoded.source, name=shown(encoded.label))
    height, width = photo.image.shape[:2]
    with turn_of(height * width, batch.predictor.options.tiles):
        found = batch.predictor.of(photo)
        del photo
        for kind, path in results:
            write(path, render(found, kind, batch.look))
        if batch.thumbs:
            write_result(thumb_of(batch.thumbs, name), render(found, THUMB_KIND))
    return {
        "width": width,
        "height": height,
        "seconds": round(perf_counter() - start, 4),
        "confidence": round(found.confidence, 4),
        "fused": round(found.fused, 4),
    }


def turn_of(pixels: int, tiles: bool = False) -> AbstractContextManager[object]:
    """What to hold while a photo of so many pixels is in work: of huge ones there is one a time."""
    return _huge if pixels > (HUGE_IN_TILES if tiles else HUGE) else nullcontext()


def relative(path: Path, root: Path) -> str:
    """A path as records name it: from the root, with / between the parts."""
    return Path(os.path.relpath(path, root)).as_posix()


def thumb_of(thumbs: Path, name: str) -> Path:
    """The picture of the review page for a photo of that name."""
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
    """Twelve letters that differ where anything differs that results depend on but the photo.

    `look` names its background by text, `background` is that as a path, whose content counts, and
    `model` is the network's sha256. All of `results` must be JSON values.
    """
    settings = [version, asdict(options), asdict(look), digest_of(background), results, model]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
