"""A lock that lets one run at a time write into a folder."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latefusion.errors import OutputError, reason, shown
from latefusion.images.writing import make_folder

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".manifest.lock"
HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # of some network file systems


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
    while True:
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise OutputError(f"{shown(path)} cannot be written: {reason(error)}") from None
        try:
            _lock(number, path)
            if _is_there(number, path):
                return number
        except BaseException:
            os.close(number)
            raise
        os.close(number)  # its last owner has removed it meanwhile


def _lock(number: int, path: Path) -> None:
    try:
        if sys.platform == "win32":
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            raise OutputError(
                f"another run writes into {shown(path.parent)}; wait until it ends, or choose"
                " another -o"
            ) from None
        if error.errno not in NO_LOCKS:
            raise OutputError(f"{shown(path)} cannot be locked: {reason(error)}") from None


def _is_there(number: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False
