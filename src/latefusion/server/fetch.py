"""Download of photos from public addresses, for servers started with --allow-urls."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore2

from latefusion.server.addresses import is_public
from latefusion.server.refusals import RefusedError

PORTS = {"http": 80, "https": 443}
REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 3
SECONDS = 15  # for the whole download, with its redirects
HEADERS = (
    (b"User-Agent", b"latefusion"),
    (b"Accept", b"image/*"),
    (b"Accept-Encoding", b"identity"),
    (b"Connection", b"close"),
)


@dataclass(frozen=True)
class Gate:
    """The addresses and ports that a download may connect to."""

    allows: Callable[[str], bool] = is_public  # takes an IP address
    ports: tuple[int, ...] = tuple(PORTS.values())


OPEN_INTERNET = Gate()


async def fetch(url: str, most: int, gate: Gate = OPEN_INTERNET) -> bytes:
    """Download the content of a URL, at most `most` bytes. Raises RefusedError.

    The host of the URL and of each redirect is resolved once. Its addresses are checked, and the
    connection is made to a checked address, so that a later DNS answer cannot redirect it (DNS
    rebinding). Proxies named by environment variables are ignored.
    """
    try:
        return await asyncio.wait_for(_follow(url, most, gate), SECONDS)
    except asyncio.TimeoutError:
        raise _refused(f"took longer than {SECONDS} s to download") from None
    except (OSError, httpcore2.NetworkError, httpcore2.ProtocolError):
        raise _refused("cannot be downloaded; check the address") from None


async def _follow(url: str, most: int, gate: Gate) -> bytes:
    async with httpcore2.AsyncConnectionPool(network_backend=_CheckedNetwork(gate)) as pool:
        for _ in range(MOST_REDIRECTS + 1):
            target, host = _parsed(url)
            headers = [(b"Host", host), *HEADERS]
            async with pool.stream("GET", target, headers=headers) as response:
                if response.status not in REDIRECTS:
                    return await _whole(response, most)
            url = _redirected(url, response)
    raise _refused(f"redirects more than {MOST_REDIRECTS} times")


class _CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """A network that opens TCP connections only to addresses and ports that the gate allows."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        address = await _address(host, port, self._gate)
        return await self._network.connect_tcp(
            address, port, timeout, local_address, socket_options
        )


async def _address(host: str, port: int, gate: Gate) -> str:
    """Resolve a host to its first address, if all of them are allowed. Raises RefusedError."""
    if port not in gate.ports:
        raise _refused(f"uses port {port}; use {' or '.join(map(str, gate.ports))}")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _refused("has a host that cannot be found; check the address") from None
    addresses = [str(where[0]) for *_, where in found]
    if not addresses or not all(gate.allows(address) for address in addresses):
        raise _refused("leads to an address that is not public; send the photo itself")
    return addresses[0]


def _parsed(url: str) -> tuple[httpcore2.URL, bytes]:
    """Split a URL into its parts as httpcore takes them, and its Host header. RefusedError."""
    try:
        target = urlsplit(url)
        port = target.port or PORTS.get(target.scheme)
        host = (target.hostname or "").encode("idna")
    except ValueError:
        raise _refused("is not a valid URL; use http or https") from None
    if target.scheme not in PORTS or not host or not url.isprintable() or " " in url:
        raise _refused("is not a valid URL of http or https")
    if target.username is not None or target.password is not None:
        raise _refused("contains a user name or password; leave it out")
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    if not path.isascii():
        raise _refused("contains characters outside ASCII; percent-encode them")
    named = b"[%b]" % host if b":" in host else host
    named += b":%d" % target.port if target.port else b""
    return httpcore2.URL(scheme=target.scheme, host=host, port=port, target=path), named


def _redirected(url: str, response: httpcore2.Response) -> str:
    """The URL that a redirect leads to; `url` itself without a Location. Raises RefusedError."""
    headers = {name.lower(): value for name, value in response.headers}
    try:
        return urljoin(url, headers.get(b"location", b"").decode("latin-1"))
    except ValueError:
        raise _refused("redirects to an address that is not a valid URL") from None


async def _whole(response: httpcore2.Response, most: int) -> bytes:
    if response.status != 200:
        raise _refused(f"returns status {response.status} instead of 200")
    found = bytearray()
    async for piece in response.aiter_stream():
        found += piece
        if len(found) > most:
            raise RefusedError(413, f"the photo at image_url is larger than {most / 1e6:g} MB")
    return bytes(found)


def _refused(what: str) -> RefusedError:
    return RefusedError(400, f"image_url {what}")
