"""Locks on files, which end with the process that holds them, however that ends."""

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # of some network file systems
SECONDS = 10  # in which others look at a file, at most
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)


def open_locked(path: Path) -> int | None:
    """Open and lock a file, which is made if needed; return its number, or None if it is locked.

    On file systems without locks it is opened only. Raises OSError.
    """
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINKS, 0o666)
        try:
            locked = _lock(number)
            if locked and _is_there(number, path):
                return number
        except BaseException:
            os.close(number)
            raise
        os.close(number)  # if it was locked, its last owner has removed it meanwhile
        if not locked:
            return None


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Make a new file that `remove_unlocked` leaves alone while the block runs. Raises OSError.

    The number of a process in its name could not tell: after a restart, another process has it, in
    a container always the same, and those of other machines or containers cannot be looked up.
    """
    end = time.monotonic() + SECONDS
    while (number := open_locked(path)) is None:  # being looked at by `remove_unlocked`
        if time.monotonic() > end:
            raise BlockingIOError(errno.EAGAIN, "its lock is held by another process")
        time.sleep(0.001)
    if sys.platform == "win32":  # where no open file is removed or renamed, and the block opens it
        os.close(number)
    try:
        yield
    finally:
        if sys.platform != "win32":
            os.close(number)


def remove_unlocked(path: Path) -> None:
    """Remove a file that no process holds. Raises OSError if one does, or none can be told."""
    if sys.platform == "win32":
        path.unlink()
        return
    number = os.open(path, os.O_RDWR | NO_LINKS | os.O_NONBLOCK)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(number)


def _lock(number: int) -> bool:
    """Lock an open file, and return False if another process has. Raises OSError."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return False
        if error.errno not in NO_LOCKS:
            raise
    return True


def _is_there(number: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False
