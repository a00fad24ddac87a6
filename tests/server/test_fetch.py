"""Photos from the web: only from where everybody may go."""

import asyncio
import datetime
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from latefusion.server import fetch as module
from latefusion.server.fetch import Gate, fetch
from latefusion.server.refusals import RefusedError

LOOPBACK = "127.0.0.1"


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
        ("http://168.63.129.16/machine?comp=goalstate", "not public"),
        ("http://192.0.0.192/opc/v1/instance/", "not public"),
        ("http://[64:ff9b::a83f:8110]/", "not public"),
        ("http://①②⑦.0.0.1/", "not public"),
        ("http://127.0.0.1:8080/", "port 8080"),
        ("http://example.com:22/", "port 22"),
        ("file:///etc/passwd", "http or https"),
        ("ftp://example.com/", "http or https"),
        ("gopher://127.0.0.1/", "http or https"),
        ("//127.0.0.1/", "http or https"),
        ("http:///a", "http or https"),
        ("http://me:secret@127.0.0.1/", "password"),
        ("http://127.0.0.1\r\nX: y/", "is not a valid URL"),
        ("http://example.com/\r\nX: y", "http or https"),
        ("http://[::1/", "is not a valid URL"),
        ("http://a:b/", "is not a valid URL"),
        ("http://" + "a" * 300 + "/", "not"),
        ("", "http or https"),
    ],
)
def test_urls_that_are_not_fetched(url: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as refused:
        asyncio.run(fetch(url, 1000))
    assert refused.value.status == 400


class Pages(http.server.BaseHTTPRequestHandler):
    """/photo is one; /to?URL leads elsewhere; /loop to itself; /large has no end, nor has /slow."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers["Host"])
        path, _, target = self.path.partition("?")
        if path in ("/to", "/loop"):
            self.send_response(302)
            self.send_header("Location", target or "/loop")
            self.end_headers()
            return
        self.send_response(200 if path in ("/photo", "/large", "/slow") else 404)
        self.end_headers()
        if path == "/slow":
            self.drip()
            return
        for _ in range(1 if path == "/photo" else 50):
            self.wfile.write(b"photo" if path == "/photo" else bytes(1000))

    def drip(self) -> None:
        """A byte now and then, until the client is gone."""
        with suppress(ConnectionError):
            for _ in range(200):
                self.wfile.write(b".")
                time.sleep(0.05)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def pages() -> Iterator[int]:
    Pages.seen.clear()
    with http.server.ThreadingHTTPServer((LOOPBACK, 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def fetched(port: int, path: str, origin: str = "http://localhost") -> bytes:
    """Through a gate that lets this one server of the tests be reached, and nothing else."""
    gate = Gate(lambda address: address == LOOPBACK, (port,))
    return asyncio.run(fetch(f"{origin}:{port}{path}", 10_000, gate))


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
        ("/to?http://[", "redirects to an address that is not a valid URL"),
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


def test_a_name_is_resolved_once_and_its_checked_address_is_connected_to(
    pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup, asked = socket.getaddrinfo, []

    def rebinding(host: Any, *args: Any, **options: Any) -> Any:
        if host not in (b"rebinding.test", "rebinding.test"):
            return lookup(host, *args, **options)
        asked.append(host)
        return lookup(LOOPBACK if len(asked) == 1 else "127.0.0.2", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert fetched(pages, "/photo", "http://rebinding.test") == b"photo"
    assert len(asked) == 1
    with pytest.raises(RefusedError, match="not public"):
        fetched(pages, "/photo", "http://rebinding.test")
    asked.clear()
    with pytest.raises(RefusedError, match="not public"):  # a redirect is resolved anew
        fetched(pages, "/to?/photo", "http://rebinding.test")


def test_one_address_that_is_not_public_is_enough(
    pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup = socket.getaddrinfo

    def both(_: Any, *args: Any, **options: Any) -> Any:
        return lookup(LOOPBACK, *args, **options) + lookup("127.0.0.2", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(RefusedError, match="not public"):
        fetched(pages, "/photo", "http://two.test")


def test_the_whole_exchange_has_a_time(pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However steadily bytes arrive."""
    monkeypatch.setattr(module, "SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises(RefusedError, match=r"took longer than 0.5 s"):
        fetched(pages, "/slow")
    assert time.monotonic() - start < 5


def test_no_proxy_of_the_environment_is_used(pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert fetched(pages, "/photo") == b"photo"


def test_a_url_with_characters_that_have_to_be_escaped_is_refused(pages: int) -> None:
    with pytest.raises(RefusedError, match="percent-encode"):
        fetched(pages, "/ph\u00f6to")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for localhost that it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(pem, *plain) + built.public_bytes(pem))
    return path


@pytest.fixture(scope="module")
def secure_pages(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with http.server.ThreadingHTTPServer((LOOPBACK, 0), Pages) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_https_is_fetched_from_who_proves_the_name(
    secure_pages: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RefusedError, match="cannot be downloaded"):
        fetched(secure_pages, "/photo", "https://localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetched(secure_pages, "/photo", "https://localhost") == b"photo"
    with pytest.raises(RefusedError, match="cannot be downloaded"):
        fetched(secure_pages, "/photo", f"https://{LOOPBACK}")
