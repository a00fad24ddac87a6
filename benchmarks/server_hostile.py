"""Hostile requests to a real server, each of which must get the right answer quickly.

    python benchmarks/server_hostile.py [--cases 1000] [--seed 7] [--case N]

The requests hold decompression bombs, a false Content-Type, truncated and empty photos and bodies,
path tricks in names and options, addresses that must not be fetched, and malformed forms and
headers. Case N of a seed is always the same. All get a 4xx, except complete photos with tricks in
their names (200, with harmless names in the ZIP) and incomplete bodies (no answer needed). At the
end the server must work as before and hold about as much memory.
"""

import argparse
import base64
import io
import json
import re
import socket
import struct
import subprocess
import sys
import time
import urllib.request
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import NamedTuple

import numpy as np
from PIL import Image

SAMPLE = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
MAX_PIXELS, MAX_BODY, SECONDS = 1_000_000, 500_000, 20
SERVER = (
    *("latefusion", "serve", "--port", "0", "--allow-urls", "--time-limit", str(SECONDS)),
    *("--max-pixels", "1", "--max-body", "0.5"),
)
BOUNDARY = "boundary"
TARGETS = ("/api/matte", "/api/remove", "/v1.0/removebg", "/api/batch")
FIELDS = dict(zip(TARGETS, ("image", "file", "image_file", "image"), strict=True))
REFUSED = frozenset(range(400, 500))
TRICKS = (
    *("../../../../tmp/owned.png", "..\\..\\owned.png", "/etc/passwd", "C:\\owned.png"),
    *("owned.png\0.jpg", "a\r\nX-Owned: 1", "\u202egnp.exe", "." * 300, "con", "~root", "%2e%2e/a"),
    *("$(touch owned)", "`id`", "';drop table--", "<script>", "photo.png/../../x", "\ud7ff" * 50),
)
HOSTS = (
    *("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "10.0.0.1", "192.168.0.1", "172.31.255.1"),
    *("169.254.169.254", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1"),
    *("[64:ff9b::7f00:1]", "[fd00:ec2::254]", "100.100.100.200", "①②⑦.⓪.⓪.①", "localhost."),
    *(
        "user:pw@127.0.0.1",
        "127.0.0.1:22",
        "127.0.0.1%2f@a",
        "[::]",
        "224.0.0.1",
        "no-such.invalid",
    ),
)
SCHEMES = ("http", "https", "file", "ftp", "gopher", "dict", "data", "jar", "HTTP", "")
PATHS = ("/", "/latest/meta-data/", "/metrics", "/a.jpg#b", "/\r\nHost: x", "/../etc/passwd")
TYPES = ("image/png", "image/jpeg", "image/svg+xml", "image/x-unknown", "application/octet-stream")
FALSE_TYPES = ("text/html", "application/pdf", "video/mp4", "multipart/mixed; boundary=b", "a", "/")


class Case(NamedTuple):
    """Bytes to send and the accepted statuses; None means no answer."""

    sent: bytes
    expected: frozenset[int | None] = REFUSED


def request(path: str, kind: str, body: bytes, *head: str, length: int | None = None) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body) if length is None else length}",
        *head,
    ]
    return "\r\n".join((*lines, "", "")).encode("utf-8", "surrogatepass") + body


def form(path: str, parts: list[tuple[str, str | None, bytes]]) -> bytes:
    body = b""
    for name, file, data in parts:
        shown = "" if file is None else f'; filename="{file}"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'
        body += head.encode("utf-8", "surrogatepass") + data + b"\r\n"
    body += f"--{BOUNDARY}--\r\n".encode()
    return request(path, f"multipart/form-data; boundary={BOUNDARY}", body)


@cache
def photos() -> dict[str, bytes]:
    with Image.open(SAMPLE) as opened:
        small = opened.convert("RGB").resize((61, 47))
    found = {}
    for format in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        stream = io.BytesIO()
        small.save(stream, format)
        found[format] = stream.getvalue()
    return found


def png(width: int, height: int, data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    all_chunks = [(b"IHDR", head), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in all_chunks
    )


@cache
def bombs() -> list[bytes]:
    """Small files that claim to be large, or decompress to large ones."""
    zeros = zlib.compress(bytes(40_000_000))
    text = b"Comment\0\0" + zlib.compress(b"a" * 50_000_000)
    icc = b"icc\0\0" + zlib.compress(bytes(50_000_000))
    giant_gif = photos()["GIF"][:6] + struct.pack("<HH", 65535, 65535) + photos()["GIF"][10:]
    giant_bmp = bytearray(photos()["BMP"])
    giant_bmp[18:26] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
    found = [
        png(2**31 - 1, 2**31 - 1, zeros[:1000]),
        png(20_000, 20_000, zeros),
        png(3000, 4000, zeros),
        png(61, 47, b"", (b"zTXt", text)),
        png(61, 47, zeros[:100], (b"iCCP", icc)),
        giant_gif,
        bytes(giant_bmp),
        b"P6 99999 99999 255\n" + bytes(100),
    ]
    for format, side in (("WEBP", 4000), ("TIFF", 5000), ("JPEG", 6000), ("GIF", 5000)):
        stream = io.BytesIO()
        options = {"compression": "tiff_adobe_deflate"} if format == "TIFF" else {}
        Image.new("L", (side, side)).save(stream, format, **options)
        found.append(stream.getvalue())
    return [bomb for bomb in found if len(bomb) < MAX_BODY]


Rng = np.random.Generator


def pick(rng: Rng, things: tuple[str, ...] | list[bytes]) -> str | bytes:
    return things[rng.integers(len(things))]


def target(rng: Rng) -> str:
    return TARGETS[rng.integers(3)]


def sent_as(rng: Rng, data: bytes) -> bytes:
    """A request with data as a photo, in one of the forms that the server accepts."""
    path = target(rng)
    way = rng.integers(3)
    if path == "/v1.0/removebg" and way == 0:
        body = json.dumps({"image_file_b64": base64.b64encode(data).decode()})
        return request(path, "application/json", body.encode())
    if path != "/v1.0/removebg" and way == 1:
        return request(path, str(pick(rng, TYPES)), data)
    return form(path, [(FIELDS[path], "a.png", data)])


def bomb(rng: Rng) -> Case:
    return Case(sent_as(rng, bytes(pick(rng, bombs()))))  # type: ignore[arg-type]


def truncated(rng: Rng) -> Case:
    names = ("JPEG", "PNG", "WEBP", "BMP")
    data = photos()[names[rng.integers(len(names))]]
    return Case(sent_as(rng, data[: int(rng.uniform(0.05, 0.8) * len(data))]))


def nothing(rng: Rng) -> Case:
    return Case(sent_as(rng, b""))


def noise(rng: Rng) -> Case:
    head = (
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBP",
        b"<svg",
        b"%PDF-",
        b"PK",
    )
    return Case(sent_as(rng, head[rng.integers(len(head))] + rng.bytes(int(rng.integers(1, 3000)))))


def lie(rng: Rng) -> Case:
    """A request with a false Content-Type: an image type for other data, or the reverse."""
    if rng.random() < 0.5:
        texts = (b"<html>", b"#!/bin/sh\ntouch owned", b"{}", b"GIF89a;<?php", b"\0" * 500)
        path = ("/api/matte", "/api/remove")[rng.integers(2)]
        return Case(request(path, str(pick(rng, TYPES)), texts[rng.integers(len(texts))]))
    return Case(request(target(rng), str(pick(rng, FALSE_TYPES)), photos()["JPEG"]))


def tricky_name(rng: Rng) -> Case:
    """A complete photo with a name that tries to lead out of the folder."""
    parts: list[tuple[str, str | None, bytes]] = [
        ("image", str(pick(rng, TRICKS)).replace('"', ""), photos()["PNG"]) for _ in range(2)
    ]
    return Case(form("/api/batch", parts), frozenset((200, 400)))


def tricky_option(rng: Rng) -> Case:
    trick = str(pick(rng, TRICKS)).encode("utf-8", "surrogatepass")
    name = ("background", "subject", "save", "format", "margin", "framing", "../x")
    parts = [("image", "a.png", photos()["PNG"]), (name[rng.integers(len(name))], None, trick)]
    return Case(form("/api/matte", parts))


def forbidden_url(rng: Rng) -> Case:
    scheme, host, path = (str(pick(rng, things)) for things in (SCHEMES, HOSTS, PATHS))
    body = json.dumps({"image_url": f"{scheme}://{host}{path}"}).encode()
    return Case(request("/v1.0/removebg", "application/json", body))


def too_much(rng: Rng) -> Case:
    size = MAX_BODY + int(rng.integers(1, 100_000))
    if rng.random() < 0.5:
        return Case(request("/api/matte", "image/png", b"x" * 100, length=size * 1000))
    chunk = b"186a0\r\n" + bytes(100_000) + b"\r\n"
    head = request("/api/matte", "image/png", b"").replace(
        b"Content-Length: 0", b"Transfer-Encoding: chunked"
    )
    return Case(head + chunk * (size // 100_000 + 1) + b"0\r\n\r\n")


def broken_off(rng: Rng) -> Case:
    data = request("/api/matte", "image/png", photos()["PNG"])
    return Case(data[: int(rng.integers(1, len(data)))], frozenset((None, *REFUSED)))


def broken_form(rng: Rng) -> Case:
    body = form("/api/matte", [("image", "a.png", photos()["PNG"])]).partition(b"\r\n\r\n")[2]
    cut = body[: int(rng.integers(0, 100))]
    body = cut if rng.random() < 0.5 else body.replace(b"name=", b"n=")
    form_data, b = "multipart/form-data", f"boundary={BOUNDARY}"
    kinds = (
        *(form_data, f"{form_data};", f"{form_data}; boundary=", f"{form_data}; {b}"),
        *(f"{form_data}; boundary={'b' * 5000}", f"{form_data}; {b}; charset=undefined"),
    )
    return Case(request(target(rng), kinds[rng.integers(len(kinds))], body))


def many_parts(rng: Rng) -> Case:
    number = int(rng.integers(120, 400))
    file = "a" if rng.random() < 0.5 else None
    return Case(form(target(rng), [("image", file, b"x")] * number))


def broken_json(rng: Rng) -> Case:
    bodies = (
        *(b"[" * 50_000, b"{", b"null", b"[]", b'"a"', b"\xff\xfe", b"{}", b'{"size": {}}'),
        *(b'{"image_file_b64": "' + b"A" * 5000 + b'"}', b'{"image_file_b64": 1e999}', b"9" * 9999),
        *(b'{"image_file_b64": "\\ud800"}', b'{"__proto__": "a"}', b'{"image_url": "http://"}'),
    )
    return Case(request("/v1.0/removebg", "application/json", bodies[rng.integers(len(bodies))]))


def broken_head(rng: Rng) -> Case:
    post = b"POST /api/matte HTTP/1.1\r\nHost: localhost\r\n"
    both = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    heads = (
        b"GET\r\n\r\n",
        b"\0" * 50 + b"\r\n\r\n",
        b"POST /api/matte HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"POST /api/matte HTTP/1.1\r\n\r\n",
        post + b"Content-Length: -1\r\n\r\n",
        post + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        post + both,
        post.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        post + b"Transfer-Encoding: what\r\n\r\n",
        post + b"A: b\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"PUT /api/matte HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"DELETE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    )
    return Case(heads[rng.integers(len(heads))])


KINDS: tuple[Callable[[Rng], Case], ...] = (
    *(bomb, truncated, nothing, noise, lie, tricky_name, tricky_option, forbidden_url),
    *(too_much, broken_off, broken_form, many_parts, broken_json, broken_head),
)


def case_of(seed: int, number: int) -> tuple[str, Case]:
    rng = np.random.default_rng([seed, number])
    kind = KINDS[number % len(KINDS)]
    return kind.__name__, kind(rng)


def ask(port: int, sent: bytes) -> tuple[int | None, bytes]:
    """Status and body of the answer; None if the connection ends without one."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=2 * SECONDS) as connection:
        with suppress(OSError):  # it has heard enough, and may have answered
            connection.sendall(sent)
        with suppress(ConnectionError, TimeoutError):  # what is missing then is found out later
            while not whole(answer) and (piece := connection.recv(1 << 16)):
                answer += piece
    status = re.match(rb"HTTP/1\.1 (\d+)", answer)
    return (int(status[1]) if status else None), answer.partition(b"\r\n\r\n")[2]


def whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(end and length and len(body) >= int(length[1]))


def judge(port: int, seed: int, number: int) -> tuple[str, int | None, float, str]:
    """Kind, status, seconds and a description of the failure, if any."""
    kind, case = case_of(seed, number)
    start = perf_counter()
    if case.expected >= {None}:
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
            connection.sendall(case.sent)
        return kind, None, perf_counter() - start, ""
    status, body = ask(port, case.sent)
    seconds = perf_counter() - start
    wrong = ""
    if status not in case.expected:
        wrong = f"status {status}: {body[:200]!r}"
    elif status == 200:
        wrong = harmful(body)
    elif kind != "broken_head" and not is_one_line(body):
        wrong = f"no error of one line: {body[:200]!r}"
    if seconds > SECONDS:
        wrong += f" {seconds:.1f} s"
    return kind, status, seconds, wrong


def is_one_line(body: bytes) -> bool:
    try:
        found = json.loads(body)
    except ValueError:
        return False
    if list(found) == ["errors"]:  # remove.bg's form
        return [list(error) for error in found["errors"]] == [["title", "code"]]
    return list(found) == ["error"] and "\n" not in found["error"]


def harmful(body: bytes) -> str:
    """Names in a ZIP that would lead out of a folder."""
    try:
        with zipfile.ZipFile(io.BytesIO(unchunked(body))) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError):
        return f"no whole zip, {len(body)} bytes, which end in {body[-40:]!r}"
    bad = [name for name in names if set(name) & set('/\\:\0\r\n<>"|?*') or name.startswith(".")]
    return f"names in the zip: {bad}" if bad or len(names) != len(set(names)) else ""


def unchunked(body: bytes) -> bytes:
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found, body = found + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--case", type=int, help="only this one")
    args = parser.parse_args()
    with TemporaryFile("w+") as log:  # a pipe that nobody reads would fill, and hold the server up
        process = subprocess.Popen(
            [sys.executable, "-m", *SERVER], stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            wrong = run(process, args)
        finally:
            process.terminate()
            process.communicate(timeout=30)
        log.seek(0)
        bugs = [line for line in log if '"level": "info"' not in line]
    print("\n".join(bugs[:20]))
    print(f"{len(bugs)} errors in the log, exit code {process.returncode}")
    sys.exit(wrong > 0 or bool(bugs) or process.returncode != 0)


def run(process: subprocess.Popen[str], args: argparse.Namespace) -> int:
    assert process.stdout
    url = process.stdout.readline().strip()
    port = int(url.rpartition(":")[2])
    while (
        ask(port, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[0] != 200
    ):
        time.sleep(0.05)
    before = healthy(url, process.pid)
    cases = range(args.cases) if args.case is None else [args.case]
    start, statuses, slowest, wrong = perf_counter(), Counter[str](), (0.0, 0, ""), 0
    with ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda number: judge(port, args.seed, number), cases)
        for number, (kind, status, seconds, trouble) in zip(cases, results, strict=True):
            statuses[str(status)] += 1
            slowest = max(slowest, (seconds, number, kind))
            if trouble:
                wrong += 1
                print(f"case {number}, {kind}: {trouble}")
    after = healthy(url, process.pid)
    print(
        f"seed {args.seed}, {len(cases)} cases in {perf_counter() - start:.0f} s, 4 at a time:"
        f" {dict(sorted(statuses.items()))}, {wrong} wrong; slowest {slowest[0]:.2f} s"
        f" (case {slowest[1]}, {slowest[2]});"
        f" memory {before:.0f} MB before, {after:.0f} MB after; the server is alive"
    )
    return wrong


def healthy(url: str, pid: int) -> float:
    """Request a cut-out, and return the server's memory in MB."""
    headers = {"Content-Type": "image/jpeg"}
    post = urllib.request.Request(f"{url}/api/matte", SAMPLE.read_bytes(), headers)
    with urllib.request.urlopen(post) as answer, Image.open(io.BytesIO(answer.read())) as image:
        assert image.mode == "RGBA"
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
