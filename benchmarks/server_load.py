"""A server under load: throughput against the bare predictor, times, errors, memory, SIGTERM.

    python benchmarks/server_load.py dev.tar [--seconds 300] [--clients 64] [--against TREE]

Each client sends its next request as soon as it has its answer, over a connection that stays open.
The clients run in one separate process that does little more than write and read bytes. `bare` is
`predictor(data)`, from encoded bytes to a Matte, in as many threads as the server has workers; it
neither renders nor encodes. `done` is all that a worker does, without HTTP. `before` is the server
of the source tree that --against names. They take turns on the same photos, ROUNDS times. Rates are
compared within a turn, and so is core time of all threads, which other work on the machine disturbs
less. Then follow a long run with its memory, overload with a queue of 4, and SIGTERM under load.
--seconds 0 stops before these.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import cv2
from server_attacks import descendants, memory_of

from latefusion import Predictor
from latefusion.data.members import read_encoded
from latefusion.data.sources import VAL_LIST, read_pairs
from latefusion.folder.batch import workers_for
from latefusion.images.reader_pool import ReaderPool
from latefusion.server.limits import Limits
from latefusion.server.options import MatteOptions
from latefusion.server.orders import fulfil, order_matte

ROUNDS, TURN = 3, 20.0  # seconds of each turn
MANY = 1000
PHOTOS = 48
SERVE = (sys.executable, "-m", "latefusion", "serve", "--port", "0")
TREE = Path(__file__).parents[1]
LIMITS = Limits()


@dataclass
class Found:
    """Observations of the clients."""

    statuses: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)  # of answers 200
    ends: list[float] = field(default_factory=list)  # when they came
    memory: list[float] = field(default_factory=list)  # MB, each second

    def rate(self) -> float:
        """Photos per second, from the first answer to the last."""
        return (len(self.ends) - 1) / (self.ends[-1] - self.ends[0])

    def line(self) -> str:
        times = sorted(self.times)
        p50, p95 = (times[int(share * (len(times) - 1))] for share in (0.5, 0.95))
        return (
            f"{dict(self.statuses)}, {self.rate():.2f} a second, p50 {p50:.2f} s, p95 {p95:.2f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path, help="tar shard or folder of pairs")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--save", default="cutout")
    parser.add_argument("--against", type=Path, help="another source tree, to compare with")
    args = parser.parse_args()
    pairs = read_pairs([args.pairs], VAL_LIST)
    pairs = pairs[:: max(1, len(pairs) // PHOTOS)][:PHOTOS]
    photos = [read_encoded(pair.image) for pair in pairs]
    path = f"/api/matte?save={args.save}"
    with server() as (port, process, start):
        print(f"ready after {start:.2f} s", flush=True)
        with server(tree=args.against) if args.against else nullcontext() as other:
            turns(photos, port, process.pid, path, args, other)
        if not args.seconds:
            return
        found = asyncio.run(load(port, path, photos, args.clients, args.seconds, process.pid))
        print(f"{args.clients} clients for {args.seconds:.0f} s: {found.line()}")
        print(memory_line(found.memory), flush=True)
    overload(photos, path, args.clients)
    terminated(photos, path, args.clients)


@contextmanager
def server(*options: str, tree: Path = TREE) -> Iterator[tuple[int, subprocess.Popen[str], float]]:
    """Port, process, and seconds from the start to ready."""
    start = perf_counter()
    process = subprocess.Popen(
        [*SERVE, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tree / "src")},
    )
    assert process.stdout
    port = int(process.stdout.readline().rpartition(":")[2])
    while asyncio.run(ask_once(port, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] != 200:
        time.sleep(0.01)
    try:
        yield port, process, perf_counter() - start
    finally:
        process.terminate()
        process.communicate(timeout=60)


class Turn(NamedTuple):
    """Photos per second and core-milliseconds per photo of one contender."""

    rate: float
    core: float


def turns(
    photos: list[bytes],
    port: int,
    pid: int,
    path: str,
    args: argparse.Namespace,
    other: tuple[int, subprocess.Popen[str], float] | None,
) -> None:
    workers, threads = workers_for(MANY, None)
    cv2.setNumThreads(threads)
    predictor = Predictor(threads=threads)
    readers = ReaderPool(workers, LIMITS.reading)
    readers.start()
    order = order_matte(predictor, MatteOptions.model_validate({"save": args.save}), None)
    contenders: dict[str, Callable[[float], Turn]] = {
        "bare": partial(in_threads, predictor, photos, workers),
        "done": partial(
            in_threads,
            lambda data: fulfil(order, data, LIMITS, readers, lambda: None),
            photos,
            workers,
        ),
        "server": partial(served, port, pid, path, photos, args.clients),
    }
    if other:
        before = partial(served, other[0], other[1].pid, path, photos, args.clients)
        contenders["before"] = before
    found: dict[str, list[Turn]] = {name: [] for name in contenders}
    for turn in range(ROUNDS + 1):  # the first one warms up
        for name, run in contenders.items():
            one = run(TURN if turn else 3)
            found[name] += [one] if turn else []
    for name, of in found.items():
        rates, cores = ([round(value, 2) for value in values] for values in zip(*of, strict=True))
        print(f"{args.save}, {name}: photos a second {rates}, core-ms a photo {cores}")
    for name in contenders.keys() - {"server"}:
        pairs = list(zip(found["server"], found[name], strict=True))
        rate = statistics.median(server.rate / other.rate for server, other in pairs)
        core = statistics.median(other.core / server.core for server, other in pairs)
        print(f"the server's share of {name}: {rate:.3f}, in core time {core:.3f}", flush=True)


def in_threads(
    function: Callable[[bytes], Any], photos: list[bytes], workers: int, seconds: float
) -> Turn:
    """Process photos in parallel threads."""
    ends: list[float] = []
    end, core = perf_counter() + seconds, process_time()

    def one(number: int) -> None:
        if perf_counter() < end:
            function(photos[number % len(photos)])
            ends.append(perf_counter())

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, range(int(100 * seconds))))
    core = process_time() - core
    return Turn((len(ends) - 1) / (ends[-1] - ends[0]), 1000 * core / len(ends))


def served(
    port: int, pid: int, path: str, photos: list[bytes], clients: int, seconds: float
) -> Turn:
    core = core_seconds(pid)
    found = asyncio.run(load(port, path, photos, clients, seconds))
    return Turn(found.rate(), 1000 * (core_seconds(pid) - core) / len(found.ends))


def core_seconds(pid: int) -> float:
    """Core seconds used by a process and those that it started, in user and system mode."""
    found = 0
    for each in (pid, *descendants(pid)):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        found += int(fields[11]) + int(fields[12])
    return found / os.sysconf("SC_CLK_TCK")


def message(path: str, photo: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(photo)}\r\n\r\n"
    )
    return head.encode() + photo


async def load(
    port: int, path: str, photos: list[bytes], clients: int, seconds: float, pid: int | None = None
) -> Found:
    """Let the clients ask for so long; then each waits for its last answer."""
    found = Found()
    messages = [message(path, photo) for photo in photos]
    end = perf_counter() + seconds
    watch = asyncio.create_task(measure(pid, found)) if pid else None
    await asyncio.gather(*(client(port, messages, n, end, found) for n in range(clients)))
    if watch:
        watch.cancel()
    return found


async def client(port: int, messages: list[bytes], number: int, end: float, found: Found) -> None:
    connection = await asyncio.open_connection("127.0.0.1", port)
    while perf_counter() < end:
        start = perf_counter()
        number += 1
        try:
            status, wait = await ask(connection, messages[number % len(messages)])
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            found.statuses[type(error).__name__] += 1
            return
        found.statuses[str(status)] += 1
        if status == 200:
            found.ends.append(perf_counter())
            found.times.append(found.ends[-1] - start)
        elif wait:
            await asyncio.sleep(min(wait, max(0.0, end - perf_counter())))
        else:
            return
    connection[1].close()


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def ask(connection: Connection, sent: bytes) -> tuple[int, float]:
    """The status, and what Retry-After says."""
    reader, writer = connection
    writer.write(sent)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head[1:] if line)
    await reader.readexactly(int(fields[b"content-length"]))
    return int(head[0].split()[1]), float(fields.get(b"retry-after", 0))


async def ask_once(port: int, sent: bytes) -> tuple[int, float]:
    connection = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await ask(connection, sent)
    finally:
        connection[1].close()


async def measure(pid: int, found: Found) -> None:
    while True:
        found.memory.append(memory_of(pid))
        await asyncio.sleep(1)


def memory_line(memory: list[float]) -> str:
    """The mean of each tenth of the run."""
    size = max(1, len(memory) // 10)
    tenths = [statistics.mean(memory[n : n + size]) for n in range(0, size * 10, size)]
    return f"memory, MB, in tenths of the run: {', '.join(f'{mean:.0f}' for mean in tenths)}"


def overload(photos: list[bytes], path: str, clients: int) -> None:
    with server("--queue", "4") as (port, _, _):
        calm = asyncio.run(load(port, path, photos, 4, 8))
        flood = asyncio.run(load(port, path, photos, clients, 15))
        after = asyncio.run(load(port, path, photos, 4, 8))
    print(f"queue 4, 4 clients: {calm.line()}")
    print(f"queue 4, {clients} clients: {flood.line()}")
    print(f"queue 4, 4 clients after that: {after.line()}", flush=True)


def terminated(photos: list[bytes], path: str, clients: int) -> None:
    """Send SIGTERM while every client has an open request: each must get its picture."""

    async def run(port: int, process: subprocess.Popen[str]) -> list[int | str]:
        asked = [
            asyncio.create_task(ask_once(port, message(path, photos[n % len(photos)])))
            for n in range(clients)
        ]
        await asyncio.sleep(1.5)
        process.terminate()
        found = await asyncio.gather(*asked, return_exceptions=True)
        return [
            type(answer).__name__ if isinstance(answer, BaseException) else answer[0]
            for answer in found
        ]

    with server() as (port, process, _):
        statuses = Counter(asyncio.run(run(port, process)))
        code = process.wait(60)
    print(f"SIGTERM with {clients} requests there: {json.dumps(statuses)}, exit code {code}")


if __name__ == "__main__":
    main()
