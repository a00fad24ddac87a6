"""The pictures in a tar shard: found by their headers alone, and read when they are needed."""

import os
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from latefusion.errors import DataError, reason
from latefusion.folder.tars import (
    DAMAGE,
    Header,
    RefusedError,
    check_size,
    headers_in,
    is_hidden,
    stream_of,
)
from latefusion.images.regular import read_regular

MAGIC, MAGIC_AT = b"ustar", 257  # in the first header of a tar that is not compressed


@dataclass(frozen=True, slots=True)
class Shard:
    """A tar file as it was when its headers were read."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Member:
    """Place of the bytes of one picture in an uncompressed shard."""

    shard: Shard
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.shard.path} at byte {self.offset}"


Encoded: TypeAlias = Path | bytes | Member  # a picture that is not decoded


def read_encoded(source: Encoded) -> bytes:
    """The bytes of a picture. Raises OSError for a path, and DataError for a member.

    A shard is opened for each member: that takes microseconds, shows when the file is another one,
    and leaves nothing open that processes would share.
    """
    if isinstance(source, bytes):
        return source
    if isinstance(source, Path):
        return read_regular(source)
    shard = source.shard
    try:
        with shard.path.open("rb") as file:
            now = os.fstat(file.fileno())
            file.seek(source.offset)
            data = file.read(source.size)
    except OSError as error:
        raise DataError(f"{shard.path} can no longer be read: {reason(error)}") from error
    if (now.st_size, now.st_mtime_ns) != (shard.size, shard.mtime_ns):
        raise DataError(f"{shard.path} has changed since it was opened; start again")
    return data


def shard_members(path: Path, suffixes: Collection[str]) -> Iterator[tuple[str, Member | bytes]]:
    """Name and place of the files with one of the endings, hidden ones left out, as they lie.

    Only the headers are read. A compressed tar cannot be read from the middle, so its pictures come
    as bytes. Raises DataError for a file that is not a whole tar or claims more than pictures have,
    and where a picture is a link, since that would silently be missing.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            plain = file.read(MAGIC_AT + len(MAGIC)).endswith(MAGIC)
            file.seek(0)
            shard = Shard(path, found.st_size, found.st_mtime_ns)
            with tarfile.open(path, "r:", tarinfo=Header) if plain else stream_of(file) as archive:
                for header in headers_in(archive, shard.size):
                    if _is_picture(header, path, suffixes):
                        content = _content(archive, header, shard if plain else None)
                        yield str(PurePosixPath(header.name)), content
    except RefusedError as error:
        raise DataError(f"{path} {error}") from error
    except (OSError, *DAMAGE) as error:
        raise DataError(f"{path}: not a complete tar file ({error}); copy it again") from error


def _is_picture(header: tarfile.TarInfo, path: Path, suffixes: Collection[str]) -> bool:
    """True for a picture to read. Raises DataError for a link, and RefusedError for its size."""
    name = PurePosixPath(header.name)
    if name.suffix.lower() not in suffixes or is_hidden(name):
        return False
    if header.issym() or header.islnk():
        cure = "pack the files with `tar --dereference --hard-dereference`"
        raise DataError(f"{path}: {name} is a link in it; {cure}")
    if header.isreg():
        check_size(header)
    return header.isreg()


def _content(
    archive: tarfile.TarFile, header: tarfile.TarInfo, shard: Shard | None
) -> Member | bytes:
    if shard:
        return Member(shard, header.offset_data, header.size)
    stream = archive.extractfile(header)
    return stream.read() if stream else b""
