"""An S3-compatible server, moto's, that fails now and then: python s3_server.py PORT EVERY

Of the reads of objects every EVERYth fails, in turn as busy, as broken inside, and cut off in the
middle; of the writes every EVERYth as busy. 0 never fails. GET /_failures says how many did.
"""

import itertools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

Environ = dict[str, Any]
Respond = Callable[..., Any]
KINDS = ("busy", "broken", "cut off")
BUSY = ("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>")
BROKEN = ("500 Internal Server Error", b"<Error><Code>InternalError</Code></Error>")


class Flaky:
    """A WSGI application that answers wrongly at times."""

    def __init__(self, app: Any, every: int) -> None:
        self.app = app
        self.every = every
        self.counts = {"GET": itertools.count(1), "PUT": itertools.count(1)}
        self.failures = dict.fromkeys(KINDS, 0)
        self.kinds = itertools.cycle(KINDS)
        self.lock = threading.Lock()

    def __call__(self, environ: Environ, respond: Respond) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/_failures":
            respond("200 OK", [("Content-Type", "text/plain")])
            return [repr(self.failures).encode()]
        kind = self.fault(environ)
        if kind in ("busy", "broken"):
            status, body = BUSY if kind == "busy" else BROKEN
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            respond(status, [("Content-Type", "application/xml")])
            return [body]
        found = self.app(environ, respond)
        return half(found) if kind == "cut off" else found

    def fault(self, environ: Environ) -> str | None:
        method, parts = environ["REQUEST_METHOD"], environ["PATH_INFO"].strip("/").split("/", 1)
        if not self.every or method not in self.counts or len(parts) < 2:
            return None
        with self.lock:
            if next(self.counts[method]) % self.every:
                return None
            kind = next(self.kinds) if method == "GET" else "busy"
            self.failures[kind] += 1
        return kind


def half(body: Iterable[bytes]) -> Iterator[bytes]:
    whole = b"".join(body)
    yield whole[: len(whole) // 2]
    raise ConnectionResetError("cut off, as wished")


def main() -> None:
    port, every = map(int, sys.argv[1:])
    app = Flaky(DomainDispatcherApplication(create_backend_app), every)
    run_simple("127.0.0.1", port, app, threaded=True)


if __name__ == "__main__":
    main()
