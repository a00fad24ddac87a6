"""The command as a process: signals, overload, clients that go away, crawl or do not listen."""

import http.client
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image
from typer.testing import CliRunner

from latefusion.cli import app as commands
from latefusion.errors import LatefusionError
from latefusion.server import bodies, run
from latefusion.server.app import create_app
from latefusion.server.service import Service
from tests.helpers.service import encoded, lopsided, service
from tests.helpers.serving import (
    PATIENCE,
    PROC,
    SAMPLE,
    Serving,
    descendants,
    serving,
    wait_until_gone,
)

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
KEY = "correct horse battery"
CLIENTS = {"matte.sh": "sh", "matte.py": sys.executable, "matte.mjs": "node"}
SCRIPT = [sys.executable, str(ROOT / "benchmarks" / "server_hostile.py"), "--cases", "28"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("server"), key=KEY) as running:
        running.client.headers["x-api-key"] = KEY
        yield running


def slow_photo() -> bytes:
    """It takes half a second or so, and several with tiles."""
    with Image.open(SAMPLE) as image:
        return encoded(np.asarray(image.convert("RGB").resize((1000, 1000))), "JPEG")


def raw(photo: bytes, *head: str) -> bytes:
    lines = ("POST /api/matte?tiles=1 HTTP/1.1", "Host: localhost", f"X-Api-Key: {KEY}", *head)
    return "\r\n".join((*lines, f"Content-Length: {len(photo)}", "", "")).encode() + photo


@pytest.mark.parametrize("script", CLIENTS)
def test_a_client_example_gets_a_cutout(server: Serving, script: str, tmp_path: Path) -> None:
    if shutil.which(CLIENTS[script]) is None and "CI" not in os.environ:
        pytest.skip(f"there is no {CLIENTS[script]} here")
    target = tmp_path / "me.png"
    command = [CLIENTS[script], str(ROOT / "examples" / "clients" / script), server.url]
    environment = os.environ | {"LATEFUSION_API_KEY": KEY}
    done = subprocess.run(
        [*command, str(SAMPLE), str(target)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    wanted = server.client.post(f"{server.url}/api/matte?crop=1", content=SAMPLE.read_bytes())
    assert target.read_bytes() == wanted.content
    other = tmp_path / "other.png"
    wrong = subprocess.run(
        [*command, str(SAMPLE), str(other)],
        capture_output=True,
        text=True,
        env=environment | {"LATEFUSION_API_KEY": "wrong"},
    )
    assert wrong.returncode != 0
    assert "the API key is missing or wrong" in wrong.stderr
    gone = [*command[:2], "http://127.0.0.1:9", str(SAMPLE), str(other)]
    assert subprocess.run(gone, capture_output=True, env=environment).returncode != 0
    assert list(tmp_path.iterdir()) == [target]  # nothing of an error is left


def test_who_hangs_up_is_worked_for_no_longer(server: Serving) -> None:
    photo = slow_photo()
    with ThreadPoolExecutor(6) as pool:
        connections = list(pool.map(lambda _: server.connect(), range(6)))
        for connection in connections:
            connection.sendall(raw(photo))
        while server.gauge("latefusion_in_work") < 1:
            time.sleep(0.01)
        for connection in connections:
            connection.close()
    server.wait_for("latefusion_open_requests", 0)
    server.wait_for("latefusion_queue_waiting", 0)
    server.wait_for("latefusion_held_bytes", 0)
    server.wait_for("latefusion_in_work", 0)
    gone = [line for line in server.lines() if line.get("status") == 499]
    assert len(gone) >= 4


def test_a_batch_is_given_up_where_nobody_takes_it(server: Serving) -> None:
    files = [("image", ("a.jpg", slow_photo())) for _ in range(12)]
    asked = server.client.build_request(
        "POST", f"{server.url}/api/batch?save=alpha&tiles=1", files=files
    )
    answer = server.client.send(asked, stream=True)
    assert answer.status_code == 200
    next(answer.iter_raw())
    answer.close()
    server.wait_for("latefusion_open_requests", 0)
    server.wait_for("latefusion_in_work", 0)
    assert server.gauge("latefusion_held_bytes") == 0
    done = server.get("/metrics").text.partition(
        'latefusion_photo_seconds_count{route="/api/batch"}'
    )
    assert 1 <= float(done[2].split()[0]) < 12


def test_the_log_holds_no_names_and_no_addresses(server: Serving) -> None:
    files = {"image": ("secret-name.jpg", SAMPLE.read_bytes())}
    found = server.client.post(f"{server.url}/api/matte?save=alpha&subject=largest", files=files)
    assert found.status_code == 200
    server.get("/nowhere/secret-path?secret=1")
    last = server.wait_for_line("other")[-2:]
    assert [(line["route"], line["status"]) for line in last] == [
        ("/api/matte", 200),
        ("other", 404),
    ]
    assert last[0]["pixels"] == 512 * 512
    assert last[0]["bytes_out"] == len(found.content)
    for word in ("secret", "127.0.0.1", "largest", KEY):
        assert word not in server.log.read_text()


def test_hostile_requests_are_answered_as_they_should_be() -> None:
    done = subprocess.run(SCRIPT, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_schemathesis_finds_no_5xx(server: Serving, tmp_path: Path) -> None:
    """A sample; docs/server.md says how to run all of it."""
    options = ["--max-examples", "8", "--seed", "7", "--header", f"X-Api-Key: {KEY}"]
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json",
         *options, "--checks", checks, "--phases", "fuzzing"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr


def test_overload_is_told_and_passes(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "1", "--queue", "2") as server:
        photo = SAMPLE.read_bytes()

        def ask(_: int) -> tuple[int, str | None]:
            found = server.client.post(f"{server.url}/api/matte", content=photo)
            return found.status_code, found.headers.get("retry-after")

        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(ask, range(12)))
        assert {status for status, _ in found} == {200, 429}
        assert all(int(wait or 0) >= 1 for status, wait in found if status == 429)
        assert ask(0) == (200, None)


def test_sigterm_finishes_what_was_taken(tmp_path: Path) -> None:
    photo = slow_photo()
    with serving(tmp_path, "--workers", "2") as server:

        def ask(_: int) -> int:
            with server.connect() as connection:
                connection.sendall(raw(photo).replace(b"?tiles=1", b""))
                taken.release()
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                answer.read()  # raises where it is cut short
                return answer.status

        taken = threading.Semaphore(0)
        with ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(ask, number) for number in range(6)]
            for _ in asked:
                taken.acquire()
            server.wait_for("latefusion_open_requests", 6)
            server.process.terminate()
            time.sleep(0.2)
            assert server.get("/readyz").status_code == 503
            assert server.get("/healthz").status_code == 200
            new = server.client.post(f"{server.url}/api/matte", content=photo)
            assert new.status_code == 503
            assert "shutting down" in new.json()["error"]
            assert [future.result(PATIENCE) for future in asked] == [200] * 6
        assert server.process.wait(PATIENCE) == 0
        assert [line["event"] for line in server.lines()][-1] == "stopped"
        with pytest.raises(OSError, match="refused"):
            server.connect()


def test_what_takes_too_long_to_read_holds_nobody_up(tmp_path: Path) -> None:
    """A comment that Pillow reads byte by byte, for many seconds."""
    slow = b"P6\n#" + b"a" * 30_000_000 + b"\n4 4 255\n" + bytes(48)
    quick = SAMPLE.read_bytes()
    options = ("--workers", "2", "--time-limit", "12", "--allow-format", "ppm")
    with serving(tmp_path, *options) as server, ThreadPoolExecutor(3) as pool:
        url = f"{server.url}/api/matte"
        asked = [pool.submit(server.client.post, url, content=slow) for _ in range(2)]
        server.wait_for("latefusion_in_work", 2)
        for found in (each.result() for each in asked):
            assert found.status_code == 400
            assert "took longer to read than the limit of 2 s" in found.json()["error"]
        assert server.client.post(url, content=quick).status_code == 200
        family = descendants(server.process.pid)
        last = pool.submit(server.client.post, url, content=slow)
        server.wait_for("latefusion_in_work", 1)
        assert server.stop() == 0
        assert last.result().status_code == 400
    assert len(family) >= 3 or not PROC.exists()  # two that read, and one that starts them
    wait_until_gone(family)


@pytest.fixture
def impatient(toy_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, Service]]:
    """A server in a thread that waits for half a second at most: its port, and its state."""
    for module, name in (
        *((run, "HEAD_SECONDS"), (bodies, "BODY_SECONDS"), (run, "STALLED_SECONDS")),
        (run, "KEEP_ALIVE"),
    ):
        monkeypatch.setattr(module, name, 0.5)
    base = service(toy_model)
    listener = run.open_socket("127.0.0.1", 0)
    config = uvicorn.Config(create_app(base), http=run.Connection, lifespan="on", log_config=None)
    server = run.Server(config, base)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield listener.getsockname()[1], base
    base.draining = True
    thread.join(PATIENCE)
    assert base.open == base.held == 0


def test_a_port_in_use_is_named_once(impatient: tuple[int, Service]) -> None:
    port, _ = impatient
    address = f"127.0.0.1:{port}"
    with pytest.raises(LatefusionError, match=rf"on {address} \([\w ]+\); choose another"):
        run.open_socket("127.0.0.1", port)


def until_closed(connection: socket.socket) -> bytes:
    connection.settimeout(PATIENCE)
    found = b""
    try:
        while piece := connection.recv(1 << 16):
            found += piece
    except ConnectionResetError:
        pass
    return found


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
POST = b"POST /api/matte HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: 5\r\n" + CHUNKED + b"0\r\n\r\nGET /version HTTP/1.1\r\n\r\n",
        POST + CHUNKED + b"1\r\na\r\n" * 20_000,
        POST + CHUNKED + b"x\r\n",
        POST.replace(b"matte", b"none") + CHUNKED + b"1\r\na\r\nx",  # answered already
    ],
)
def test_a_body_that_is_no_http_ends_the_connection(
    impatient: tuple[int, Service], sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", impatient[0])) as connection:
        for start in range(0, len(sent), 100_000 if len(sent) > 1000 else len(sent) - 1):
            with suppress(OSError):
                connection.sendall(sent[start:][:100_000])
            time.sleep(0.2)
        found = until_closed(connection)
    assert found.count(b"HTTP/1.1") <= 1
    assert found[9:12] in (b"400", b"404", b"")
    assert "Traceback" not in caplog.text


@pytest.fixture
def crowded(toy_model: Path) -> Iterator[int]:
    """The port of a server in a thread that has room for three connections."""
    base = service(toy_model)
    listener = run.open_socket("127.0.0.1", 0)
    app = create_app(base)
    config = uvicorn.Config(
        app, http=run.Connection, lifespan="on", log_config=None, limit_concurrency=3
    )
    server = run.Server(config, base)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield listener.getsockname()[1]
    base.draining = True
    thread.join(PATIENCE)


def asked(port: int, path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        return until_closed(connection)


def test_idle_connections_make_room_the_oldest_first(crowded: int) -> None:
    with ExitStack() as stack:
        silent = []
        for _ in range(3):
            silent.append(stack.enter_context(socket.create_connection(("127.0.0.1", crowded))))
            time.sleep(0.1)
        for wanted in silent[:2]:
            assert asked(crowded, "/version").startswith(b"HTTP/1.1 200")
            found = until_closed(wanted)
            assert found.startswith(b"HTTP/1.1 503")
            assert found.endswith(b'{"error": "too many connections; retry in 5 s"}')
            silent.append(stack.enter_context(socket.create_connection(("127.0.0.1", crowded))))
        silent[-1].sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert silent[-1].recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_busy_connections_keep_their_place_and_health_is_told(crowded: int) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            busy = stack.enter_context(socket.create_connection(("127.0.0.1", crowded)))
            busy.sendall(raw(b"x" * 100)[:-50])
        time.sleep(0.3)
        assert asked(crowded, "/version").startswith(b"HTTP/1.1 503")
        assert asked(crowded, "/healthz").startswith(b"HTTP/1.1 200")
        busy.sendall(b"x" * 50)
        assert busy.recv(1 << 16).startswith(b"HTTP/1.1 400")  # no image


def test_connections_are_fewer_than_files_that_may_be_open() -> None:
    code = (
        "import resource, sys; from latefusion.server.run import connections_allowed;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, int(sys.argv[1])));"
        "print(connections_allowed(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    for hard, wanted in ((300, "161 300 300"), (1024, "704 1024 1024"), (4096, "1000 2048 4096")):
        command = [sys.executable, "-c", code, str(hard)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == wanted


def test_a_head_that_crawls_is_cut(impatient: tuple[int, Service]) -> None:
    with socket.create_connection(("127.0.0.1", impatient[0])) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")  # the first is fine
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        connection.sendall(b"POST /api/matte HTTP/1.1\r\nX: ")
        assert b"HTTP/1.1" not in until_closed(connection)


def test_a_body_that_crawls_is_a_408(impatient: tuple[int, Service]) -> None:
    with socket.create_connection(("127.0.0.1", impatient[0])) as connection:
        connection.sendall(raw(b"x" * 100)[:-50])
        found = until_closed(connection)
    assert found.startswith(b"HTTP/1.1 408")
    assert b"did not arrive within" in found


@pytest.mark.parametrize("more", [b"", b"G"])
def test_who_does_not_take_the_answer_is_cut(impatient: tuple[int, Service], more: bytes) -> None:
    """Whatever it sends. Of noise, so that the answer is larger than all buffers on the way."""
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), np.uint8)
    noise[..., 1:] = 255
    photo = encoded(noise)
    port, base = impatient
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(raw(photo).replace(b"tiles=1", b"save=foreground"))
        end = time.monotonic() + PATIENCE
        while b"/api/matte" not in base.metrics.text().partition(b"latefusion_photo")[0]:
            assert time.monotonic() < end, "it is held for ever"
            if base.held > 1.3 * len(photo):  # the answer is on its way, and stands
                time.sleep(0.2)
                with suppress(OSError):
                    connection.send(more)
                more = b""
            time.sleep(0.05)


def test_no_part_of_a_form_goes_to_a_file(
    impatient: tuple[int, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx2

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    large = encoded(np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8))
    assert len(large) > 2_000_000
    url = f"http://127.0.0.1:{impatient[0]}/api/matte?refine=off"
    assert httpx2.post(url, files={"image": large}, timeout=PATIENCE).status_code == 200


def test_a_start_that_cannot_be_is_one_line(tmp_path: Path, toy_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(commands, ["serve", "--port", port, "--model", str(toy_model)])
        assert done.exit_code == 1
        assert "choose another --port" in done.stderr
    empty = tmp_path / "key"
    empty.write_text(" \n")
    for file, message in ((empty, "is empty"), (tmp_path / "none", "cannot be read")):
        done = CliRunner().invoke(commands, ["serve", "--port", "0", "--api-key-file", str(file)])
        assert done.exit_code == 1
        assert message in done.stderr
    done = CliRunner().invoke(commands, ["serve", "--model", str(tmp_path / "none.onnx")])
    assert done.exit_code == 1
    assert "none.onnx" in done.stderr


def test_a_network_that_does_not_load_ends_it(tmp_path: Path, toy_model: Path) -> None:
    import hashlib
    import json

    toy_model.write_bytes(b"no network")
    sidecar = toy_model.with_suffix(".json")
    card = json.loads(sidecar.read_text())
    card["sha256"] = hashlib.sha256(b"no network").hexdigest()
    sidecar.write_text(json.dumps(card))
    command = [sys.executable, "-m", "latefusion", "serve", "--port", "0", "--model"]
    done = subprocess.run([*command, str(toy_model)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "does not load" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="groups of processes")
@pytest.mark.parametrize("wait", [0, 0.1, 0.4])
def test_ctrl_c_while_it_starts_is_no_traceback(wait: float, toy_model: Path) -> None:
    command = [sys.executable, "-m", "latefusion", "serve", "--port", "0", "--model"]
    process = subprocess.Popen(
        [*command, str(toy_model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    process.stdout.readline()
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all processes
    _, said = process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    assert "Traceback" not in said


def test_a_lopsided_photo_comes_back_as_it_lies(server: Serving) -> None:
    found = server.client.post(f"{server.url}/api/matte?save=alpha", content=encoded(lopsided()))
    with Image.open(io.BytesIO(found.content)) as image:
        assert image.size == (90, 60)


def test_commands_that_serve_nothing_import_no_server() -> None:
    code = "import sys, latefusion.cli; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"fastapi", "starlette", "uvicorn", "pydantic", "h11"} & set(done.stdout.split())
