"""Middleware around every request: 503 while draining, count of held bytes, metrics and log."""

import asyncio
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from latefusion.images.memory import return_free_blocks
from latefusion.server.bodies import ARRIVAL, LARGE, Arrival
from latefusion.server.callers import WORKING
from latefusion.server.limits import PIECE
from latefusion.server.logs import say
from latefusion.server.refusals import GONE, GoneError, refuse
from latefusion.server.service import Service

QUIET = ("/healthz", "/readyz", "/metrics")  # polled every few seconds; logged only on errors
OTHER = "other"  # one label for all unknown paths, so that clients cannot create metrics
# Keys in a request's scope that routes use: facts for the log, and `_Watched.hold`.
FACTS, HOLD = "latefusion.facts", "latefusion.hold"
TIDY_SECONDS = 0.5  # after a large body, until free memory is given back
NOSNIFF = (b"x-content-type-options", b"nosniff")


class Watch:
    """ASGI middleware; only Starlette's error middleware is outside it."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._tidy = _Tidy()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and log it when it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Watched(self._service, scope, receive, send)
        working = scope["path"].startswith(WORKING)
        self._service.open += working
        try:
            await self._answer(request, working)
        except (GoneError, ClientDisconnect):
            request.status = GONE
        finally:
            self._service.open -= working
            request.leave()
            if request.held > LARGE:
                self._tidy.soon()
            request.tell()

    async def _answer(self, request: "_Watched", working: bool) -> None:
        if working and self._service.draining:
            # Without Connection: close, which would cut off clients that are still sending.
            headers, path = {"Retry-After": "10"}, request.scope["path"]
            refusal = refuse(503, "the server is shutting down; retry in 10 s", headers, path)
            await refusal(request.scope, request.receive, request.send)
            return
        await self._app(request.scope, request.receive, request.send)


class _Tidy:
    """Gives free memory back after large bodies, which leave holes between what is still in use."""

    def __init__(self) -> None:
        self._waiting = False

    def soon(self) -> None:
        """Do it in TIDY_SECONDS, when the last references to the body are gone; once for many."""
        if not self._waiting:
            self._waiting = True
            asyncio.get_running_loop().call_later(TIDY_SECONDS, self._start)

    def _start(self) -> None:
        self._waiting = False
        asyncio.get_running_loop().run_in_executor(None, return_free_blocks)


class _Watched:
    """One request, with its bytes counted and its response sent in pieces of PIECE bytes.

    Pieces keep the send buffer small, and STALLED_SECONDS applies to each of them.
    """

    def __init__(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.body = scope, Arrival()
        scope[ARRIVAL], scope[HOLD] = self.body, self.hold
        self.held = self.received = self.sent = 0
        self.status = 500
        self._service, self._receive, self._send = service, receive, send
        self._start = perf_counter()

    async def receive(self) -> Message:
        message = await self._receive()
        size = len(message.get("body", b""))
        self.received += size
        if size:
            self.hold(size)
            self._service.refuse_if_overfull()
        return message

    def hold(self, size: int) -> None:
        """Count bytes that this request holds in memory until it is answered."""
        self.held += size
        self._service.held += size

    def leave(self) -> None:
        """Take what this request holds off the counts of all."""
        self._service.held -= self.held
        self._service.line.leave(self.body)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._service.line.leave(self.body)  # its client may read for long
            message = {**message, "headers": [*message["headers"], NOSNIFF]}
        body = memoryview(message.get("body", b""))
        self.sent += len(body)
        while len(body) > PIECE:
            await self._send({**message, "body": bytes(body[:PIECE]), "more_body": True})
            body = body[PIECE:]
        await self._send({**message, "body": bytes(body)} if "body" in message else message)

    def tell(self) -> None:
        route = getattr(self.scope.get("route"), "path", OTHER)
        seconds = perf_counter() - self._start
        self._service.metrics.add_request(route, self.status, seconds)
        if route in QUIET and self.status < 400:
            return
        say(
            "request",
            method=self.scope["method"],
            route=route,
            status=self.status,
            seconds=round(seconds, 4),
            bytes_in=self.received,
            bytes_out=self.sent,
            **self.scope.get(FACTS, {}),
        )
