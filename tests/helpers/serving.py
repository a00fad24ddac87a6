"""A server in a process of its own, as people run it, for the tests."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

SAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.jpg"
PATIENCE = 30
PROC = Path("/proc")  # on Linux


@dataclass
class Serving:
    """A running `latefusion serve`."""

    process: subprocess.Popen[str]
    url: str
    log: Path
    client: httpx2.Client

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def get(self, path: str) -> httpx2.Response:
        return self.client.get(self.url + path)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def wait_for_line(self, route: str) -> list[dict[str, Any]]:
        """The lines of the log, as soon as its last is of this route: it comes after the answer."""
        end = time.monotonic() + PATIENCE
        while (lines := self.lines())[-1].get("route") != route:
            assert time.monotonic() < end, f"the last line is {lines[-1]}"
            time.sleep(0.02)
        return lines

    def gauge(self, name: str) -> float:
        lines = self.get("/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def wait_for(self, name: str, value: float) -> None:
        end = time.monotonic() + PATIENCE
        while self.gauge(name) != value:
            assert time.monotonic() < end, f"{name} is {self.gauge(name)}, not {value}"
            time.sleep(0.02)


@contextmanager
def serving(folder: Path, *options: str, key: str | None = None) -> Iterator[Serving]:
    """The command with these options, on a free port, ready for photos; TMPDIR is the folder."""
    log = folder / "server.log"
    environment = (
        os.environ | {"TMPDIR": str(folder)} | ({"LATEFUSION_API_KEY": key} if key else {})
    )
    command = [sys.executable, "-m", "latefusion", "serve", "--port", "0", *options]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
        )
    try:
        assert process.stdout
        with process.stdout as stdout, httpx2.Client(timeout=PATIENCE) as client:
            server = Serving(process, stdout.readline().strip(), log, client)
            assert server.url, log.read_text()
            wait_until_ready(server)
            yield server
    finally:
        process.kill()
        process.wait()


def descendants(pid: int) -> set[int]:
    """The processes that a process started, and those that they started; none without /proc."""
    parents = {}
    for stat in PROC.glob("[0-9]*/stat"):
        with suppress(OSError):  # gone meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def wait_until_gone(processes: set[int]) -> None:
    end = time.monotonic() + PATIENCE
    while any((PROC / str(pid)).exists() for pid in processes):
        assert time.monotonic() < end
        time.sleep(0.02)


def wait_until_ready(server: Serving) -> None:
    end = time.monotonic() + PATIENCE
    while server.get("/readyz").status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.02)
