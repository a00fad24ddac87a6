import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.types import Message, Receive, Scope, Send

from latefusion.server import limits
from latefusion.server.limits import BODY, LARGE, Limits, Line, soon
from latefusion.server.refusals import RefusedError
from latefusion.server.service import Service
from latefusion.server.watch import Watch

EASY = 100


def full() -> int:
    return EASY + 1


async def passes(line: Line, body: object, held: Callable[[], int] = full) -> bool:
    """Tell if a body may go on at once."""
    waiting = asyncio.create_task(line.wait(body, held))
    await asyncio.sleep(0)
    done = waiting.done()
    waiting.cancel()
    return done


def test_only_the_first_body_arrives_while_the_memory_is_filled() -> None:
    async def run() -> None:
        line = Line(EASY)
        assert await passes(line, "first")
        assert not await passes(line, "second")
        assert not await passes(line, "third")
        assert await passes(line, "first")
        line.leave("first")
        assert not await passes(line, "third")
        assert await passes(line, "second")

    asyncio.run(run())


def test_all_arrive_side_by_side_while_there_is_room() -> None:
    async def run() -> None:
        line = Line(EASY)
        for body in range(3):
            assert await passes(line, body, lambda: EASY)

    asyncio.run(run())


def test_who_left_the_line_without_having_stood_in_it_is_no_matter() -> None:
    Line(EASY).leave("nobody")


def test_who_waited_too_long_is_told_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINE_SECONDS", 0.2)

    async def run() -> None:
        line = Line(EASY)
        await line.wait("first", full)
        with pytest.raises(RefusedError, match="retry in 5 s"):
            await line.wait("second", full)
        assert line.waited("first") == 0.0
        assert 0.2 < line.waited("second") < 5

    asyncio.run(run())


def test_who_leads_for_long_goes_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEAD_SECONDS", 0.2)

    async def run() -> None:
        line = Line(EASY)
        await line.wait("slow", full)
        await line.wait("second", full)  # in its turn, though the first has not left
        assert not await passes(line, "slow")
        line.leave("second")
        assert await passes(line, "slow")

    asyncio.run(run())


def test_one_alone_leads_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEAD_SECONDS", 0.0)

    async def run() -> None:
        line = Line(EASY)
        for _ in range(3):
            assert await passes(line, "batch")

    asyncio.run(run())


def test_waiting_in_line_is_no_fault_of_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.2)
    line = Line(EASY)
    app = SimpleNamespace(state=SimpleNamespace(service=SimpleNamespace(line=line)))

    async def read(body: str, seconds_in_line: float) -> str:
        line._waited[body] = seconds_in_line
        await asyncio.sleep(0.5)
        return body

    def run(body: str, seconds_in_line: float) -> str:
        request: Any = SimpleNamespace(app=app, scope={BODY: body})
        return asyncio.run(soon(request, read(body, seconds_in_line)))

    assert run("in line", 5) == "in line"
    with pytest.raises(RefusedError, match="did not arrive"):
        run("slow", 0)


class Sender:
    """A client that sends a body in pieces, as fast as the server takes them."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces

    async def receive(self) -> Message:
        self.left -= 1
        return {"type": "http.request", "body": bytes(LARGE), "more_body": self.left > 0}


def test_a_large_body_waits_for_those_before_it_and_a_small_one_for_nobody() -> None:
    """The app answers only when it is told to; until then what it has read is held."""

    async def run() -> None:
        queue: Any = SimpleNamespace(workers=1)
        predictor: Any = None
        service = Service(predictor, queue, Limits(body=4 * LARGE))
        answers: dict[str, asyncio.Event] = {}

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive())["more_body"]:
                pass
            await answers[scope["path"]].wait()

        watch = Watch(app, service)

        def start(name: str, pieces: int) -> tuple[Sender, "asyncio.Task[None]"]:
            answers[name], sender = asyncio.Event(), Sender(pieces)
            scope = {"type": "http", "path": name, "method": "POST"}
            called = watch(scope, cast("Receive", sender.receive), cast("Send", None))
            return sender, asyncio.ensure_future(called)

        first, answering = start("first", 4)
        second, working = start("second", 4)
        third, waiting = start("third", 4)
        small, at_once = start("small", 1)
        await asyncio.sleep(0.2)
        assert (first.left, second.left, small.left) == (0, 0, 0)
        assert third.left == 2
        answers["first"].set()
        await answering
        await asyncio.sleep(0.2)
        assert third.left == 0
        for answer in answers.values():
            answer.set()
        await asyncio.gather(working, waiting, at_once)
        assert service.held == service.crowd == 0

    asyncio.run(run())
