"""Readers of shards, tar and Parquet files of photos, as streams of names and contents."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, Literal

from latefusion.errors import DataError, reason
from latefusion.folder.tars import (
    DAMAGE,
    RefusedError,
    check_claim,
    check_size,
    headers_in,
    size_of,
    stream_of,
)
from latefusion.images.raw import photo_suffixes

Kind = Literal["folder", "photos", "tar", "parquet"]

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
PARQUET_SUFFIXES = (".parquet", ".pq")
READ_AHEAD = 1 << 20  # bytes of a column

# Columns of Parquet files with a photo's content and its name; the first that exists is used.
IMAGE_COLUMNS = ("image", "bytes", "data", "content", "jpg", "jpeg", "png", "webp")
NAME_COLUMNS = ("__key__", "key", "name", "path", "file_name", "filename", "id")


def kind_of(path: str) -> Kind | None:
    """The kind of a file by its name; None for hidden files and other types."""
    name = path.lower()
    if name.rpartition("/")[2].startswith("."):
        return None
    if name.endswith(TAR_SUFFIXES):
        return "tar"
    if name.endswith(PARQUET_SUFFIXES):
        return "parquet"
    return "photos" if PurePosixPath(name).suffix in photo_suffixes() else None


def tar_members(file: Any, label: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of each photo in a tar file, which may be packed by gzip.

    Raises DataError if the file is damaged or truncated, or unpacks to more than photos do.
    """
    with _whole(label, "tar file"):
        size = size_of(file)
        with stream_of(file) as shard:
            for header in headers_in(shard, size):
                if header.isreg() and kind_of(header.name) == "photos":
                    check_size(header)
                    stream = shard.extractfile(header)
                    yield header.name, stream.read() if stream else b""


def parquet_rows(file: Any, label: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of each row of a Parquet file; the name is "" if it has none.

    Raises DataError if the file is damaged, has no column of image bytes or claims too many.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with _whole(label, "Parquet file", pa.ArrowException):
        size, unpacked = size_of(file), 0
        # With a buffer, a row group is streamed; without one, it is read into memory as a whole.
        table = parquet.ParquetFile(file, buffer_size=READ_AHEAD, pre_buffer=False)
        check_claim(_claimed(table.metadata), size)
        image, name = _columns(table.schema_arrow, label)
        for batch in table.iter_batches(batch_size=16, columns=[image, *([name] if name else [])]):
            images = batch.column(image).to_pylist()
            names = batch.column(name).to_pylist() if name else [""] * len(images)
            for called, content in zip(names, images, strict=True):
                row = _row(called, content)
                unpacked += len(row[1])  # of one picture, perhaps, that all rows refer to
                check_claim(unpacked, size)
                yield row


READERS: dict[str, Callable[[Any, str], Iterator[tuple[str, bytes]]]] = {
    "tar": tar_members,
    "parquet": parquet_rows,
}


def _claimed(metadata: Any) -> int:
    """The bytes that the columns of a Parquet file unpack to, as its footer says."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    return sum(group.total_byte_size for group in groups)


def _row(called: Any, content: Any) -> tuple[str, bytes]:
    """The name and content of a row; Hugging Face's datasets store both in one struct."""
    if isinstance(content, dict):
        called = called or content.get("path")
        content = content.get("bytes")
    return str(called or ""), content or b""


def _columns(schema: Any, label: str) -> tuple[str, str | None]:
    """The names of the content column and the name column. Raises DataError without the first."""
    from pyarrow import types

    def holds_bytes(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(each.name == "bytes" for each in kind)
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    binary = [each.name for each in schema if holds_bytes(each.type)]
    known = [name for name in IMAGE_COLUMNS if name in binary] or binary
    if not known:
        columns = ", ".join(schema.names)
        raise DataError(f"{label} has no column of image bytes, only {columns}; name one 'image'")
    named = [name for name in NAME_COLUMNS if name in schema.names and name not in binary]
    return known[0], named[0] if named else None


@contextmanager
def _whole(label: str, what: str, *more: type[Exception]) -> Iterator[None]:
    """Turn the errors that a damaged shard raises into DataError."""
    damage: tuple[type[Exception], ...] = (*DAMAGE, *more)
    try:
        yield
    except RefusedError as error:
        raise DataError(f"{label} {error}") from error
    except damage as error:
        raise DataError(f"{label} is not a complete {what}: {reason(error)}") from error
