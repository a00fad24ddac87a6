"""The manifest of a run over many photos: a line of JSON for each, from which to resume."""

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO

from latefusion.errors import OutputError
from latefusion.images.writing import make_folder, whole_file

NAME = "manifest.jsonl"
BEGIN = b'{"photo": "'  # of a line; the last line may be cut off
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
    warnings: Sequence[str] = ()  # options that could not be followed
    skipped: str | None = None  # why the run passed the file over


class Manifest:
    """The records of a run, in a file that stays readable if the run is killed at any moment.

    Each record is one line, written at once. The last record of a photo counts, and a line that was
    cut off is ignored; at the start and at the end the file is compacted to a line per photo.
    Records of an earlier run are kept, also those of photos that are gone, because their results
    are still there; but photos count as done only with `resume`. What an earlier run passed over is
    forgotten. Raises OutputError, also for a file that is no manifest.
    """

    def __init__(self, path: Path, resume: bool = False) -> None:
        self.path = path
        self.records = {name: record for name, record in _read(path).items() if is_of_photo(record)}
        self._resume = resume
        self._lock = threading.Lock()
        make_folder(path.parent)
        self._compact()
        try:
            self._file: IO[bytes] = path.open("ab", buffering=0)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from None

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
        """Append a record. Raises OutputError."""
        with self._lock:
            self.records[record.photo] = record
            try:
                self._file.write(line_of(record))
            except OSError as error:
                raise OutputError(f"{self.path} cannot be written: {error.strerror}") from None

    def holds(self, photo: str, sha256: str, settings: str, outputs: Sequence[str]) -> bool:
        """True if this photo is done with these settings, and all its results exist."""
        record = self.records.get(photo)
        return (
            self._resume
            and record is not None
            and record.error is None
            and (record.sha256, record.settings) == (sha256, settings)
            and sorted(record.outputs) == sorted(outputs)
            and all((self.path.parent / output).is_file() for output in outputs)
        )


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
        records = _read(folder / NAME)
    except OutputError:  # of something else
        return set()
    return {folder / output for record in records.values() for output in record.outputs}


def is_of_photo(record: Record) -> bool:
    """True but for records of files that were passed over, and of folders."""
    return record.skipped is None and not (record.error and record.photo.endswith("/"))


def _read(path: Path) -> dict[str, Record]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}") from None
    found = [record_of(line) for line in lines]
    if found and found[-1] is None and lines[-1].startswith(BEGIN[: len(lines[-1])]):
        found.pop()  # it was cut off
    if None in found:
        raise OutputError(f"{path} is not a manifest of latefusion; choose another -o")
    return {record.photo: record for record in found if record}


def record_of(line: bytes) -> Record | None:
    """The record in a line; None if the line holds none."""
    known = {field.name for field in fields(Record)}
    try:
        given = json.loads(line)
        given["notes"] = tuple(given.get("notes", ()))
        given["warnings"] = tuple(given.get("warnings", ()))
        return Record(**{name: value for name, value in given.items() if name in known})
    except (ValueError, TypeError, AttributeError):
        return None
