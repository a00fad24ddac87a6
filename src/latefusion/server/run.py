"""The server process: its socket, uvicorn with timeouts, and a shutdown that drains requests."""

import asyncio
import gc
import json
import socket
import sys
from functools import partial
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from latefusion.errors import LatefusionError, reason
from latefusion.images.memory import return_large_blocks
from latefusion.server.framing import StrictConnection
from latefusion.server.limits import BODY_SECONDS, HEAD_SECONDS, STALLED_SECONDS
from latefusion.server.logs import LOGGING, say, warn
from latefusion.server.refusals import refuse
from latefusion.server.service import Service

if sys.platform != "win32":
    import resource

CONNECTIONS = 1000  # at most, and fewer where the process may open few files
SPARE = 64  # connections above it that get 503
OWN_FILES = 64  # that the process itself has open, with those of downloads
FILES = 2048  # the limit of open files is raised to this, where that is allowed
BACKLOG = 1024  # connections that wait to be accepted
ACCEPTS = 32  # connections accepted at a time, which are open before they can be counted
HEAD_BYTES = 64 * 1024  # of a request's head
KEEP_ALIVE = 5  # seconds that an idle connection stays open
LAST_WORDS = 10  # seconds to send the last responses at shutdown
GIL_SECONDS = 5e-4  # after which a thread lets the event loop go on; Python's default is 5e-3
CROWDED = "too many connections; retry in 5 s"
CROWDED_HEADERS = {"Retry-After": "5", "Connection": "close"}
CROWDED_BODY = json.dumps({"error": CROWDED})
CROWDED_ANSWER = "\r\n".join(
    (
        "HTTP/1.1 503 Service Unavailable",
        *(f"{name}: {value}" for name, value in CROWDED_HEADERS.items()),
        "Content-Type: application/json",
        f"Content-Length: {len(CROWDED_BODY)}",
        *("", CROWDED_BODY),
    )
).encode()


class State(ServerState):
    """uvicorn's state with the connections that have no open request, idle for longest first."""

    def __init__(self) -> None:
        super().__init__()
        self.idle: dict[Connection, None] = {}


class Connection(H11Protocol):
    """A connection that is aborted if its client does not send its request or read the response."""

    _patience: asyncio.TimerHandle | None = None  # for the client to send
    _stalled: asyncio.TimerHandle | None = None  # for the client to read

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # uvicorn would count when a request comes, which an idle connection never sends.
        self._most, self.limit_concurrency = config.limit_concurrency, None
        self._idle = server_state.idle if isinstance(server_state, State) else {}

    def connection_made(self, transport: Any) -> None:
        """Start the timer of HEAD_SECONDS for the first request."""
        super().connection_made(transport)
        self._wait(HEAD_SECONDS)
        if self._most is not None and len(self.connections) > self._most:
            self._make_room(self._most)
        if not transport.is_closing():
            self._idle[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._idle.pop(self, None)
        self._stop_waiting()
        self._stop_stalling()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Cancel the timer once a request has begun; from then on the routes limit its time."""
        if not isinstance(self.conn, StrictConnection):  # made late: an idle connection needs none
            self.conn = StrictConnection(h11.SERVER, HEAD_BYTES)
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._idle.pop(self, None)
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Start the timer of HEAD_SECONDS for the next request, or the rest of a refused body."""
        self._idle[self] = None
        self._wait(HEAD_SECONDS)
        super().on_response_complete()
        if self.cycle is not None and not self.cycle.response_complete:  # a pipelined request
            self._idle.pop(self, None)
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

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP with 400; close at once if an answer has begun."""
        begun = self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE)
        if self.cycle is not None:
            self.cycle.disconnected = True
        if begun:
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _make_room(self, most: int) -> None:
        """Close the connection that is idle for longest; if none is, refuse this one's requests."""
        warn("too many connections", most=most)
        while self._idle:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            transport = oldest.transport  # with a last answer that is still on the way, perhaps
            if not transport.is_closing() and not transport.get_write_buffer_size():
                oldest._turn_away()
                return
        if len(self.connections) > most + SPARE:
            self._turn_away()
        else:
            self.app = partial(_crowded, self.app)

    def _turn_away(self) -> None:
        self.connections.discard(self)
        if not self.headers:  # of its first request
            self.transport.write(CROWDED_ANSWER)
        self.transport.close()

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


async def _crowded(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 503 to all but /healthz, which says that the process is alive."""
    if scope["path"] == "/healthz":
        await app(scope, receive, send)
    else:
        answer = refuse(503, CROWDED, CROWDED_HEADERS, scope["path"])
        await answer(scope, receive, send)


class Server(uvicorn.Server):
    """uvicorn's server with a drain: after a signal it finishes open requests, then exits.

    New photos get 503 meanwhile.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.server_state = State()
        self._service = service
        self._deadline = 0.0
        self._tidied = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; as many may wait as BACKLOG says, though only ACCEPTS are accepted at a time."""
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(BACKLOG)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the drain at the first signal; exit immediately at the second."""
        self.force_exit = self.should_exit = self._service.draining
        self._service.draining = True
        self._service.line.let_all_pass()

    async def on_tick(self, counter: int) -> bool:
        """End the drain when no request is open or its time is over; called ten times a second."""
        if self._service.loaded and not self._tidied:
            # Modules and the network stay; each look through them would take a tenth of a second.
            gc.collect()
            gc.freeze()
            self._tidied = True
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


def connections_allowed() -> int:
    """How many connections the limit of open files has room for, raised first if it is low."""
    if sys.platform == "win32":
        return CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS
    if soft < FILES:
        soft = FILES if hard == resource.RLIM_INFINITY else max(soft, min(hard, FILES))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(8, min(CONNECTIONS, soft * 3 // 4 - OWN_FILES))  # a quarter for those on the way


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
        limit_concurrency=connections_allowed(),
        backlog=ACCEPTS,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=LAST_WORDS,
    )
    sys.setswitchinterval(GIL_SECONDS)
    return_large_blocks()
    try:
        Server(config, service).run(sockets=[listener])
    finally:
        service.readers.close()
    if service.failure:
        raise service.failure
    say("stopped")
