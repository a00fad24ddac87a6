"""Limits on bytes, pixels, photos and seconds of a request, and the reading of bodies in them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from starlette.requests import Request

from latefusion.images.formats import COMMON
from latefusion.server.refusals import RefusedError

T = TypeVar("T")

MB = 1_000_000
BODY = "latefusion.body"  # key in a request's scope of that which stands in line for its body
HEAD_SECONDS = 10  # for the head of a request, and for the rest of a body that was refused
BODY_SECONDS = 30  # for the body of a request
STALLED_SECONDS = 30  # for a client to read a piece of the response
PIECE = 256 * 1024  # bytes of the response that are sent at a time
BATCH_BODIES = 8  # size of a batch's body, as a multiple of Limits.body
BATCH_PHOTOS = 100  # photos of a batch
READING = 6  # the time limit of a photo, as a multiple of that of reading it
HELD_BODIES = 16  # bodies and responses of all open requests, as a multiple of Limits.body
EASY_BODIES = 2  # as the same multiple, what may be held before large bodies arrive in line
LARGE = MB  # bytes of a body from which it stands in line
LINE_SECONDS = 30  # that a body waits in line in all, beside BODY_SECONDS
LEAD_SECONDS = 4  # that a body is the first in line
LOOK_SECONDS = 0.05  # between two looks at the line
TIDY_SECONDS = 0.5  # after a large body, until free memory is given back
FETCHES = 8  # downloads at a time
FIELDS = 40  # fields of a form
NAME_LETTERS = 200  # of the name of a field
TEXT_LETTERS = 10_000  # of a field that is not a photo in base64
SLICE = 1 << 16  # bytes of a body that are handled at a time, a few milliseconds
SHARE = 2e-4  # seconds for slices of bodies between two looks at other events
LONGEST_REST = 0.1  # seconds, however long a slice took, such as in a process that was paused
PARSES = 1  # large texts at a time; parsing them in threads holds up the event loop now and then
DIGITS = 15  # of a plausible Content-Length; int() raises ValueError for very long ones


@dataclass(frozen=True)
class Limits:
    """The limits that are options of `latefusion serve`."""

    body: int = 32 * MB  # bytes of a request with one photo
    pixels: int = 50_000_000  # of a photo, and of a background image
    seconds: float = 60  # for a photo, from entering the queue until it is done
    queue: int = 64  # photos that wait for a worker
    formats: frozenset[str] = COMMON  # of photos, as Pillow names them

    @property
    def reading(self) -> float:
        """Seconds in which a photo must be read."""
        return self.seconds / READING

    @property
    def batch_body(self) -> int:
        """Bytes of the body of a batch."""
        return BATCH_BODIES * self.body

    @property
    def held(self) -> int:
        """Bytes of the bodies and responses of all open requests; above it no body is read."""
        return HELD_BODIES * self.body

    @property
    def easy(self) -> int:
        """Bytes that may be held before large bodies arrive one after another."""
        return EASY_BODIES * self.body


class Line:
    """Large bodies, which arrive one after another while those of all hold more than `easy` bytes.

    Memory is then bounded by what is held and one body more, rather than by all that clients send
    at a time. The first in line goes on to arrive until it is answered, but not for longer than
    LEAD_SECONDS, so that a client that sends slowly, or a photo that takes long, stops nobody.
    """

    def __init__(self, easy: int) -> None:
        self._easy = easy
        self._waited: dict[object, float] = {}  # seconds of each body, the first in line first
        self._leader: object = None
        self._leads_since = 0.0

    async def wait(self, body: object, crowd: Callable[[], int]) -> None:
        """Wait until `body` may go on to arrive; `crowd` tells the bytes of all.

        Raises RefusedError after LINE_SECONDS in all.
        """
        self._waited.setdefault(body, 0.0)
        while crowd() > self._easy and self._first() is not body:
            if self._waited[body] > LINE_SECONDS:
                raise overfull()
            begun = perf_counter()
            await asyncio.sleep(LOOK_SECONDS)
            self._waited[body] += perf_counter() - begun

    def waited(self, body: object) -> float:
        """Seconds that a body has waited."""
        return self._waited.get(body, 0.0)

    def leave(self, body: object) -> None:
        """Let the next one be the first, where `body` was it."""
        self._waited.pop(body, None)

    def _first(self) -> object:
        first = next(iter(self._waited))
        if first is self._leader and perf_counter() - self._leads_since > LEAD_SECONDS:
            self._waited[first] = self._waited.pop(first)  # to the end
            first = next(iter(self._waited))
            self._leader = None
        if first is not self._leader:
            self._leader, self._leads_since = first, perf_counter()
        return first


class Turns:
    """Turns of the event loop to handle slices of bodies in, however many arrive side by side.

    What a request waits for beside them is SHARE and one slice, not a slice of each body; and after
    slices that took long, the workers get as much time.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._used = 0.0

    def add(self, took: float) -> None:
        """Count the seconds that a slice took."""
        self._used += took

    async def next(self) -> None:
        """Wait for one's turn, if slices took SHARE since the last one."""
        if self._used < SHARE:
            return
        async with self._lock:
            await asyncio.sleep(min(self._used, LONGEST_REST))
            self._used = 0.0


def overfull() -> RefusedError:
    """The error for a body that finds no room beside those of other requests."""
    message = "the bodies of other requests fill the memory; retry in 5 s"
    return RefusedError(429, message, {"Retry-After": "5"})


def too_large(most: int) -> RefusedError:
    """The error for a body of more than `most` bytes."""
    return RefusedError(413, f"the body is larger than the limit of {most / MB:g} MB")


async def stream_of(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """Read the body in slices, each in its turn. Raises RefusedError for more than `most` bytes.

    The Content-Length is checked before anything is read, and the bytes are counted as they arrive.
    """
    declared = request.headers.get("content-length", "0")
    if len(declared) > DIGITS or not declared.isdecimal() or int(declared) > most:
        raise too_large(most)
    turns, size = request.app.state.service.turns, 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise too_large(most)
        for start in range(0, len(piece), SLICE):
            await turns.next()
            begun = perf_counter()
            yield piece[start : start + SLICE]
            turns.add(perf_counter() - begun)


async def soon(request: Request, reading: Awaitable[T]) -> T:
    """Wait for `reading`, which reads the body, at most BODY_SECONDS beside those in line.

    Raises RefusedError.
    """
    line, start = request.app.state.service.line, perf_counter()
    task = asyncio.ensure_future(reading)
    try:
        while not task.done():
            left = BODY_SECONDS + line.waited(request.scope[BODY]) - (perf_counter() - start)
            if left <= 0:
                message = f"the body did not arrive within {BODY_SECONDS} s"
                raise RefusedError(408, message, {"Connection": "close"})
            await asyncio.wait({task}, timeout=left)
        return task.result()
    finally:
        task.cancel()
