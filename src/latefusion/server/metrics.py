"""Counts and times for Prometheus, in its text format 0.0.4."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0)


class Histogram:
    """Seconds by label, in BUCKETS."""

    def __init__(self, name: str, label: str, what: str) -> None:
        self.name, self.label, self.what = name, label, what
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = defaultdict(float)

    def add(self, label: str, seconds: float) -> None:
        """Count one."""
        counts = self._counts.setdefault(label, [0] * (len(BUCKETS) + 1))
        counts[bisect_left(BUCKETS, seconds)] += 1
        self._sums[label] += seconds

    def lines(self) -> Iterator[str]:
        """As Prometheus reads it."""
        yield from _head(self.name, "histogram", self.what)
        for label, counts in self._counts.items():
            name, so_far = f'{self.label}="{label}"', 0
            for edge, count in zip((*BUCKETS, float("inf")), counts, strict=True):
                so_far += count
                shown = "+Inf" if edge == float("inf") else f"{edge:g}"
                yield f'{self.name}_bucket{{{name},le="{shown}"}} {so_far}'
            yield f"{self.name}_sum{{{name}}} {self._sums[label]:.6f}"
            yield f"{self.name}_count{{{name}}} {so_far}"


class Metrics:
    """What a server has done since it began."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds = Histogram(
            "latefusion_request_seconds", "route", "From a request's head to the answer's end."
        )
        self._work = Histogram("latefusion_photo_seconds", "route", "A photo in a worker.")

    def add_request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests[route, status] += 1
        self._seconds.add(route, seconds)

    def add_photo(self, route: str, seconds: float) -> None:
        """Count a photo that is done."""
        self._work.add(route, seconds)

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """All of it, with what holds at the moment: name -> meaning and value."""
        return "\n".join((*self._lines(gauges), ""))

    def _lines(self, gauges: Mapping[str, tuple[str, float]]) -> Iterator[str]:
        name = "latefusion_requests_total"
        yield from _head(name, "counter", "Answered requests.")
        for (route, status), count in self._requests.items():
            yield f'{name}{{route="{route}",status="{status}"}} {count}'
        yield from self._seconds.lines()
        yield from self._work.lines()
        for name, (what, value) in gauges.items():
            yield from _head(name, "gauge", what)
            yield f"{name} {value:g}"


def _head(name: str, kind: str, what: str) -> Iterable[str]:
    return f"# HELP {name} {what}", f"# TYPE {name} {kind}"
