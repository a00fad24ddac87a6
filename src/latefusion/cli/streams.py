"""Standard streams that are closed, full, or a pipe that nobody reads, as one line or silence."""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import IO

import typer

from latefusion.errors import LatefusionError, reason, shown

WHY = {errno.EBADF: "it is closed"}
# A closed stream becomes one that fails when it is used, and its number goes to no other file.
CLOSED_FOR = (os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)  # stdin, stdout, stderr


class _Output(io.FileIO):
    """A standard stream for output that fails once; what is written after that is dropped."""

    failure: OSError | None = None
    was_closed = False

    def write(self, data: object) -> int:
        """Write bytes, or raise OSError the first time that they cannot be written."""
        if self.failure is None:
            try:
                return super().write(data)  # type: ignore[arg-type]
            except OSError as error:
                self.failure = error
                self._fail()
        return memoryview(data).nbytes  # type: ignore[arg-type]

    def _fail(self) -> None:
        assert self.failure
        raise self.failure


class _Messages(_Output):
    """stderr: messages that cannot be written must not end the work that they are about."""

    def _fail(self) -> None:
        pass


class Streams:
    """The standard streams of a command, put in place of Python's own; terminals are left alone."""

    def __init__(self) -> None:
        for number, flags in enumerate(CLOSED_FOR):
            _reserve(number, flags)
        if sys.stdin is None:
            sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        self._stdout = _Output(1, "w", closefd=False)
        self._stdout.was_closed = sys.stdout is None
        if sys.stdout is None or not sys.stdout.isatty():
            sys.stdout = _text(self._stdout, sys.stdout)
        if sys.stderr is None or not sys.stderr.isatty():
            sys.stderr = _text(_Messages(2, "w", closefd=False), sys.stderr)

    def failure(self, error: OSError) -> str | None:
        """The message if stdout is what failed; empty where its reader only had enough.

        None for any other error.
        """
        if error is not self._stdout.failure:
            return None
        return (
            "" if isinstance(error, BrokenPipeError) else f"stdout cannot be written: {why(error)}"
        )


def _reserve(number: int, flags: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, flags)
        if null != number:
            os.dup2(null, number)
            os.close(null)


def _text(raw: _Output, before: IO[str] | None) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    # File names may be invalid UTF-8.
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=True
    )


def print_name(result: object) -> None:
    """Print the name of a result, the product of a command; a closed stdout does not want it.

    On a terminal, what does not print is escaped; programs get the very bytes of the name.
    """
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not (isinstance(raw, _Output) and raw.was_closed):
        typer.echo(shown(str(result)) if sys.stdout.isatty() else _exact(str(result)))


def _exact(name: str) -> str | bytes:
    """A name for other programs: bytes, which are written as they are; on Windows text."""
    return name if os.name == "nt" else os.fsencode(name)


def why(error: OSError) -> str:
    """The reason of an error of a standard stream, in words."""
    return WHY.get(error.errno or 0) or reason(error)


def read_stdin() -> bytes:
    """All of stdin. Raises LatefusionError."""
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise LatefusionError(
            f"stdin cannot be read: {why(error)}; pipe a photo into it, or name a file"
        ) from None


def flush_stdout() -> None:
    """Write what is left in the buffer. Raises OSError."""
    with suppress(ValueError):  # something has closed it
        sys.stdout.flush()
