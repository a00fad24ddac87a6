"""The process: a socket, uvicorn, patience that ends, and a shutdown that loses nothing."""

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

CONNECTIONS = 1000  # beyond them the answer is 503
BACKLOG = 1024
KEEP_ALIVE = 5  # seconds that an idle connection stays open
LAST_WORDS = 10  # seconds for answers to go out at the end


class Connection(H11Protocol):
    """A connection that is cut where its client neither asks, nor takes what it asked for."""

    _patience: asyncio.TimerHandle | None = None  # with what the client has yet to send
    _stalled: asyncio.TimerHandle | None = None  # with what it has yet to take

    def connection_made(self, transport: Any) -> None:
        """Give a request HEAD_SECONDS to arrive."""
        super().connection_made(transport)
        self._wait(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._stop_waiting()
        self._stop_stalling()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A request that has begun has the time that the routes give it."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Give the rest of the answer, or of a refused body, HEAD_SECONDS to go through."""
        self._wait(HEAD_SECONDS)
        super().on_response_complete()
        if self.cycle is not None and not self.cycle.response_complete:  # one that came behind it
            self._stop_waiting()

    def pause_writing(self) -> None:
        """The client takes nothing."""
        super().pause_writing()
        self._stop_stalling()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It does."""
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
    """uvicorn's, but at a signal it goes on answering, 503 to what is new, until all is done."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._deadline = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish what was taken; at a second signal, end at once."""
        self.force_exit = self.should_exit = self._service.draining
        self._service.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        now = asyncio.get_running_loop().time()
        if self._service.draining and not self._deadline:
            self._deadline = now + BODY_SECONDS + self._service.limits.seconds
            say("draining", open=self._service.open)
        if self._service.draining and (not self._service.open or now > self._deadline):
            self.should_exit = True
        return await super().on_tick(counter)


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises LatefusionError."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        raise LatefusionError(
            f"{host}:{port} is not to be had ({reason(error)}); choose another --port or --host"
        ) from None


def serve(app: FastAPI, service: Service, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or Ctrl-C, and then finish what was taken.

    Raises what kept the network from loading.
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
