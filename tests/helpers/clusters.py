"""A Ray cluster of several nodes on this machine, each with processes of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Without a token: each test run has a cluster of its own. Nothing is reported to anybody.
ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
# A node of one core starts one process at a time, and a job needs six that take seconds each.
ENVIRONMENT |= {"RAY_worker_maximum_startup_concurrency": "8"}
# Else Ray Data ends an idle worker just when photos arrive, and starts another in its place.
ENVIRONMENT |= {"RAY_DATA_DEFAULT_ACTOR_POOL_UTIL_DOWNSCALING_THRESHOLD": "0"}
RAY = str(Path(sys.executable).with_name("ray"))
PATIENCE = 180  # seconds, for a machine that is busy


@contextmanager
def ray_cluster(
    cores: list[int], folder: Path, environment: dict[str, str] | None = None
) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    """Nodes of so many cores each: the address of the first one, and the processes of all."""
    env = os.environ | ENVIRONMENT | (environment or {})
    host, port = "127.0.0.1", free_port()
    address = f"{host}:{port}"
    nodes = []
    try:
        for number, count in enumerate(cores):
            role = ["--address", address]
            if not number:
                role = ["--head", "--port", str(port), "--include-dashboard", "false"]
            command = [RAY, "start", "--block", "--num-cpus", str(count), "--node-ip-address", host]
            command += ["--include-log-monitor", "false"]
            log = folder / f"node-{number}.log"
            nodes.append(started([*command, *role, "--disable-usage-stats"], env, log))
            wait_until(lambda log=log: b"Ray runtime started" in log.read_bytes())
        yield address, nodes
    finally:
        for node in reversed(nodes):
            kill(node)


def started(command: list[str], env: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """A process in a session of its own that writes into a log."""
    with log.open("wb") as file:
        return subprocess.Popen(command, env=env, stdout=file, stderr=file, start_new_session=True)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it started, at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def workers(nodes: list["subprocess.Popen[bytes]"]) -> list[int]:
    """The processes of actors with a network, of these nodes alone."""
    sessions = {node.pid for node in nodes}
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            process = int(path.parent.name)
            if path.read_bytes().startswith(b"ray::MapWorker") and os.getsid(process) in sessions:
                found.append(process)
    return sorted(found)


def wait_until(true: object, seconds: float = PATIENCE) -> None:
    """Wait until a function says so. Raises TimeoutError."""
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
