"""Ray's own words kept off the terminal, and off stdout, where the results' names go."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import IO, Any

STDERR = 2
RAYS_THREADS = ("ray", "StreamingExecutor")  # the beginnings of their names


@contextmanager
def hushed() -> Iterator[None]:
    """Drop what Ray's threads print, and what its C++ core writes to stderr past Python."""
    with ExitStack() as stack:
        err = stack.enter_context(_beside_stderr())
        stack.enter_context(redirect_stdout(_WithoutRay(sys.stdout)))
        stack.enter_context(redirect_stderr(_WithoutRay(err)))
        yield


class _WithoutRay:
    """A text stream as it was, but deaf to Ray's threads."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        rays = threading.current_thread().name.startswith(RAYS_THREADS)
        if rays and isinstance(text, str):  # bytes are how click finds out what stream this is
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _beside_stderr() -> Iterator[IO[str]]:
    """Where stderr went until now, while its file descriptor leads nowhere."""
    try:
        plain = sys.stderr.fileno() == STDERR
    except (OSError, AttributeError, ValueError):  # captured, or closed
        plain = False
    if not plain:
        yield sys.stderr
        return
    sys.stderr.flush()
    kept = os.dup(STDERR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDERR)
    try:
        with open(kept, "w", buffering=1, errors="backslashreplace", closefd=False) as err:
            yield err
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        os.close(nowhere)
