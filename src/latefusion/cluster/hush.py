"""Suppression of Ray's own output on stderr and on stdout, where the names of results go."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import IO, Any

STDERR = 2
RAYS_THREADS = ("ray", "StreamingExecutor")  # prefixes of their names


@contextmanager
def hushed() -> Iterator[None]:
    """Drop what Ray's threads print and what its C++ core writes to file descriptor 2."""
    with ExitStack() as stack:
        err = stack.enter_context(_beside_stderr())
        stack.enter_context(redirect_stdout(_WithoutRay(sys.stdout)))
        stack.enter_context(redirect_stderr(_WithoutRay(err)))
        yield


class _WithoutRay:
    """A text stream that ignores what Ray's threads write."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        rays = threading.current_thread().name.startswith(RAYS_THREADS)
        if rays and isinstance(text, str):  # click writes bytes to test if the stream is binary
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _beside_stderr() -> Iterator[IO[str]]:
    """Yield a stream to the original stderr, while file descriptor 2 leads to the null device."""
    try:
        plain = sys.stderr.fileno() == STDERR
    except (OSError, AttributeError, ValueError):  # stderr is captured or closed
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
