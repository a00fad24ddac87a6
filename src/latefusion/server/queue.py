"""The bounded queue: photos wait here for a free worker, and are dropped when nobody waits."""

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

from latefusion.server.refusals import GoneError, RefusedError

T = TypeVar("T")
Check = Callable[[], None]  # raises GoneError where nobody waits any more

GUESS = 0.5  # seconds a photo, before the first one is done
MEMORY = 0.9  # of the mean seconds a photo, in favour of the older ones


class Job(Generic[T]):
    """Work for one photo, which asks between its steps whether it is still wanted."""

    def __init__(self, work: Callable[[Check], T]) -> None:
        self._work: Callable[[Check], T] | None = work
        self._abandoned = threading.Event()

    def __call__(self) -> T:
        work = self._work
        self.check()
        assert work
        return work(self.check)

    def check(self) -> None:
        """Raise GoneError where the job was abandoned."""
        if self._abandoned.is_set():
            raise GoneError

    def abandon(self) -> None:
        """Let go of the photo at once, and of the work at its next step."""
        self._abandoned.set()
        self._work = None


class Queue:
    """`workers` photos in work side by side, and `room` more that wait. Of one event loop only."""

    def __init__(self, workers: int, room: int) -> None:
        self.workers = workers
        self.seconds = GUESS  # a photo takes in a worker
        self._places = workers + room
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="latefusion")
        self._taken: set[Future[Any]] = set()
        self._left = asyncio.Event()

    @property
    def in_work(self) -> int:
        """Photos that a worker has."""
        return sum(future.running() for future in self._taken)

    @property
    def waiting(self) -> int:
        """Photos that no worker has yet."""
        return len(self._taken) - self.in_work

    @property
    def full(self) -> bool:
        """Whether no other photo is taken."""
        return len(self._taken) >= self._places

    def refuse_if_full(self) -> None:
        """Raise the RefusedError that says when to come again."""
        if self.full:
            wait = math.ceil(len(self._taken) * self.seconds / self.workers)
            message = f"{len(self._taken)} photos are waiting; come again in {wait} s"
            raise RefusedError(429, message, {"Retry-After": str(wait)})

    async def room(self) -> None:
        """Wait until another photo can be taken."""
        while self.full:
            self._left.clear()
            await self._left.wait()

    async def run(self, work: Callable[[Check], T], seconds: float) -> T:
        """What `work` returns, done by a worker within that many seconds.

        It is abandoned where the caller is cancelled. Raises RefusedError, and what the work does.
        """
        self.refuse_if_full()
        job = Job(work)
        future = self._pool.submit(job)
        self._taken.add(future)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda done: _soon(loop, self._leave, done))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except asyncio.TimeoutError:
            message = f"it took more than the {seconds:g} s that a photo may; make it smaller"
            raise RefusedError(504, message) from None
        finally:
            job.abandon()

    def add_seconds(self, seconds: float) -> None:
        """Learn from a photo that is done how long one takes."""
        self.seconds = MEMORY * self.seconds + (1 - MEMORY) * seconds

    def close(self) -> None:
        """Start no other photo."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, future: Future[Any]) -> None:
        self._taken.discard(future)
        self._left.set()


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: object) -> None:
    with suppress(RuntimeError):  # the loop has ended, and with it all that could want to know
        loop.call_soon_threadsafe(call, *args)
