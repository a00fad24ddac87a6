"""Attacks on a real server, each while its health and an honest photo are timed.

    python benchmarks/server_attacks.py [--only NAME] [--tree FOLDER]

Prints for each attack its answers and seconds, the slowest answer of /healthz, the median time of
photos against their time in peace, the peak of memory over idle of all the server's processes, the
seconds until all workers are free again, and the lines of its log; exits with 1 where a bound is
broken. `--tree` is another source tree, to compare with.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import IO, Any, NamedTuple

from PIL import Image
from slow_photos import PHOTOS

SAMPLE = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
SIZE = 31_000_000  # below the limit of a body
FILES = 1024  # that the server may open
IDLE = 1100  # connections that say nothing
STALLED = [20_000_000] * 6 + [1_050_000] * 20  # bytes that bodies have sent when they stop
SLOW_READERS = 12
SILENT_SECONDS = 12
LARGE_SIZE = 1400, 1400
PATIENCE = 120
# The bounds.
HEALTH_SECONDS, SLOWER, MEMORY_MB, LOG_LINES, FREE_SECONDS = 0.2, 3, 1000, 60, 5
REMOVEBG = "/v1.0/removebg"
URLENCODED, JSON = "application/x-www-form-urlencoded", "application/json"
FIELD = b"image_file_b64="
PART = b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n'


def request(path: str, kind: str, body: bytes, *head: str) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", *head)
    if not head:
        lines = (*lines, f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode() + body


def filled(start: bytes, filler: bytes, end: bytes = b"") -> bytes:
    return start + filler * (SIZE // len(filler)) + end


def urlencoded(filler: bytes) -> bytes:
    return request(REMOVEBG, URLENCODED, filled(FIELD, filler))


def in_json(start: bytes, filler: bytes, end: bytes) -> bytes:
    return request(REMOVEBG, JSON, filled(start, filler, end))


def in_form(body: bytes, path: str = REMOVEBG) -> bytes:
    return request(path, "multipart/form-data; boundary=b", body)


def in_photo(make: Callable[[], bytes]) -> bytes:
    return request("/api/matte", "image/jpeg", make())


def chunked() -> bytes:
    body = b"1\r\nA\r\n" * (SIZE // 6) + b"0\r\n\r\n"
    return request("/api/matte", "image/png", body, "Transfer-Encoding: chunked")


def smuggled() -> bytes:
    body = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = (f"Content-Length: {len(body)}", "Transfer-Encoding: chunked")
    return request("/api/matte", "image/png", body, *head)


PHOTO_TEXT = b'{"image_file_b64": "'
TEXT_PART = PART % (b"image_file_b64", b"")
FILE_PART = PART % (b"image_file", b'; filename="a.png"')
# Name, what is sent, and how many send it at a time.
ATTACKS: dict[str, tuple[Callable[[], bytes], int]] = {
    "urlencoded-percent": (lambda: urlencoded(b"%"), 1),
    "urlencoded-percent-by-8": (lambda: urlencoded(b"%"), 8),
    "urlencoded-escapes": (lambda: urlencoded(b"%41"), 4),
    "urlencoded-fields": (lambda: request(REMOVEBG, URLENCODED, filled(b"", b"a=1&")), 4),
    "urlencoded-spaces": (lambda: urlencoded(b"AB+CD+"), 4),
    "urlencoded-name": (lambda: request(REMOVEBG, URLENCODED, filled(b"", b"a")), 4),
    "json-base64": (lambda: in_json(PHOTO_TEXT, b"AAAA", b'"}'), 8),
    "json-spaces": (lambda: in_json(PHOTO_TEXT, b"AB CD ", b'"}'), 4),
    "json-backslashes": (lambda: in_json(PHOTO_TEXT, b"\\n", b'"}'), 4),
    "json-wide-letters": (lambda: in_json(PHOTO_TEXT, b"A", '😀"}'.encode()), 4),
    "json-escaped-wide-letters": (lambda: in_json(PHOTO_TEXT, b"A", b'\\ud83d\\ude00"}'), 4),
    "json-number": (lambda: in_json(b'{"size": 1.', b"9", b"}"), 4),
    "json-integer": (lambda: in_json(b'{"size": ', b"9", b"}"), 4),
    "json-deep": (lambda: in_json(b'{"size": ', b"[", b""), 4),
    "json-keys": (lambda: in_json(b"{", b'"a":1,', b'"b":1}'), 4),
    "json-long-option": (lambda: in_json(b'{"bg_color": "', b"a", b'"}'), 4),
    "form-parts": (lambda: in_form((FILE_PART + b"\r\n") * 40_000 + b"--b--\r\n"), 4),
    "form-text": (lambda: in_form(filled(TEXT_PART, b"AB\r\n", b"\r\n--b--\r\n")), 4),
    "form-wide-text": (lambda: in_form(filled(TEXT_PART, b"A", "😀\r\n--b--\r\n".encode())), 4),
    "form-near-boundaries": (lambda: in_form(filled(FILE_PART, b"\r\n--", b"\r\n--b--\r\n")), 4),
    "form-headers": (lambda: in_form(filled(b"--b\r\n", b"A: b\r\n")), 4),
    "tiny-chunks": (chunked, 4),
    "two-lengths": (smuggled, 4),
    **{name: (partial(in_photo, make), 4) for name, make in PHOTOS.items()},
}


def ask(port: int, sent: str | bytes) -> int | None:
    """Status of the answer; None without one."""
    data = sent.encode() if isinstance(sent, str) else sent
    answer = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        with suppress(OSError):  # it has heard enough, and may have answered
            connection.sendall(data)
        with suppress(OSError):
            while b"\r\n\r\n" not in answer and (piece := connection.recv(1 << 16)):
                answer += piece
    status = re.match(rb"HTTP/1\.1 (\d+)", answer)
    return int(status[1]) if status else None


def descendants(pid: int) -> set[int]:
    """The processes that a process started, and those that they started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # gone meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def memory_of(pid: int) -> float:
    """Megabytes of a process and those that it started; what they share counts once."""
    found = 0
    for each in (pid, *descendants(pid)):
        with suppress(OSError):  # gone meanwhile
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
            found += int(rollup.split("Pss:")[1].split()[0])
    return found / 1024


class Server(NamedTuple):
    """A running server, and the file of its log."""

    process: subprocess.Popen[str]
    port: int
    log: IO[str]

    def get(self, path: str) -> int | None:
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    def ask(self, sent: str | bytes) -> int | None:
        return ask(self.port, sent)

    def memory(self) -> float:
        return memory_of(self.process.pid)

    def free_after(self) -> float:
        """Seconds until no worker has a photo."""
        start = perf_counter()
        while perf_counter() - start < PATIENCE:
            answer = b""
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
                connection.sendall(
                    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
                while piece := connection.recv(1 << 16):
                    answer += piece
            if b"\nlatefusion_in_work 0.0\n" in answer:
                break
            time.sleep(0.05)
        return perf_counter() - start

    def lines(self) -> int:
        self.log.seek(0)
        return sum(1 for line in self.log if '"event": "request"' not in line)


@contextmanager
def serving(tree: str) -> Iterator[Server]:
    def fewer_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))

    command = [sys.executable, "-m", "latefusion", "serve", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(Path(tree) / "src")}
    with TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            preexec_fn=fewer_files,
        )
        try:
            assert process.stdout
            server = Server(process, int(process.stdout.readline().rpartition(":")[2]), log)
            while server.get("/readyz") != 200:
                time.sleep(0.05)
            yield server
        finally:
            process.kill()
            process.communicate()


class Memory:
    """Looks at the memory of a server all the time."""

    def __init__(self, server: Server) -> None:
        self.peak = 0.0
        self._server, self._over = server, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.peak = max(self.peak, self._server.memory())


class Health:
    """Asks /healthz all the time, in a process of its own, which the attack does not hold up."""

    def __init__(self, server: Server) -> None:
        self._over = multiprocessing.Event()
        self._slowest = multiprocessing.Value("d", 0.0)
        args = (server.port, self._over, self._slowest)
        self._process = multiprocessing.Process(target=ask_health, args=args)

    def __enter__(self) -> "Health":
        self._process.start()
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._process.join()

    @property
    def slowest(self) -> float:
        return self._slowest.value


def ask_health(port: int, over: Any, slowest: Any) -> None:
    while not over.is_set():
        start = perf_counter()
        status = ask(port, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        seconds = perf_counter() - start
        slowest.value = max(slowest.value, seconds if status == 200 else PATIENCE)
        over.wait(0.02)


def large_photo() -> bytes:
    """A photo that stands in line where bodies fill the memory."""
    stream = BytesIO()
    with Image.open(SAMPLE) as photo:
        photo.resize(LARGE_SIZE).save(stream, "PNG")
    return stream.getvalue()


def photo_seconds(server: Server, data: bytes) -> float:
    sent = request("/api/matte", "image/*", data)
    start = perf_counter()
    return perf_counter() - start if server.ask(sent) == 200 else PATIENCE


def idle_connections(server: Server) -> Counter[str]:
    """What each of many connections that say nothing gets in five seconds."""

    async def listen() -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            found = await asyncio.wait_for(reader.read(64), 5)
        except (asyncio.TimeoutError, OSError):
            return "left open"
        finally:
            writer.close()
        return found[9:12].decode() or "closed"

    async def everyone() -> Counter[str]:
        return Counter(await asyncio.gather(*(listen() for _ in range(IDLE))))

    return asyncio.run(everyone())


def silent(server: Server, sent: bytes, answered: bool) -> str:
    """Send, and then neither send nor read for SILENT_SECONDS."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        with suppress(OSError):
            connection.sendall(sent)
        if answered:
            connection.recv(1)
        time.sleep(SILENT_SECONDS)
    return "silent"


def stalled_bodies(server: Server) -> Counter[str]:
    """Bodies that fill the memory set aside for them, and do not end."""
    head = request("/api/matte", "image/png", b"", f"Content-Length: {SIZE}")
    sent = [head + bytes(size) for size in STALLED]
    with ThreadPoolExecutor(len(sent)) as pool:
        return Counter(pool.map(lambda each: silent(server, each, False), sent))


def slow_readers(server: Server) -> Counter[str]:
    """Clients that do not read their large pictures."""
    sent = [request("/api/matte", "image/png", large_photo())] * SLOW_READERS
    with ThreadPoolExecutor(len(sent)) as pool:
        return Counter(pool.map(lambda each: silent(server, each, True), sent))


def attack(server: Server, name: str) -> Counter[str]:
    if name in CONNECTIONS:
        return CONNECTIONS[name](server)
    make, times = ATTACKS[name]
    sent = make()
    with ThreadPoolExecutor(times) as pool:
        return Counter(str(status) for status in pool.map(server.ask, [sent] * times))


CONNECTIONS = {"idle": idle_connections, "stalled": stalled_bodies, "readers": slow_readers}


def report(tree: str, name: str) -> list[str]:
    """Print what an attack did, and return the bounds that it broke."""
    data = large_photo() if name in ("stalled", "readers") else SAMPLE.read_bytes()
    with serving(tree) as server:
        photo_seconds(server, data)
        peace = min(photo_seconds(server, data) for _ in range(3))
        idle, lines = server.memory(), server.lines()
        with Health(server) as calm:
            time.sleep(2)
        with Health(server) as health, Memory(server) as memory, ThreadPoolExecutor(1) as pool:
            start = perf_counter()
            attacking = pool.submit(attack, server, name)
            honest = [photo_seconds(server, data)]
            while not attacking.done():
                honest.append(photo_seconds(server, data))
            statuses, seconds = attacking.result(), perf_counter() - start
            free = server.free_after()
        slower = statistics.median(honest) / peace
        more, lines = memory.peak - idle, server.lines() - lines
        photo_seconds(server, data)
    print(
        f"{name}: {dict(statuses)} in {seconds:.1f} s;"
        f" /healthz {health.slowest:.3f} s (in peace {calm.slowest:.3f}),"
        f" {len(honest)} photos x {slower:.1f} (slowest {max(honest) / peace:.1f}),"
        f" {more:+.0f} MB, free after {free:.1f} s, {lines} lines of log",
        flush=True,
    )
    bounds = {
        "health": health.slowest < HEALTH_SECONDS,
        "photo": slower < SLOWER,
        "memory": more < MEMORY_MB,
        "log": lines < LOG_LINES,
        "free": free < FREE_SECONDS,
        "status": not {status for status in statuses if status.startswith("5")} - {"503"},
    }
    return [f"{name}: {bound}" for bound, kept in bounds.items() if not kept]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help=f"one of {', '.join([*CONNECTIONS, *ATTACKS])}")
    parser.add_argument("--tree", default=str(Path(__file__).parents[1]))
    args = parser.parse_args()
    names = [args.only] if args.only else [*CONNECTIONS, *ATTACKS]
    broken = [bound for name in names for bound in report(args.tree, name)]
    print(json.dumps({"broken": broken}))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
