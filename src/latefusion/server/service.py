"""The state shared by all requests: the network, the queue, the limits, the counts."""

import asyncio
import hmac
from dataclasses import dataclass, field

from latefusion.errors import LatefusionError
from latefusion.images.reader_pool import ReaderPool
from latefusion.inference.predictor import Predictor
from latefusion.server.bodies import Line, Turns
from latefusion.server.limits import FETCHES, PARSES, Limits, overfull
from latefusion.server.metrics import Metrics
from latefusion.server.queue import Queue

NICENESS = 10  # of the processes that read photos, so that the event loop runs when it has to


@dataclass
class Service:
    """The state of a server; it is changed in the event loop only."""

    predictor: Predictor
    queue: Queue
    limits: Limits = field(default_factory=Limits)
    key: str | None = None  # required of clients
    urls: bool = False  # True to fetch photos from the web
    metrics: Metrics = field(default_factory=Metrics)
    fetches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FETCHES))
    parsing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARSES))
    turns: Turns = field(default_factory=Turns)
    loaded: bool = False
    draining: bool = False  # no new photos are accepted
    open: int = 0  # accepted requests without an answer yet
    held: int = 0  # bytes of their bodies and answers
    failure: LatefusionError | None = None  # the error of loading the network

    def __post_init__(self) -> None:
        self.line = Line(self.limits.body, self.queue.workers)
        self.readers = ReaderPool(self.queue.workers, self.limits.reading, NICENESS)
        add = self.metrics.add_gauge
        queue = self.queue
        add("latefusion_queue_waiting", "Photos that wait for a worker.", lambda: queue.waiting)
        add("latefusion_in_work", "Photos that a worker has.", lambda: queue.in_work)
        add("latefusion_workers", "Photos worked on side by side.", lambda: queue.workers)
        add("latefusion_open_requests", "Requests not answered yet.", lambda: self.open)
        add("latefusion_held_bytes", "Bytes of bodies and answers.", lambda: self.held)
        add("latefusion_ready", "1 if photos are taken, else 0.", lambda: self.ready)

    @property
    def ready(self) -> bool:
        """True if a new photo would be accepted."""
        return self.loaded and not self.draining

    def refuse_if_overfull(self) -> None:
        """Raise RefusedError with the time to retry if the memory for bodies is full."""
        if self.held > self.limits.held:
            raise overfull()

    def is_key(self, given: str) -> bool:
        """True for the right key, compared in constant time."""
        return self.key is not None and hmac.compare_digest(given.encode(), self.key.encode())
