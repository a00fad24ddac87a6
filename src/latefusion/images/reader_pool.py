"""Reading of photos in processes that are ended where a file takes too long or crashes a decoder.

A thread cannot be ended from outside, and a decoder in it may hold all other threads up; a process
can, and does not.
"""

import faulthandler
import gc
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latefusion.errors import ImageError, LatefusionError, reason, shown
from latefusion.images.memory import return_free_blocks, return_large_blocks
from latefusion.images.reading import Photo, read_photo

GRACE = 5  # seconds after the limit in which a process ends itself, if nobody else did
PATIENCE = 0.1  # seconds between two calls of `check`
END_SECONDS = 5
LARGE = 1 << 20  # bytes of a photo after which free memory is given back
STRIP = 1 << 20  # bytes that are sent at a time
# Modules that a new process finds loaded, where it is forked; it runs the imports of the console's
# script again, too.
PRELOADED = ["latefusion.images.reading", "latefusion.cli"]
# Ways to start a process. The first is the faster one, but needs a socket in a temporary folder,
# which cannot be in a container with --read-only, or where the name of the folder is long.
KINDS = [
    kind for kind in ("forkserver", "spawn") if kind in multiprocessing.get_all_start_methods()
]
START_SECONDS = 60
# A terminal's Ctrl-C, and its end, go to all its processes, as does a stop of systemd.
DEAF_TO = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class ReaderError(LatefusionError):
    """There is no process to read a photo: none can be started, or the pool is closed."""


@dataclass(frozen=True)
class _Wish:
    """A photo to read: its path, or the size of its bytes, which follow; and the options."""

    source: str | int
    options: dict[str, Any]


@dataclass(frozen=True)
class _Answer:
    """What reading brought, without pixels: a photo, or an error, and the warnings."""

    photo: Photo | None
    error: Exception | None
    warnings: Sequence[str]
    planes: Sequence[tuple[tuple[int, ...], str]]  # shape and dtype of image and opacity


class _Process:
    """A process that reads one photo at a time."""

    def __init__(self, context: Any, seconds: float, niceness: int) -> None:
        self.connection, other = context.Pipe()
        self.process = context.Process(
            target=_work, args=(other, seconds, niceness), name="latefusion-reader", daemon=True
        )
        with _deaf():
            self.process.start()
        other.close()
        self.ready = False  # to read, once it has said so

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join(END_SECONDS)


class ReaderPool:
    """Read photos in up to `count` processes, each photo in at most `seconds`.

    Threads may share it. Processes start at the first photo, or with `start`. On POSIX `niceness`
    lowers their priority, as `nice` does.
    """

    def __init__(self, count: int, seconds: float, niceness: int = 0) -> None:
        self._seconds = seconds
        self._niceness = niceness
        self._free = threading.Semaphore(count)
        self._count = count
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._closed = False
        # A pool that nobody closes ends with the program, which would wait for its processes.
        Finalize(self, _end_all, (self._idle, self._busy), exitpriority=0)

    def __enter__(self) -> "ReaderPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start all processes now, rather than at the first photos."""
        while not self._closed and len(self._idle) + len(self._busy) < self._count:
            self._keep(self._new())

    def close(self) -> None:
        """End all processes; photos that are being read raise ImageError."""
        with self._lock:
            self._closed = True
            ended = [*self._idle, *self._busy]
            self._idle.clear()
        _end_all(ended)

    def read(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        name: str = "the given photo",
        check: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> Photo:
        """Read a path or encoded bytes as `read_photo` does, with its options.

        `check` is called now and then; an exception of it ends the reading. Raises ImageError, also
        where it takes longer than the limit, and ReaderError.
        """
        given = source if isinstance(source, bytes) else os.fspath(source)
        wish = _Wish(given if isinstance(given, str) else len(given), {"name": name, **options})
        data = memoryview(b"" if isinstance(given, str) else given)
        label = name if isinstance(given, bytes) else shown(given)
        with self._free, self._process() as process:
            answer = self._ask(process, wish, data, label, check)
        for message in answer.warnings:
            warnings.warn(message, stacklevel=2)
        if answer.error:
            raise answer.error
        assert answer.photo
        return answer.photo

    def _ask(
        self,
        process: _Process,
        wish: _Wish,
        data: memoryview,
        label: str,
        check: Callable[[], None],
    ) -> _Answer:
        connection = process.connection
        if not process.ready:  # which is no fault of the photo
            _await(connection, START_SECONDS, label, check)
            with _blaming(label):
                connection.recv()
            process.ready = True
        with _blaming(label):
            connection.send(wish)
            _send_bytes(connection, data)
        _await(connection, self._seconds, label, check)
        with _blaming(label):
            return _receive(connection)

    @contextmanager
    def _process(self) -> Iterator[_Process]:
        """A process, which is ended and replaced if the reading fails."""
        process = self._take()
        try:
            yield process
        except BaseException:
            process.end()
            with self._lock:
                self._busy.discard(process)
            if not self._closed:
                with suppress(ReaderError):  # of the next photo, if it lasts
                    self._keep(self._new())
            raise
        self._keep(process)

    def _take(self) -> _Process:
        while True:
            with self._lock:
                if self._closed:
                    raise ReaderError("no more photos are read; this is the end of the program")
                process = self._idle.pop() if self._idle else None
                if process and process.process.is_alive():
                    self._busy.add(process)
                    return process
            if process:
                process.end()
            self._keep(self._new())

    def _keep(self, process: _Process) -> None:
        with self._lock:
            self._busy.discard(process)
            if not self._closed and len(self._idle) + len(self._busy) < self._count:
                self._idle.append(process)
                return
        process.end()

    def _new(self) -> _Process:
        for kind in KINDS:
            context: Any = multiprocessing.get_context(kind)
            context.set_forkserver_preload(PRELOADED)
            try:
                return _Process(context, self._seconds + GRACE, self._niceness)
            except OSError as error:
                why = reason(error)
        raise ReaderError(f"no process can be started to read photos: {why}")


@contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that this thread starts begin without Ctrl-C and the like.

    They would print a traceback before they have come to ignoring it themselves. The server that
    forks them stays so, and with it all that a program forks from it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_all(*groups: Iterable[_Process]) -> None:
    processes = list(chain(*groups))
    for each in processes:
        each.process.kill()
    for each in processes:
        each.process.join(END_SECONDS)


@contextmanager
def _blaming(label: str) -> Iterator[None]:
    """Raise ImageError where the process at the other end is gone."""
    try:
        yield
    except (EOFError, OSError):
        raise ImageError(
            f"{label} ended the process that read it, for want of memory or by a fault of its"
            " decoder; save it again as JPEG or PNG"
        ) from None


def _await(connection: Connection, seconds: float, label: str, check: Callable[[], None]) -> None:
    """Wait until there is something to receive. Raises ImageError, and what `check` raises."""
    end = time.monotonic() + seconds
    while not _answered(connection, label):
        check()
        if time.monotonic() > end:
            raise ImageError(
                f"{label} took longer to read than the limit of {seconds:g} s;"
                " save it again as JPEG or PNG, or allow more time"
            )


def _answered(connection: Connection, label: str) -> bool:
    with _blaming(label):
        return connection.poll(PATIENCE)


def _work(connection: Connection, seconds: float, niceness: int) -> None:
    """Read one photo after another until the connection is closed. Runs in the process."""
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)  # what is begun is finished
    if hasattr(os, "nice"):
        with suppress(OSError):  # where a sandbox forbids it
            os.nice(niceness)
    gc.freeze()  # collecting would copy the pages that all processes share
    return_large_blocks()
    with open(os.devnull, "w") as nowhere, suppress(EOFError, OSError):  # noqa: PTH123
        connection.send(None)
        while True:
            wish: _Wish = connection.recv()
            source = _source(connection, wish.source)
            # If the process that asked is gone, nobody else ends this one.
            faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
            answer = _answer(source, wish.options)
            faulthandler.cancel_dump_traceback_later()
            _send(connection, *answer)
            is_large = isinstance(wish.source, int) and wish.source > LARGE
            leaves_holes = is_large or answer[0].error is not None
            del answer, source
            if leaves_holes:
                return_free_blocks()


def _source(connection: Connection, given: str | int) -> str | bytes:
    if isinstance(given, str):
        return given
    stream = io.BytesIO()  # gives its bytes themselves, of which readers take no copy
    stream.seek(max(0, given - 1))
    stream.write(b"\0"[:given])
    with stream.getbuffer() as data:
        _receive_bytes(connection, data)
    return stream.getvalue()


def _answer(source: str | bytes, options: dict[str, Any]) -> tuple[_Answer, list[NDArray[Any]]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", module="PIL")
        photo: Photo | None = None
        error: Exception | None = None
        try:
            photo = read_photo(source, **options)
        except (LatefusionError, MemoryError) as raised:
            error = _without_frames(raised)
        except Exception:  # noqa: BLE001 - a bug, to be seen by the process that asked
            error = RuntimeError(traceback.format_exc())
    messages = [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
    if photo is None:
        return _Answer(None, error, messages, ()), []
    planes = [plane for plane in (photo.image, photo.opacity) if plane is not None]
    about = [(plane.shape, plane.dtype.str) for plane in planes]
    bare = photo._replace(image=np.empty(0, np.uint8), opacity=None)
    return _Answer(bare, None, messages, about), planes


def _without_frames(error: Exception) -> Exception:
    """The error without what its tracebacks hold: the bytes of the photo, in a cycle with it."""
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each and each.__traceback__:
            each.__traceback__ = None
            waiting += [each.__cause__, each.__context__]
    return error


def _send(connection: Connection, answer: _Answer, planes: Sequence[NDArray[Any]]) -> None:
    connection.send(answer)
    for plane in planes:
        _send_bytes(connection, np.ascontiguousarray(plane).data.cast("B"))


def _receive(connection: Connection) -> _Answer:
    answer: _Answer = connection.recv()
    if answer.photo is None:
        return answer
    planes = [np.empty(shape, dtype) for shape, dtype in answer.planes]
    for plane in planes:
        _receive_bytes(connection, plane.data.cast("B"))
    image, opacity = planes[0], planes[1] if len(planes) > 1 else None
    photo = answer.photo._replace(image=image, opacity=opacity)
    return _Answer(photo, None, answer.warnings, ())


# A connection copies twice what it receives, and takes five times as long as its file does.
if sys.platform == "win32":

    def _send_bytes(connection: Connection, data: memoryview) -> None:
        for start in range(0, len(data), STRIP):
            connection.send_bytes(data[start : start + STRIP])

    def _receive_bytes(connection: Connection, data: memoryview) -> None:
        for start in range(0, len(data), STRIP):
            connection.recv_bytes_into(data[start : start + STRIP])

else:

    def _send_bytes(connection: Connection, data: memoryview) -> None:
        while data:
            data = data[os.write(connection.fileno(), data) :]

    def _receive_bytes(connection: Connection, data: memoryview) -> None:
        while data:
            size = os.readv(connection.fileno(), [data])
            if not size:
                raise EOFError
            data = data[size:]
