import asyncio
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from latefusion.server import bodies, watch
from latefusion.server.bodies import (
    ARRIVAL,
    EASY_BODIES,
    LARGE,
    SILENCE,
    Arrival,
    Line,
    soon,
    stream_of,
)
from latefusion.server.limits import Limits
from latefusion.server.refusals import RefusedError
from latefusion.server.service import Service
from latefusion.server.watch import HOLD, Watch

BODY = 2 * LARGE  # the largest


async def passes(line: Line, body: Arrival, size: int = 1) -> bool:
    """Tell if bytes of a body may be read at once."""
    waiting = asyncio.create_task(line.enter(body, size))
    await asyncio.sleep(0)
    done = waiting.done() and not waiting.exception()
    waiting.cancel()
    return done


async def crowded(workers: int = 1, body: int = BODY) -> Line:
    """A line with so much in memory that others wait; it belongs to a body in work."""
    line = Line(body, workers)
    for _ in range(EASY_BODIES):
        full = Arrival(whole=True)
        assert await passes(line, full, body)
        del line._standing[full]  # they have led for long, and need no place
    return line


@pytest.mark.parametrize("workers", [1, 2])
def test_as_many_bodies_arrive_as_there_are_workers(workers: int) -> None:
    async def run() -> None:
        line = await crowded(workers)
        first, second, third = Arrival(), Arrival(), Arrival()
        assert await passes(line, first, LARGE + 1)
        assert await passes(line, second, LARGE + 1) == (workers == 2)
        assert not await passes(line, third, LARGE + 1)
        assert await passes(line, first)
        line.leave(first)
        assert await passes(line, second)
        assert await passes(line, third) == (workers == 2)

    asyncio.run(run())


def test_small_bodies_and_whole_ones_wait_for_nobody() -> None:
    async def run() -> None:
        line = await crowded()
        assert await passes(line, Arrival(), LARGE + 1)
        assert await passes(line, Arrival(), LARGE)
        assert await passes(line, Arrival(whole=True), LARGE + 1)
        assert not await passes(line, Arrival(), LARGE + 1)

    asyncio.run(run())


def test_bodies_stand_in_line_only_while_others_fill_the_memory() -> None:
    async def run() -> None:
        line = Line(BODY, 1)
        full = [Arrival() for _ in range(EASY_BODIES)]
        for body in full:
            assert await passes(line, body, BODY)
        late = Arrival()
        assert not await passes(line, late, LARGE + 1)
        line.leave(full[-1])
        assert await passes(line, late)
        for body in (*full, late):
            line.leave(body)
        assert (line._held, line._standing) == (0, {})

    asyncio.run(run())


def test_a_batch_counts_as_one_photo() -> None:
    async def run() -> None:
        line = Line(BODY, 1)
        batch = Arrival()
        for _ in range(5):
            assert await passes(line, batch, BODY)
        assert await passes(line, Arrival(), BODY)
        line.leave(batch)
        assert line._held == BODY

    asyncio.run(run())


def test_a_client_that_sends_nothing_lets_others_go_first() -> None:
    async def run() -> None:
        line = await crowded()
        silent, ready = Arrival(), Arrival()
        assert await passes(line, silent, LARGE + 1)
        silent.asked = perf_counter()
        assert not await passes(line, ready, LARGE + 1)
        await asyncio.sleep(2 * SILENCE)
        assert await passes(line, ready)

    asyncio.run(run())


def test_who_leads_for_long_goes_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LEAD_SECONDS", 0.2)

    async def run() -> None:
        line = await crowded()
        slow, second = Arrival(), Arrival()
        await line.enter(slow, LARGE + 1)
        await line.enter(second, LARGE + 1)  # in its turn, though the first has not left
        assert not await passes(line, slow)
        line.leave(second)
        assert await passes(line, slow)

    asyncio.run(run())


def test_a_body_in_work_for_long_needs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LEAD_SECONDS", 0.2)

    async def run() -> None:
        line = await crowded()
        in_work, second = Arrival(whole=True), Arrival()
        await line.enter(in_work, LARGE + 1)
        await line.enter(second, LARGE + 1)
        assert list(line._standing) == [second]

    asyncio.run(run())


def test_who_waited_too_long_is_told_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LINE_SECONDS", 0.2)

    async def run() -> None:
        line = await crowded()
        first, second = Arrival(), Arrival()
        await line.enter(first, LARGE + 1)
        with pytest.raises(RefusedError, match="retry in 5 s"):
            await line.enter(second, LARGE + 1)
        assert first.waited == 0.0
        assert 0.2 < second.waited < 5

    asyncio.run(run())


def test_nobody_waits_when_the_server_shuts_down() -> None:
    async def run() -> None:
        line = await crowded()
        line.let_all_pass()
        for _ in range(3):
            assert await passes(line, Arrival(), LARGE + 1)

    asyncio.run(run())


def test_waiting_in_line_is_no_fault_of_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    ended = []

    async def run(seconds_in_line: float) -> str:
        body = Arrival()

        async def read() -> str:
            body.waited = seconds_in_line
            try:
                await asyncio.sleep(0.5)
            finally:
                ended.append(seconds_in_line)
            return "read"

        request: Any = SimpleNamespace(scope={ARRIVAL: body})
        try:
            return await soon(request, read())
        finally:
            await asyncio.sleep(0)
            assert ended[-1] == seconds_in_line

    assert asyncio.run(run(5)) == "read"
    with pytest.raises(RefusedError, match="did not arrive"):
        asyncio.run(run(0))


class Sender:
    """A client that sends a body in pieces of LARGE bytes, as fast as the server takes them."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces

    async def receive(self) -> Message:
        await asyncio.sleep(0)
        self.left -= 1
        return {"type": "http.request", "body": bytes(LARGE), "more_body": self.left > 0}


def test_a_large_body_waits_until_those_before_it_are_answered_though_nobody_reads_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tidied = []
    monkeypatch.setattr(watch, "TIDY_SECONDS", 0.0)
    monkeypatch.setattr(watch, "return_free_blocks", lambda: tidied.append(True))

    async def run() -> None:
        """The app answers only when it is told to."""
        service = Service(cast("Any", None), cast("Any", SimpleNamespace(workers=1)), Limits(BODY))
        answers = [asyncio.Event() for _ in range(EASY_BODIES + 2)]
        reading = asyncio.Event()  # the answers; nobody does yet

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async for _ in stream_of(Request(scope, receive), 4 * BODY):
                pass
            await answers[scope["number"]].wait()
            scope[HOLD](BODY)
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def send(_: Message) -> None:
            await reading.wait()

        asked = Watch(app, service)
        state = SimpleNamespace(state=SimpleNamespace(service=service))

        def start(number: int, pieces: int) -> Sender:
            sender = Sender(pieces)
            scope = {"type": "http", "path": "/", "method": "POST", "headers": [], "app": state}
            called = asked(scope | {"number": number}, cast("Receive", sender.receive), send)
            working.append(asyncio.ensure_future(called))
            return sender

        working: list[asyncio.Future[None]] = []
        first = [start(number, 2) for number in range(EASY_BODIES)]
        await asyncio.sleep(0.2)
        waiting = start(EASY_BODIES, 8)
        small = start(EASY_BODIES + 1, 1)
        await asyncio.sleep(0.2)
        assert [sender.left for sender in (*first, small)] == [0] * (EASY_BODIES + 1)
        assert 0 < waiting.left < 8
        for answer in answers[:EASY_BODIES]:
            answer.set()
        await asyncio.sleep(0.5)
        assert waiting.left == 0
        for answer in answers:
            answer.set()
        reading.set()
        await asyncio.gather(*working)
        await asyncio.sleep(0.1)
        assert (service.held, service.line._held, service.line._standing) == (0, 0, {})
        assert tidied

    asyncio.run(run())
