"""What all requests of a server share: the network, the queue, the limits, the counts."""

import asyncio
import hmac
from dataclasses import dataclass, field

from latefusion.errors import LatefusionError
from latefusion.inference.predictor import Predictor
from latefusion.server.limits import FETCHES, Limits
from latefusion.server.metrics import Metrics
from latefusion.server.queue import Queue
from latefusion.server.refusals import RefusedError


@dataclass
class Service:
    """One for a server; what changes is changed in its event loop only."""

    predictor: Predictor
    queue: Queue
    limits: Limits = field(default_factory=Limits)
    key: str | None = None  # that clients have to show
    urls: bool = False  # whether photos are fetched from the web
    metrics: Metrics = field(default_factory=Metrics)
    fetches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FETCHES))
    loaded: bool = False
    draining: bool = False  # nothing else is taken
    open: int = 0  # requests that were taken and not answered yet
    held: int = 0  # bytes of their bodies and answers
    failure: LatefusionError | None = None  # why the network did not load

    def __post_init__(self) -> None:
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
        """Whether a photo that came now would be taken."""
        return self.loaded and not self.draining

    def refuse_if_overfull(self) -> None:
        """Raise the RefusedError that says when to come again."""
        if self.held > self.limits.held:
            message = "the bodies of other requests fill the memory; come again in 5 s"
            raise RefusedError(429, message, {"Retry-After": "5"})

    def is_key(self, given: str) -> bool:
        """Whether that is the key; the time it takes does not tell how much of it is right."""
        return self.key is not None and hmac.compare_digest(given.encode(), self.key.encode())
