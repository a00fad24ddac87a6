"""Output of a group: a file for each result, or one tar or Parquet shard for all of them."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import IO, NamedTuple

from latefusion.cluster.storage import Storage
from latefusion.folder.manifest import Record
from latefusion.inference.outputs import Into

MARK = "latefusion-"  # prefix of the name of every shard that is written


class Result(NamedTuple):
    """A result: its kind, its path below the output folder, and its encoded bytes."""

    kind: str
    path: str
    data: bytes


def shard_path(key: str, into: Into) -> str:
    """The path of a group's shard, below the output folder."""
    path = PurePosixPath(key)
    return str(path.with_name(f"{MARK}{path.name}.{into}"))


def is_shard_of(path: str, source: str, into: Into) -> bool:
    """True if a file is a shard that was written for the source; `source` is its `own_name`."""
    name = PurePosixPath(path).name
    return name.startswith(f"{MARK}{source}-") and name.endswith(f".{into}")


def output_of(path: str, key: str, into: Into) -> str:
    """The name of a result in its record, by `into`.

    `files`: its path; `tar`: a chained URL, as fsspec opens it; `parquet`: the path of the shard.
    """
    shard = shard_path(key, into)
    return {"files": path, "tar": f"tar://{path}::{shard}", "parquet": shard}[into]


def write_shard(
    out: Storage, key: str, into: Into, done: Iterable[tuple[Record, list[Result]]]
) -> None:
    """Write a group's shard atomically; the same results give the same bytes.

    Photos without results are skipped; without any result no shard is written. Raises OutputError.
    """
    found = [(record, results) for record, results in done if results]
    if not found:
        return
    with out.writing(shard_path(key, into)) as file:
        {"tar": _write_tar, "parquet": _write_parquet}[into](file, found)


def _write_tar(file: IO[bytes], done: list[tuple[Record, list[Result]]]) -> None:
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as shard:
        for _, results in done:
            for result in results:
                member = tarfile.TarInfo(result.path)
                member.size = len(result.data)
                shard.addfile(member, io.BytesIO(result.data))


def _write_parquet(file: IO[bytes], done: list[tuple[Record, list[Result]]]) -> None:
    """Write a row for each photo: its record's fields, and a column for each kind of result."""
    import pyarrow as pa
    from pyarrow import parquet

    records = [record for record, _ in done]
    columns = {
        "photo": pa.array([printable(record.photo) for record in records], pa.string()),
        "sha256": pa.array([record.sha256 for record in records], pa.string()),
        "width": pa.array([record.width for record in records], pa.int32()),
        "height": pa.array([record.height for record in records], pa.int32()),
        "subject_found": pa.array([record.subject_found for record in records], pa.bool_()),
        "confidence": pa.array([record.confidence for record in records], pa.float32()),
        "notes": pa.array([list(record.notes) for record in records], pa.list_(pa.string())),
    }
    for number, kind in enumerate(result.kind for result in done[0][1]):
        columns[kind] = pa.array([results[number].data for _, results in done], pa.large_binary())
    # The results are encoded images, which compress no further.
    parquet.write_table(pa.table(columns), file, compression="none")


def printable(name: str) -> str:
    """A file name as valid Unicode; on Linux it may contain bytes that are not UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()
