"""Where a group's results go: files of their own, or a tar or Parquet shard for the group."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import IO, NamedTuple

from latefusion.cluster.storage import Storage
from latefusion.folder.manifest import Record
from latefusion.inference.outputs import Into

MARK = "latefusion-"  # begins the name of every shard that is written


class Result(NamedTuple):
    """A result's kind, its path below the folder of the results, and its bytes."""

    kind: str
    path: str
    data: bytes


def shard_path(key: str, into: Into) -> str:
    """Where the shard of a group lies, below the folder of the results."""
    path = PurePosixPath(key)
    return str(path.with_name(f"{MARK}{path.name}.{into}"))


def is_shard_of(path: str, source: str, into: Into) -> bool:
    """Whether a file is a shard made of the source with that name of its own."""
    name = PurePosixPath(path).name
    return name.startswith(f"{MARK}{source}-") and name.endswith(f".{into}")


def output_of(path: str, key: str, into: Into) -> str:
    """A result as its record names it; one in a tar as fsspec opens it, in Parquet the shard."""
    shard = shard_path(key, into)
    return {"files": path, "tar": f"tar://{path}::{shard}", "parquet": shard}[into]


def write_shard(
    out: Storage, key: str, into: Into, done: Iterable[tuple[Record, list[Result]]]
) -> None:
    """Write a group's shard, whole or not at all; the same results make the same bytes.

    Photos without results are left out; if none has any, there is no shard. Raises OutputError.
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
    """A row for each photo: its name, its results by their kinds, and what is known of them."""
    import pyarrow as pa
    from pyarrow import parquet

    records = [record for record, _ in done]
    columns = {
        "photo": pa.array([printable(record.photo) for record in records], pa.string()),
        "sha256": pa.array([record.sha256 for record in records], pa.string()),
        "width": pa.array([record.width for record in records], pa.int32()),
        "height": pa.array([record.height for record in records], pa.int32()),
        "confidence": pa.array([record.confidence for record in records], pa.float32()),
    }
    for number, kind in enumerate(result.kind for result in done[0][1]):
        columns[kind] = pa.array([results[number].data for _, results in done], pa.large_binary())
    # The results are compressed already.
    parquet.write_table(pa.table(columns), file, compression="none")


def printable(name: str) -> str:
    """A file name as valid text, which on Linux it need not be."""
    return name.encode("utf-8", "backslashreplace").decode()
