"""The results of many photos as a zip that is streamed while they are made, then a manifest."""

import asyncio
import json
import re
import unicodedata
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import PurePosixPath

from latefusion.server.forms import Upload
from latefusion.server.orders import Result
from latefusion.server.refusals import ERRORS, line_of

MANIFEST = "manifest.jsonl"
LONGEST = 180  # bytes of a stem; most file systems allow 255 for a name
NAMELESS = "photo"
UNSAFE = re.compile(r"[^\w .()+-]")
WHEN = (1980, 1, 1, 0, 0, 0)  # a constant date, so that the same photos give the same bytes


def entry_names(uploads: Sequence[Upload], ending: str) -> list[str]:
    """A unique name for each result, such as `me-cutout.png`, that is safe on any file system."""
    taken = {MANIFEST}
    names = []
    for stem in (_stem(upload.name) for upload in uploads):
        name, number = f"{stem}{ending}", 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}{ending}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _stem(name: str) -> str:
    """The stem of a client's file name, without folders and unsafe characters."""
    plain = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    stem = UNSAFE.sub("_", PurePosixPath(plain).stem).strip(" .")
    return stem.encode()[:LONGEST].decode(errors="ignore").strip(" .") or NAMELESS


class _Pipe:
    """A write-only file that cannot seek; `take` removes and returns what was written."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None: ...

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


async def zip_of(
    uploads: list[Upload],
    names: Sequence[str],
    work: Callable[[bytes], Awaitable[Result]],
    side_by_side: int,
) -> AsyncIterator[bytes]:
    """Yield the zip in pieces, one as each photo is done.

    A photo that fails has no entry, only a line with its error in the manifest.
    """
    pipe = _Pipe()
    lines: dict[int, str] = {}
    results = _as_they_come(uploads, work, side_by_side)
    with zipfile.ZipFile(pipe, "w") as archive:  # type: ignore[call-overload]
        async for number, done in results:
            record: dict[str, object] = {"photo": uploads[number].name}
            if isinstance(done, Result):
                archive.writestr(zipfile.ZipInfo(names[number], WHEN), done.data)
                record |= {
                    "entry": names[number],
                    "seconds": round(done.seconds, 4),
                    **done.facts._asdict(),
                }
            else:
                record["error"] = line_of(done)
            lines[number] = json.dumps(record)
            yield pipe.take()
        manifest = "".join(f"{lines[number]}\n" for number in sorted(lines))
        archive.writestr(zipfile.ZipInfo(MANIFEST, WHEN), manifest)
    yield pipe.take()


async def _as_they_come(
    uploads: list[Upload], work: Callable[[bytes], Awaitable[Result]], side_by_side: int
) -> AsyncIterator[tuple[int, Result | Exception]]:
    """Yield (number of the photo, result or error) as each is done; cancel the rest when closed."""
    waiting: Iterator[int] = iter(range(len(uploads)))
    tasks: dict[asyncio.Task[Result], int] = {}
    try:
        while True:
            for number in waiting:
                tasks[asyncio.create_task(_started(work, uploads, number))] = number
                if len(tasks) >= side_by_side:
                    break
            if not tasks:
                return
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is not None and not isinstance(error, ERRORS):
                    raise error
                yield tasks.pop(task), error or task.result()
    finally:
        for task in tasks:
            task.cancel()


async def _started(
    work: Callable[[bytes], Awaitable[Result]], uploads: list[Upload], number: int
) -> Result:
    data = uploads[number].data
    uploads[number] = uploads[number]._replace(data=b"")  # frees the photo once it is done
    return await work(data)
