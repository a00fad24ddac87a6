"""Photos from the web: only from where everybody may go."""

import asyncio
import http.server
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from latefusion.server.fetch import Gate, fetch, is_public
from latefusion.server.refusals import RefusedError

LOOPBACK = "127.0.0.1"


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254"),
        *("ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),
        *("64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1", "2001:db8::1"),
        *("::127.0.0.1", "fec0::1"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"]
)
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1/a.jpg", "not public"),
        ("http://localhost/a.jpg", "not public"),
        ("http://2130706433/", "not public"),
        ("http://0x7f.1/", "not public"),
        ("http://017700000001/", "not public"),
        ("http://[::1]/", "not public"),
        ("http://[::ffff:127.0.0.1]/", "not public"),
        ("https://169.254.169.254/latest/meta-data", "not public"),
        ("http://①②⑦.0.0.1/", "not public"),
        ("http://127.0.0.1:8080/", "port 8080"),
        ("http://example.com:22/", "port 22"),
        ("file:///etc/passwd", "http or https"),
        ("ftp://example.com/", "http or https"),
        ("gopher://127.0.0.1/", "http or https"),
        ("//127.0.0.1/", "http or https"),
        ("http:///a", "http or https"),
        ("http://me:secret@127.0.0.1/", "password"),
        ("http://127.0.0.1\r\nX: y/", "is not one"),
        ("http://example.com/\r\nX: y", "http or https"),
        ("http://[::1/", "is not one"),
        ("http://a:b/", "is not one"),
        ("http://" + "a" * 300 + "/", "not"),
        ("", "http or https"),
    ],
)
def test_urls_that_are_not_fetched(url: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as refused:
        asyncio.run(fetch(url, 1000))
    assert refused.value.status == 400


class Pages(http.server.BaseHTTPRequestHandler):
    """/photo is one; /to?URL leads elsewhere; /loop to itself; /large has no end."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers["Host"])
        path, _, target = self.path.partition("?")
        if path in ("/to", "/loop"):
            self.send_response(302)
            self.send_header("Location", target or "/loop")
            self.end_headers()
            return
        self.send_response(200 if path in ("/photo", "/large") else 404)
        self.end_headers()
        for _ in range(1 if path == "/photo" else 50):
            self.wfile.write(b"photo" if path == "/photo" else bytes(1000))

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def pages() -> Iterator[int]:
    Pages.seen.clear()
    with http.server.ThreadingHTTPServer((LOOPBACK, 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def fetched(port: int, path: str) -> bytes:
    """Through a gate that lets this one server of the tests be reached, and nothing else."""
    gate = Gate(lambda address: address == LOOPBACK, (port,))
    return asyncio.run(fetch(f"http://localhost:{port}{path}", 10_000, gate))


def test_a_photo_is_fetched_and_redirects_are_followed(pages: int) -> None:
    assert fetched(pages, "/photo") == b"photo"
    assert fetched(pages, f"/to?http://{LOOPBACK}:{pages}/to?/photo") == b"photo"
    assert Pages.seen[0] == f"localhost:{pages}"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/to?http://127.0.0.2:{port}/photo", "not public"),
        ("/to?http://169.254.169.254:{port}/", "not public"),
        ("/to?http://127.0.0.1:22/", "port 22"),
        ("/to?file:///etc/passwd", "http or https"),
        ("/loop", "redirects more than"),
        ("/nothing", "status 404"),
    ],
)
def test_a_redirect_is_checked_like_the_url(pages: int, path: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        fetched(pages, path.format(port=pages))


def test_a_fetch_is_bounded(pages: int) -> None:
    with pytest.raises(RefusedError, match=r"larger than 0.01 MB") as refused:
        fetched(pages, "/large")
    assert refused.value.status == 413
