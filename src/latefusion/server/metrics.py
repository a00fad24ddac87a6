"""Counters, histograms and gauges of a server for Prometheus."""

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
        disable_created_metrics()  # saves one time series per label, which no dashboard reads
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "latefusion_requests",
            "Requests answered.",
            ("route", "status"),
            registry=self._registry,
        )
        self._seconds = self._histogram(
            "latefusion_request_seconds",
            "Seconds from the head of a request to the end of its response.",
        )
        self._work = self._histogram(
            "latefusion_photo_seconds", "Seconds of work on a photo, without waiting."
        )

    def add_request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def add_photo(self, route: str, seconds: float) -> None:
        """Record the seconds of work on a photo."""
        self._work.labels(route).observe(seconds)

    def add_gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add a gauge; `value` is called each time the metrics are read."""
        Gauge(name, meaning, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format, whose media type is MEDIA_TYPE."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, meaning: str) -> Histogram:
        return Histogram(name, meaning, ("route",), registry=self._registry, buckets=BUCKETS)
