"""A lock that lets one run at a time write into a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latefusion.errors import OutputError, reason, shown
from latefusion.images.locks import open_locked
from latefusion.images.writing import make_folder

LOCK = ".manifest.lock"


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Be the only run that writes into a folder, which is made if needed.

    The lock ends with the process, however that ends. File systems without locks take any number
    of runs. Raises OutputError if another run holds the folder.
    """
    make_folder(folder)
    path = folder / LOCK
    number = _locked(path)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            path.unlink()
        os.close(number)


def _locked(path: Path) -> int:
    """Open and lock a file; return its number. Raises OutputError."""
    try:
        number = open_locked(path)
    except OSError as error:
        raise OutputError(f"{shown(path)} cannot be written: {reason(error)}") from None
    if number is None:
        raise OutputError(
            f"another run writes into {shown(path.parent)}; wait until it ends, or choose"
            " another -o"
        )
    return number
