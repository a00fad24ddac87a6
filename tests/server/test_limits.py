"""The limits of a server: bytes, pixels, seconds, places; each with an answer that says so."""

import asyncio
import io
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from latefusion.errors import ImageError, SizeError
from latefusion.images.reading import read_photo
from latefusion.server.app import create_app
from latefusion.server.limits import Limits
from latefusion.server.queue import Check, Queue
from latefusion.server.refusals import GoneError, RefusedError
from latefusion.server.service import Service
from tests.helpers.service import encoded, error_of, lopsided, service

SMALL = Limits(body=20_000, pixels=10_000, seconds=20, queue=2)


@pytest.fixture
def tight(toy_model: Path) -> Iterator[tuple[TestClient, Service]]:
    base = service(toy_model, limits=SMALL)
    with TestClient(create_app(base)) as client:
        yield client, base


def test_a_body_is_counted_whatever_it_says_of_itself(tight: tuple[TestClient, Service]) -> None:
    client, base = tight
    assert "0.02 MB" in error_of(client.post("/api/matte", content=bytes(20_001)), 413)
    pieces = iter([bytes(15_000), bytes(15_000)])  # without a Content-Length
    assert "0.02 MB" in error_of(client.post("/api/matte", content=pieces), 413)
    error_of(client.post("/api/matte", files={"image": bytes(20_001)}), 413)
    error_of(client.post("/v1.0/removebg", json={"image_file_b64": "a" * 20_001}), 413)
    text = error_of(client.post("/api/matte", headers={"content-length": "9" * 5000}), 413)
    assert "0.02 MB" in text
    assert "0.16 MB" in error_of(client.post("/api/batch", files={"image": bytes(160_001)}), 413)
    assert base.held == base.open == 0


def test_bodies_of_all_requests_together_are_limited(tight: tuple[TestClient, Service]) -> None:
    client, base = tight
    base.held = base.limits.held - 100
    found = client.post("/api/matte", content=encoded(lopsided()))
    assert "fill the memory" in error_of(found, 429)
    assert found.headers["retry-after"] == "5"
    assert base.held == base.limits.held - 100


def test_pixels_are_counted_before_they_are_decoded(tight: tuple[TestClient, Service]) -> None:
    client, _ = tight
    wide = encoded(np.zeros((50, 201, 3), np.uint8))
    assert "201 x 50 pixels, more than the 0.01" in error_of(
        client.post("/api/matte", content=wide), 413
    )
    files = {"image": encoded(lopsided()), "background_image": wide}
    error_of(client.post("/api/matte", files=files), 413)
    fine = encoded(np.zeros((50, 200, 3), np.uint8))
    assert client.post("/api/matte", content=fine).status_code == 200


def test_a_bomb_is_refused_by_what_it_says() -> None:
    """60,000 x 60,000 pixels in 11 kB: 10 GB if it were decoded."""
    stream = io.BytesIO()
    Image.new("1", (60_000, 600)).save(stream, "PNG")
    bomb = bytearray(stream.getvalue())
    bomb[20:24] = (60_000).to_bytes(4, "big")
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(SizeError, match="60000 x 60000"):
        read_photo(bytes(bomb), most_pixels=10**6)
    assert issubclass(SizeError, ImageError)


def in_loop(queue_of: tuple[int, int], test: object) -> None:
    async def main() -> None:
        queue = Queue(*queue_of)
        try:
            await asyncio.wait_for(test(queue), 20)  # type: ignore[operator]
        finally:
            queue.close()

    asyncio.run(main())


def test_what_does_not_fit_is_sent_away_and_told_when_to_come() -> None:
    async def test(queue: Queue) -> None:
        gate = threading.Event()

        def work(_: Check) -> str:
            gate.wait(20)
            return "done"

        queue.seconds = 3.0
        taken = [asyncio.create_task(queue.run(work, 20)) for _ in range(3)]
        while queue.in_work < 1:
            await asyncio.sleep(0.01)
        assert (queue.in_work, queue.waiting, queue.full) == (1, 2, True)
        with pytest.raises(RefusedError) as refused:
            await queue.run(work, 20)
        assert refused.value.status == 429
        assert refused.value.headers == {"Retry-After": "9"}
        gate.set()
        assert await asyncio.gather(*taken) == ["done"] * 3
        await queue.room()
        assert (queue.in_work, queue.waiting) == (0, 0)

    in_loop((1, 2), test)


def test_time_ends_the_waiting_and_frees_the_place_of_what_had_not_begun() -> None:
    async def test(queue: Queue) -> None:
        gate, steps = threading.Event(), []

        def work(check: Check) -> None:
            gate.wait(20)
            try:
                check()
                steps.append("went on")
            except GoneError:
                steps.append("gone")

        tasks = [asyncio.create_task(queue.run(work, 0.2)) for _ in range(2)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [error.status for error in found if isinstance(error, RefusedError)] == [504, 504]
        await asyncio.sleep(0.05)
        assert (queue.in_work, queue.waiting) == (1, 0)  # a thread cannot be stopped, only asked
        gate.set()
        while queue.in_work:
            await asyncio.sleep(0.01)
        assert steps == ["gone"]

    in_loop((1, 1), test)


def test_who_goes_away_is_worked_for_no_longer() -> None:
    async def test(queue: Queue) -> None:
        gate, done = threading.Event(), []

        def work(_: Check) -> None:
            gate.wait(20)
            done.append(1)

        first, second = (asyncio.create_task(queue.run(work, 20)) for _ in range(2))
        while queue.waiting != 1:
            await asyncio.sleep(0.01)
        second.cancel()
        while queue.waiting:
            await asyncio.sleep(0.01)
        gate.set()
        await first
        assert done == [1]

    in_loop((1, 1), test)


def test_a_photo_that_takes_too_long_is_a_504(toy_model: Path) -> None:
    base = service(toy_model, limits=Limits(seconds=0.000_1))
    with TestClient(create_app(base)) as client:
        assert "0.0001 s" in error_of(client.post("/api/matte", content=encoded(lopsided())), 504)


def test_a_full_server_says_so_before_it_reads(toy_model: Path) -> None:
    base = service(toy_model, limits=Limits(queue=0))
    gate = threading.Event()
    with TestClient(create_app(base)) as client:
        assert client.portal
        for _ in range(2):
            client.portal.start_task_soon(base.queue.run, lambda _: gate.wait(20), 20)
        while "latefusion_in_work 2.0" not in client.get("/metrics").text:
            pass
        for route in ("/api/matte", "/api/remove", "/api/batch", "/v1.0/removebg"):
            found = client.post(route, content=b"nothing")
            assert "queue is full" in error_of(found, 429)
            assert int(found.headers["retry-after"]) >= 1
        gate.set()
        while "latefusion_in_work 0.0" not in client.get("/metrics").text:
            pass
        assert client.post("/api/matte", content=encoded(lopsided())).status_code == 200
