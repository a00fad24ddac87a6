"""The manifest of a run over many photos: a line of JSON for each, from which to resume."""

import hashlib
import json
import os
import stat
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from latefusion.errors import OutputError, shown
from latefusion.images.regular import read_regular
from latefusion.images.writing import make_folder, whole_file
from latefusion.schema import read_entries

NAME = "manifest.jsonl"
BEGIN = b'{"photo": "'  # of a line
SYNC_SECONDS = 1.0  # a power cut may cost the records of so long, whose photos are done again
LINE_ENDS = "\x7f\x85\u2028\u2029"


@dataclass(frozen=True)
class Record:
    """The outcome of a photo; `error` is None for a success, and else one line."""

    photo: str  # relative to its source folder; with / between the parts
    sha256: str  # of the photo's file; "" if it could not be read
    settings: str  # digest of all that the results depend on except the photo
    outputs: Sequence[str] = ()  # relative to the manifest's folder
    width: int | None = None
    height: int | None = None
    seconds: float | None = None  # from file to files
    device: str | None = None
    confidence: float | None = None  # estimated probability that the matte is good, see Matte
    fused: float | None = None  # share of tiles in which the fusion network ran
    error: str | None = None
    subject_found: bool | None = None
    notes: Sequence[str] = ()  # what to look at, see Matte.notes
    warnings: Sequence[str] = ()  # no subject, or an option that could not be followed
    skipped: str | None = None  # why the run passed the file over
    sizes: Sequence[int] = ()  # of the outputs in bytes; empty in records of earlier versions
    digests: Sequence[str] = ()  # sha256 of the outputs


class Manifest:
    """The records of a run, in a file that stays readable if the run is killed at any moment.

    Each record is one line, written as a whole or not at all. The last record of a photo counts,
    and lines that cannot be read are skipped with a warning; at the start and at the end the file
    is compacted to a line per photo. Records of an earlier run are kept, also those of photos that
    are gone, because their results are still there; but photos count as done only with `resume`.
    What an earlier run passed over is forgotten. Raises OutputError, also for a file that is no
    manifest.
    """

    def __init__(self, path: Path, resume: bool = False) -> None:
        self.path = path
        lines = _lines_of(path)
        self.records = {record.photo: record for _, record in lines if is_of_photo(record)}
        lines.warn()
        self._resume = resume
        self._lock = threading.Lock()
        self._unsynced, self._due = False, 0.0
        make_folder(path.parent)
        self._compact()
        try:
            self._file: IO[bytes] = path.open("ab", buffering=0)
        except OSError as error:
            raise self._cannot(error) from None

    def __enter__(self) -> "Manifest":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._compact()

    def _compact(self) -> None:
        """Write the file anew, a line per photo. Raises OutputError."""
        with whole_file(self.path) as file:
            for record in self.records.values():
                file.write(line_of(record))

    def add(self, record: Record) -> None:
        """Append a record, whose results must be on the disk. Raises OutputError."""
        with self._lock:
            self.records[record.photo] = record
            try:
                self._append(line_of(record))
            except OSError as error:
                raise self._cannot(error) from None
            self._unsynced = True
        if time.monotonic() >= self._due:
            self.sync()

    def _append(self, line: bytes) -> None:
        """Append a line; if the disk is full, what was written of it is taken back."""
        whole = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) :]
        except BaseException:
            os.ftruncate(self._file.fileno(), whole)
            raise

    def sync(self) -> None:
        """Make the system write all records to the disk. Raises OutputError."""
        with self._lock:
            if self._unsynced:
                try:
                    os.fsync(self._file.fileno())
                except OSError as error:
                    raise self._cannot(error) from None
            self._unsynced, self._due = False, time.monotonic() + SYNC_SECONDS

    def _cannot(self, error: OSError) -> OutputError:
        return OutputError(f"{shown(self.path)} cannot be written: {error.strerror}")

    def holds(self, photo: str, sha256: str, settings: str, outputs: Sequence[str]) -> bool:
        """True if this photo is done with these settings, and all its results are whole."""
        record = self.records.get(photo)
        return (
            self._resume
            and record is not None
            and record.error is None
            and (record.sha256, record.settings) == (sha256, settings)
            and sorted(record.outputs) == sorted(outputs)
            and self._are_whole(record)
        )

    def _are_whole(self, record: Record) -> bool:
        """True if no result is missing or empty, and each has its recorded size."""
        sizes = [size_of(self.path.parent / output) for output in record.outputs]
        return all(sizes) and (not record.sizes or sizes == list(record.sizes))


def size_of(path: Path) -> int:
    """The size of a regular file; 0 if there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def digest_of(path: Path) -> str:
    """The sha256 of a file; "" if it cannot be read."""
    found = hashlib.sha256()
    try:
        if not path.is_file():  # a pipe would never end
            return ""
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    except (OSError, ValueError):
        return ""
    return found.hexdigest()


def digest_of_bytes(data: bytes) -> str:
    """The sha256 of a file's content."""
    return hashlib.sha256(data).hexdigest()


def line_of(record: Record) -> bytes:
    """A record as a line of JSON in UTF-8, with names as they are.

    Escaped are bytes of names that are not text, and what other programs may take for a line's end.
    """
    text = json.dumps(asdict(record), ensure_ascii=False)
    for end in LINE_ENDS:
        text = text.replace(end, f"\\u{ord(end):04x}")
    return text.encode("utf-8", "backslashreplace") + b"\n"  # \udc80, as JSON writes it


def outputs_in(folder: Path) -> set[Path]:
    """The results that a manifest in this folder names, as paths; none without a manifest."""
    try:
        records = {record.photo: record for _, record in _lines_of(folder / NAME)}
    except OutputError:  # of something else
        return set()
    return {folder / output for record in records.values() for output in record.outputs}


def is_of_photo(record: Record) -> bool:
    """True but for records of files that were passed over, and of folders."""
    return record.skipped is None and not (record.error and record.photo.endswith("/"))


class Lines:
    """The records in the lines of a manifest, each with its line.

    A power cut may leave a line that is cut off, and NUL bytes with a record after them. Lines that
    are not wholly readable are counted in `unread`. Iterating ends in OutputError if none holds a
    record, unless there is but the beginning of a first one.
    """

    def __init__(self, lines: Iterable[bytes], name: str) -> None:
        self._lines, self._name = lines, name
        self.unread = 0

    def __iter__(self) -> Iterator[tuple[bytes, Record]]:
        known = strange = False
        for line in self._lines:
            pieces = [piece for piece in line.rstrip(b"\r\n").split(b"\0") if piece]
            records = [record_of(piece) for piece in pieces]
            for piece, record in zip(pieces, records, strict=True):
                if record:
                    known = True
                    yield piece + b"\n", record
            if None in records or b"\0" in line:
                self.unread += 1
                strange = strange or not _is_cut_off(line)
        if strange and not known:
            raise OutputError(f"{self._name} is not a manifest of latefusion; choose another -o")

    def warn(self) -> None:
        """Warn of the lines that could not be read, if there were any."""
        if self.unread:
            lines = "1 line" if self.unread == 1 else f"{self.unread} lines"
            photos = "its photo is" if self.unread == 1 else "their photos are"
            warnings.warn(
                f"{lines} of {self._name} could not be read; {photos} done again", stacklevel=3
            )


def _is_cut_off(line: bytes) -> bool:
    return not line.endswith(b"\n") and BEGIN.startswith(line.strip(b"\0")[: len(BEGIN)])


def _lines_of(path: Path) -> Lines:
    try:
        lines = read_regular(path).splitlines(keepends=True)
    except FileNotFoundError:
        lines = []
    except OSError as error:
        raise OutputError(f"{shown(path)} cannot be read: {error.strerror}") from None
    return Lines(lines, shown(path))


def record_of(line: bytes) -> Record | None:
    """The record in a line; None if the line holds none."""
    try:
        return read_entries(Record, json.loads(line))
    except (ValueError, RecursionError):
        return None
