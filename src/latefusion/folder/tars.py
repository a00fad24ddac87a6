"""What counts in folders and tars: hidden names left out, and headers that must be whole."""

import tarfile
from pathlib import PurePath


def is_hidden(path: PurePath) -> bool:
    """Whether a part of the path begins with a dot, as the `._KEY.jpg` that macOS leaves behind."""
    return any(part.startswith(".") and part not in (".", "..") for part in path.parts)


class Header(tarfile.TarInfo):
    """A member of a shard that has to be followed by another or by the archive's end mark.

    tarfile takes any header it cannot read, but for the first one, as the end.
    """

    @classmethod
    def fromtarfile(cls, shard: tarfile.TarFile) -> "Header":
        try:
            header = super().fromtarfile(shard)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the end mark
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {shard.offset}") from error
        if header.size < 0:  # tarfile would go back, and round and round
            raise tarfile.ReadError(f"a negative size at byte {header.offset}")
        return header
