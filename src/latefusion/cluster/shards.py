"""Shards of photos, tar and Parquet, read from front to back: names and contents."""

import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, Literal

from latefusion.errors import DataError, reason
from latefusion.folder.tars import Header
from latefusion.images.reading import PHOTO_SUFFIXES

Kind = Literal["folder", "photos", "tar", "parquet"]

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
PARQUET_SUFFIXES = (".parquet", ".pq")
READ_AHEAD = 1 << 20  # bytes of a column

# Columns of Parquet: the photo's content, and what it is called.
IMAGE_COLUMNS = ("image", "bytes", "data", "content", "jpg", "jpeg", "png", "webp")
NAME_COLUMNS = ("__key__", "key", "name", "path", "file_name", "filename", "id")

DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, KeyError)


def kind_of(path: str) -> Kind | None:
    """What a file of that name is; None where it is nothing to us."""
    name = path.lower()
    if name.rpartition("/")[2].startswith("."):
        return None
    if name.endswith(TAR_SUFFIXES):
        return "tar"
    if name.endswith(PARQUET_SUFFIXES):
        return "parquet"
    return "photos" if PurePosixPath(name).suffix in PHOTO_SUFFIXES else None


def tar_members(file: Any, label: str) -> Iterator[tuple[str, bytes]]:
    """The photos of a tar, compressed or not. Raises DataError where it breaks off."""
    with (
        _whole(label, "tar file"),
        tarfile.open(fileobj=file, mode="r|*", tarinfo=Header) as shard,
    ):
        while header := shard.next():
            shard.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            stream = shard.extractfile(header) if header.isreg() else None
            if stream and kind_of(header.name) == "photos":
                yield header.name, stream.read()


def parquet_rows(file: Any, label: str) -> Iterator[tuple[str, bytes]]:
    """The rows of a Parquet file. Raises DataError where it is damaged or has no photos."""
    import pyarrow as pa
    from pyarrow import parquet

    with _whole(label, "Parquet file", pa.ArrowException):
        # With a buffer a row group is read as it comes; else all of it would be in memory.
        table = parquet.ParquetFile(file, buffer_size=READ_AHEAD, pre_buffer=False)
        image, name = _columns(table.schema_arrow, label)
        for batch in table.iter_batches(batch_size=16, columns=[image, *([name] if name else [])]):
            images = batch.column(image).to_pylist()
            names = batch.column(name).to_pylist() if name else [""] * len(images)
            for called, content in zip(names, images, strict=True):
                yield _row(called, content)


READERS: dict[str, Callable[[Any, str], Iterator[tuple[str, bytes]]]] = {
    "tar": tar_members,
    "parquet": parquet_rows,
}


def _row(called: Any, content: Any) -> tuple[str, bytes]:
    """Name and content of a row; a struct of both is what Hugging Face's datasets write."""
    if isinstance(content, dict):
        called = called or content.get("path")
        content = content.get("bytes")
    return str(called or ""), content or b""


def _columns(schema: Any, label: str) -> tuple[str, str | None]:
    """The columns of contents and of names. Raises DataError where there are no contents."""
    from pyarrow import types

    def holds_bytes(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(each.name == "bytes" for each in kind)
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    binary = [each.name for each in schema if holds_bytes(each.type)]
    known = [name for name in IMAGE_COLUMNS if name in binary] or binary
    if not known:
        columns = ", ".join(schema.names)
        raise DataError(f"{label} has no column of image bytes, only {columns}")
    named = [name for name in NAME_COLUMNS if name in schema.names and name not in binary]
    return known[0], named[0] if named else None


@contextmanager
def _whole(label: str, what: str, *more: type[Exception]) -> Iterator[None]:
    """What a damaged shard raises as a DataError."""
    damage: tuple[type[Exception], ...] = (*DAMAGE, *more)
    try:
        yield
    except damage as error:
        raise DataError(f"{label} is not a whole {what}: {reason(error)}") from error
