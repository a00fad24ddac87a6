"""The server process: its socket, uvicorn with timeouts, and a shutdown that drains requests."""

import asyncio
import socket
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from latefusion.errors import LatefusionError, reason
from latefusion.server.limits import BODY_SECONDS, HEAD_SECONDS, STALLED_SECONDS
from latefusion.server.logs import LOGGING, say
from latefusion.server.service import Service

CONNECTIONS = 1000  # above it uvicorn answers 503
BACKLOG = 1024
KEEP_ALIVE = 5  # seconds that an idle connection stays open
LAST_WORDS = 10  # seconds to send the last responses at shutdown


class Connection(H11Protocol):
    """A connection that is aborted if its client does not send its request or read the response."""

    _patience: asyncio.TimerHandle | None = None  # for the client to send
    _stalled: asyncio.TimerHandle | None = None  # for the client to read

    def connection_made(self, transport: Any) -> None:
        """Start the timer of HEAD_SECONDS for the first request."""
        super().connection_made(transport)
        self._wait(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._stop_waiting()
        self._stop_stalling()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Cancel the timer once a request has begun; from then on the routes limit its time."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Start the timer of HEAD_SECONDS for the next request, or the rest of a refused body."""
        self._wait(HEAD_SECONDS)
        super().on_response_complete()
        if self.cycle is not None and not self.cycle.response_complete:  # a pipelined request
            self._stop_waiting()

    def pause_writing(self) -> None:
        """Start the timer of STALLED_SECONDS: the client does not read."""
        super().pause_writing()
        self._stop_stalling()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancel the timer: the client reads again."""
        super().resume_writing()
        self._stop_stalling()

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._patience = self.loop.call_later(seconds, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _stop_stalling(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class Server(uvicorn.Server):
    """uvicorn's server with a drain: after a signal it finishes open requests, then exits.

    New photos get 503 meanwhile.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._deadline = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the drain at the first signal; exit immediately at the second."""
        self.force_exit = self.should_exit = self._service.draining
        self._service.draining = True

    async def on_tick(self, counter: int) -> bool:
        """End the drain when no request is open or its time is over; called ten times a second."""
        now = asyncio.get_running_loop().time()
        if self._service.draining and not self._deadline:
            self._deadline = now + BODY_SECONDS + self._service.limits.seconds
            say("draining", open=self._service.open)
        if self._service.draining and (not self._service.open or now > self._deadline):
            self.should_exit = True
        return await super().on_tick(counter)


def open_socket(host: str, port: int) -> socket.socket:
    """Open a listening socket; port 0 takes any free one. Raises LatefusionError."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        why = reason(error).partition(" (while attempting")[0]  # which repeats the address
        raise LatefusionError(
            f"cannot listen on {host}:{port} ({why}); choose another --port or --host"
        ) from None


def serve(app: FastAPI, service: Service, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or Ctrl-C, then finish the open ones.

    Raises LatefusionError if the network does not load.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=LOGGING,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=LAST_WORDS,
    )
    Server(config, service).run(sockets=[listener])
    if service.failure:
        raise service.failure
    say("stopped")
