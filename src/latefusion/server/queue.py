"""A bounded queue in front of the worker threads; work is abandoned when its client is gone."""

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from latefusion.server.refusals import GoneError, RefusedError

T = TypeVar("T")
Check = Callable[[], None]  # raises GoneError if the work was abandoned

GUESS = 0.5  # assumed seconds per photo until the first one is done
MEMORY = 0.9  # weight of older photos in the moving average of seconds per photo


class Ticket(Generic[T]):
    """The work on one photo, which calls `check` between its steps."""

    def __init__(self, work: Callable[[Check], T]) -> None:
        self._work: Callable[[Check], T] | None = work
        self._abandoned = threading.Event()

    def __call__(self) -> T:
        work = self._work
        self.check()
        assert work
        return work(self.check)

    def check(self) -> None:
        """Raise GoneError if the ticket was abandoned."""
        if self._abandoned.is_set():
            raise GoneError

    def abandon(self) -> None:
        """Release the photo now, and end the work at its next check."""
        self._abandoned.set()
        self._work = None


class Queue:
    """Run up to `workers` photos in parallel, with up to `room` more waiting.

    Not thread-safe: use it from one event loop.
    """

    def __init__(self, workers: int, room: int) -> None:
        self.workers = workers
        self.seconds = GUESS  # moving average per photo, without waiting
        self._places = workers + room
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="latefusion")
        self._taken: set[Future[Any]] = set()
        self._left = asyncio.Event()

    @property
    def in_work(self) -> int:
        """Number of photos that workers are working on."""
        return sum(future.running() for future in self._taken)

    @property
    def waiting(self) -> int:
        """Number of photos that wait for a worker."""
        return len(self._taken) - self.in_work

    @property
    def full(self) -> bool:
        """True if no other photo is accepted."""
        return len(self._taken) >= self._places

    def refuse_if_full(self) -> None:
        """Raise RefusedError (429, with Retry-After) if the queue is full."""
        if self.full:
            wait = math.ceil(len(self._taken) * self.seconds / self.workers)
            message = f"the queue is full with {len(self._taken)} photos; retry in {wait} s"
            raise RefusedError(429, message, {"Retry-After": str(wait)})

    async def room(self) -> None:
        """Wait until the queue is not full."""
        while self.full:
            self._left.clear()
            await self._left.wait()

    async def run(self, work: Callable[[Check], T], seconds: float) -> T:
        """Run `work` in a worker and return its result, within `seconds` including the wait.

        The work is abandoned if the caller is cancelled. Raises RefusedError if the queue is full
        or the time is over, and any error of the work.
        """
        self.refuse_if_full()
        ticket = Ticket(work)
        future = self._pool.submit(ticket)
        self._taken.add(future)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda done: _soon(loop, self._leave, done))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except asyncio.TimeoutError:
            message = f"the photo took longer than the limit of {seconds:g} s; send a smaller one"
            raise RefusedError(504, message) from None
        finally:
            ticket.abandon()

    def add_seconds(self, seconds: float) -> None:
        """Update the moving average with the seconds of a photo that is done."""
        self.seconds = MEMORY * self.seconds + (1 - MEMORY) * seconds

    def close(self) -> None:
        """Start no further photo."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, future: Future[Any]) -> None:
        self._taken.discard(future)
        self._left.set()


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Wait for `work`; cancel it and raise GoneError if the client disconnects first."""
    working = asyncio.ensure_future(work)
    listening = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise GoneError
        return working.result()
    finally:
        working.cancel()
        listening.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: object) -> None:
    with suppress(RuntimeError):  # the loop is closed, so nothing waits for the call
        loop.call_soon_threadsafe(call, *args)
