"""How bodies arrive: in time, in turns, and in line while they fill the memory set aside."""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import TypeVar

from starlette.requests import Request

from latefusion.server.limits import BODY_SECONDS, overfull, too_large
from latefusion.server.refusals import RefusedError

T = TypeVar("T")

ARRIVAL = "latefusion.arrival"  # key of the Arrival in a request's scope
EASY_BODIES = 3  # what may be held before large bodies stand in line, as a multiple of Limits.body
LARGE = 1_000_000  # bytes of a body from which it stands in line
LINE_SECONDS = 30  # that a body waits in all, beside BODY_SECONDS
LEAD_SECONDS = 4  # that a body is among the first
SILENCE = 0.01  # seconds without a byte after which a client lets others go first
LOOK_SECONDS = 0.05  # between two looks at the line
SLICE = 1 << 16  # bytes of a body that are handled at a time, a few milliseconds
SHARE = 2e-4  # seconds for slices of bodies between two looks at other events
LONGEST_REST = 0.1  # seconds, however long a slice took, such as in a process that was paused
DIGITS = 15  # of a plausible Content-Length; int() raises ValueError for very long ones


@dataclass(eq=False)
class Arrival:
    """The body of one request."""

    arrived: int = 0  # bytes
    waited: float = 0.0  # seconds in line
    whole: bool = False  # True if nothing more comes
    asked: float | None = None  # when its client was asked for more, until that comes
    leads_since: float | None = None


class Line:
    """The bodies that arrive, in the order of their first byte.

    While all together fill the memory, only the first of those of more than LARGE bytes go on to
    arrive, as many as there are workers. A client that sends nothing for SILENCE, and a body
    that has been among the first for LEAD_SECONDS, let others go first. All are bounded by
    `Limits.held`.
    """

    def __init__(self, body: int, workers: int) -> None:
        self._body = body  # the limit of one; a batch counts as one photo of the largest size
        self._easy: float = EASY_BODIES * body
        self._workers = workers
        self._held = 0
        self._standing: dict[Arrival, None] = {}

    async def enter(self, body: Arrival, size: int) -> None:
        """Count `size` bytes of a body, and wait until they may be read.

        Raises RefusedError after LINE_SECONDS in all.
        """
        body.asked = None
        self._standing.setdefault(body)
        self._held += self._share(body.arrived + size) - self._share(body.arrived)
        body.arrived += size
        while not self._may_go_on(body):
            if body.waited > LINE_SECONDS:
                raise overfull()
            begun = perf_counter()
            await asyncio.sleep(LOOK_SECONDS)
            body.waited += perf_counter() - begun

    def leave(self, body: Arrival) -> None:
        """Forget a body: its request is answered."""
        self._standing.pop(body, None)
        self._held -= self._share(body.arrived)
        body.arrived = 0

    def let_all_pass(self) -> None:
        """Let nobody wait from now on."""
        self._easy = math.inf

    def _share(self, arrived: int) -> int:
        return min(arrived, self._body)

    def _may_go_on(self, body: Arrival) -> bool:
        if body.whole or body.arrived <= LARGE or self._held <= self._easy:
            return True
        for each in self._first():
            self._lead(each)
        return body in self._first()

    def _first(self) -> list[Arrival]:
        """Those whose next bytes are there, or that are whole."""
        latest = perf_counter() - SILENCE
        ready = (each for each in self._standing if each.asked is None or each.asked > latest)
        return list(islice(ready, self._workers))

    def _lead(self, body: Arrival) -> None:
        """Move a body that has led for long to the end; one that is whole needs no place."""
        now = perf_counter()
        if body.leads_since is None:
            body.leads_since = now
        elif now - body.leads_since > LEAD_SECONDS:
            body.leads_since = None
            del self._standing[body]
            if not body.whole:
                self._standing[body] = None


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


async def stream_of(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """Read the body in slices, each in its turn. Raises RefusedError for more than `most` bytes.

    The Content-Length is checked before anything is read, and the bytes are counted as they arrive.
    """
    declared = request.headers.get("content-length", "0")
    if len(declared) > DIGITS or not declared.isdecimal() or int(declared) > most:
        raise too_large(most)
    service, body, size = request.app.state.service, request.scope[ARRIVAL], 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise too_large(most)
        body.whole = not piece or size == int(declared)
        await service.line.enter(body, len(piece))
        for start in range(0, len(piece), SLICE):
            await service.turns.next()
            begun = perf_counter()
            yield piece[start : start + SLICE]
            service.turns.add(perf_counter() - begun)
        body.asked = perf_counter()
    body.asked = None


async def soon(request: Request, reading: Awaitable[T]) -> T:
    """Wait for `reading`, which reads the body, at most BODY_SECONDS beside those in line.

    Raises RefusedError.
    """
    body, start = request.scope[ARRIVAL], perf_counter()
    task = asyncio.ensure_future(reading)
    try:
        while not task.done():
            left = BODY_SECONDS + body.waited - (perf_counter() - start)
            if left <= 0:
                message = f"the body did not arrive within {BODY_SECONDS} s"
                raise RefusedError(408, message, {"Connection": "close"})
            await asyncio.wait({task}, timeout=left)
        return task.result()
    finally:
        task.cancel()
