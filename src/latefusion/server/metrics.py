"""Counts, times and states of a server for Prometheus."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0)


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # a time series more for each label, which nobody reads
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "latefusion_requests",
            "Answered requests.",
            ("route", "status"),
            registry=self._registry,
        )
        self._seconds = self._histogram(
            "latefusion_request_seconds", "From a request's head to the answer's end."
        )
        self._work = self._histogram("latefusion_photo_seconds", "A photo in a worker.")

    def add_request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def add_photo(self, route: str, seconds: float) -> None:
        """Count a photo that is done."""
        self._work.labels(route).observe(seconds)

    def add_gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add a state that is read anew for each text."""
        Gauge(name, meaning, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format, of MEDIA_TYPE."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, meaning: str) -> Histogram:
        return Histogram(name, meaning, ("route",), registry=self._registry, buckets=BUCKETS)
