"""Hostile and honest requests to one server, mixed, from many clients.

    python benchmarks/server_siege.py [--minutes 10] [--each 1000] [--clients 32]

Honest clients send photos, wait as long as a 429 or 503 tells them, and compare each answer with
that in peace. Prints how the requests were answered, and the memory of all the server's processes
in each tenth of the time, median and peak. Exits with 1 if an honest answer is wrong, if the server
answers with 5xx other than 503, if a peak is 1 GB above idle, or if a peak grows by more than a
tenth over those of the first two tenths.
"""

import argparse
import hashlib
import random
import re
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from time import perf_counter

from PIL import Image
from server_attacks import ATTACKS, MEMORY_MB, SAMPLE, Server, request, serving

# Photos as large as a server takes: load, which server_attacks.py measures, but not hostile.
VALID = ("jpeg-most-scans", "avif-largest", "jpeg2000-largest", "png-largest", "webp-lossless")
PATIENCE, TRIES = 120, 50
GROWTH = 1.1
PARTS = 10
SIZES = ((512, 512), (400, 300), (256, 384))  # of honest photos


def answer(port: int, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body; the connection is closed after it."""
    data = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        with suppress(OSError):  # it has heard enough, and may have answered
            connection.sendall(sent)
        with suppress(OSError):
            while not _whole(data) and (piece := connection.recv(1 << 16)):
                data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]) if lines[0] else 0, headers, body


def _whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return bool(end and length and len(body) >= int(length[1]))


def honest_requests() -> list[bytes]:
    found = []
    with Image.open(SAMPLE) as photo:
        for size in SIZES:
            stream = BytesIO()
            photo.resize(size).save(stream, "PNG")
            found.append(request("/api/matte", "image/png", stream.getvalue()))
    return found


class Siege:
    """Counts what the requests got."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.hostile: Counter[int] = Counter()
        self.honest: Counter[str] = Counter()
        self.slowest = 0.0
        self._lock = threading.Lock()
        self._peace = {sent: self._digest(sent)[1] for sent in honest_requests()}
        self._hostile = [make for name, (make, _) in ATTACKS.items() if name not in VALID]

    def _digest(self, sent: bytes) -> tuple[int, str, int]:
        status, headers, body = answer(self.server.port, sent)
        return status, hashlib.sha256(body).hexdigest(), int(headers.get("retry-after", "1"))

    def ask(self, number: int, is_hostile: bool) -> None:
        if is_hostile:
            make = self._hostile[number % len(self._hostile)]
            status, _, _ = answer(self.server.port, make())
            with self._lock:
                self.hostile[status] += 1
            return
        sent = list(self._peace)[number % len(self._peace)]
        start = perf_counter()
        for _ in range(TRIES):
            status, digest, wait = self._digest(sent)
            if status not in (0, 429, 503):
                break
            with self._lock:
                self.honest[f"{status}, again"] += 1
            time.sleep(wait)
        right = "right" if status == 200 and digest == self._peace[sent] else f"{status}, wrong"
        with self._lock:
            self.honest[right] += 1
            self.slowest = max(self.slowest, perf_counter() - start)


def clients(siege: Siege, orders: list[tuple[int, bool]], seconds: float, count: int) -> None:
    """Work through the orders, evenly over the time."""
    start, lock, waiting = perf_counter(), threading.Lock(), list(enumerate(orders))

    def client() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                place, order = waiting.pop(0)
            time.sleep(max(0.0, start + place * seconds / len(orders) - perf_counter()))
            siege.ask(*order)

    threads = [threading.Thread(target=client) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def watch(memory: Callable[[], float], over: threading.Event, seconds: float) -> list[list[float]]:
    """Megabytes twice a second, in each part of the time, the last to its end."""
    start = perf_counter()
    parts: list[list[float]] = [[] for _ in range(PARTS)]
    while not over.wait(0.5):
        part = min(PARTS - 1, int((perf_counter() - start) / seconds * PARTS))
        parts[part].append(memory())
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--each", type=int, default=1000, help="hostile and honest requests")
    parser.add_argument("--clients", type=int, default=32)
    args = parser.parse_args()
    orders = [(number, hostile) for number in range(args.each) for hostile in (True, False)]
    random.Random(7).shuffle(orders)
    seconds = 60 * args.minutes
    with serving(str(Path(__file__).parents[1])) as server:
        siege, over = Siege(server), threading.Event()
        idle, start = server.memory(), perf_counter()
        seen: list[list[float]] = []
        watching = threading.Thread(target=lambda: seen.extend(watch(server.memory, over, seconds)))
        watching.start()
        clients(siege, orders, seconds, args.clients)
        taken = perf_counter() - start
        over.set()
        watching.join()
        free, rest = server.free_after(), server.memory()
        ended = server.process.poll()
    print(f"{args.each} hostile: {dict(siege.hostile)}")
    print(f"{args.each} honest: {dict(siege.honest)}, the slowest after {siege.slowest:.1f} s")
    print(f"{taken:.0f} s; free after {free:.1f} s")
    medians, peaks = [[round(of(part)) for part in seen] for of in (statistics.median, max)]
    print(f"MB: {idle:.0f} idle, medians {medians}, peaks {peaks}, {rest:.0f} at the end")
    wrong = siege.honest["right"] != args.each or ended is not None
    wrong |= any(status >= 500 and status != 503 for status in siege.hostile)
    wrong |= max(peaks) > idle + MEMORY_MB or max(peaks[2:]) > GROWTH * max(peaks[:2])
    sys.exit(wrong)


if __name__ == "__main__":
    main()
