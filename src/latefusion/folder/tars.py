"""Rules for folders and tars: hidden names are skipped, headers whole, and members of a sane size.

A tar of a few kilobytes can claim terabytes, in holes or compressed, and headers without end.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import PurePath
from typing import IO, NoReturn

LARGEST_PICTURE = 1 << 29  # bytes of one member that is read
MOST_PACKED = 100  # times as large unpacked, at most; pictures hardly pack at all
SLACK = 16 << 20  # bytes that any tar may unpack to
LARGEST_HEADER = 1 << 16  # bytes of one that only belongs to another member
MOST_HEADERS = 8  # such headers of one member
MOST_GLOBAL = 100  # entries that hold for all members

GZIP = b"\x1f\x8b"
REFUSED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}  # 1 kB holds a gigabyte

DAMAGE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, KeyError)


class RefusedError(tarfile.ReadError):
    """A tar that is whole, and is not read; the message says why."""


def is_hidden(path: PurePath) -> bool:
    """True if a part of the path begins with a dot, like the `._KEY.jpg` files of macOS."""
    return any(part.startswith(".") and part not in (".", "..") for part in path.parts)


class Header(tarfile.TarInfo):
    """A member of a shard, followed by another or by the archive's end mark.

    tarfile itself takes any unreadable header except the first as the end, and reads headers of any
    size and number.
    """

    @classmethod
    def fromtarfile(cls, shard: tarfile.TarFile) -> "Header":
        try:
            header = super().fromtarfile(shard)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the end mark
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {shard.offset}") from error
        if header.size < 0:  # tarfile would seek back and loop for ever
            raise tarfile.ReadError(f"a negative size at byte {header.offset}")
        return header

    def _proc_member(self, shard: tarfile.TarFile) -> tarfile.TarInfo:
        """Read what belongs to a header; the method that tarfile has for subclasses to override."""
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._refuse_sparse()
        if self.type in BELONGING:
            shard.headers_ahead = ahead = getattr(shard, "headers_ahead", 0) + 1  # type: ignore[attr-defined]
            if self.size > LARGEST_HEADER or ahead > MOST_HEADERS:
                raise RefusedError(f"has an endless header at byte {shard.offset}; pack it again")
        return super()._proc_member(shard)  # type: ignore[misc]

    def _refuse_sparse(self, *_: object) -> NoReturn:
        raise RefusedError("has sparse members; pack the files without --sparse")

    # tarfile would unpack their maps first, which may be as large as all memory.
    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


BELONGING = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)


def headers_in(shard: tarfile.TarFile, packed: int) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of a shard of `packed` bytes that was opened with `Header`.

    Raises one of DAMAGE, also where the shard would unpack to far more than pictures do.
    """
    while header := shard.next():
        shard.members.clear()  # type: ignore[attr-defined]  # it would keep them all
        shard.headers_ahead = 0  # type: ignore[attr-defined]
        if len(shard.pax_headers) > MOST_GLOBAL:
            raise RefusedError(f"has an endless header at byte {header.offset}; pack it again")
        check_claim(shard.offset, packed)
        yield header


def check_claim(unpacked: int, packed: int) -> None:
    """Raise RefusedError for a shard of `packed` bytes that holds far more than pictures do."""
    if unpacked > MOST_PACKED * packed + SLACK:
        raise RefusedError(f"claims to hold over {MOST_PACKED} times its size; pack it again")


def check_size(header: tarfile.TarInfo) -> None:
    """Raise RefusedError for a picture that is too large to read."""
    if header.size > LARGEST_PICTURE:
        size, most = (f"{length / 1e6:.0f} MB" for length in (header.size, LARGEST_PICTURE))
        raise RefusedError(f"{header.name} has {size}; a picture may have {most}")


def size_of(file: IO[bytes]) -> int:
    """The size of an open file in bytes, which is read from its beginning afterwards."""
    size = file.seek(0, 2)
    file.seek(0)
    return size


def stream_of(file: IO[bytes]) -> tarfile.TarFile:
    """Open a tar, plain or by gzip, to be read once, piece by piece. Raises one of DAMAGE.

    tarfile unpacks all that 10 kB of the file hold at once.
    """
    head = file.read(6)
    file.seek(0)
    for begin, name in REFUSED.items():
        if head.startswith(begin):
            raise RefusedError(f"is packed by {name}; pack it with gzip, or not at all")
    plain = gzip.GzipFile(fileobj=file) if head.startswith(GZIP) else file
    return tarfile.open(fileobj=plain, mode="r|", tarinfo=Header)
