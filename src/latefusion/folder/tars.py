"""Rules for folders and tars: hidden names are skipped, and headers must be whole."""

import tarfile
from pathlib import PurePath


def is_hidden(path: PurePath) -> bool:
    """True if a part of the path begins with a dot, like the `._KEY.jpg` files of macOS."""
    return any(part.startswith(".") and part not in (".", "..") for part in path.parts)


class Header(tarfile.TarInfo):
    """A member of a shard, followed by another or by the archive's end mark.

    tarfile itself takes any unreadable header except the first as the end.
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
