"""Files to read: regular ones only, since a pipe or a device may block for ever or never end."""

import errno
import os
import stat
from pathlib import Path
from typing import IO

NOT_REGULAR = "it is a pipe or a device, not a file"


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to read. Raises OSError, also for what is neither a file nor a folder."""
    require_regular(path)
    # Should it become a pipe in between, it is opened without waiting, and refused.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = os.fdopen(number, "rb")
    if not stat.S_ISREG(os.fstat(number).st_mode):
        file.close()
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
    return file


def read_regular(path: Path) -> bytes:
    """The content of a file. Raises OSError, also for what is no regular file."""
    with open_regular(path) as file:
        return file.read()


def require_regular(path: Path) -> None:
    """Raise OSError for a pipe or a device, and where there is nothing."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
