"""Photos from the web, for servers that were told --allow-urls: public addresses only."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import h11

from latefusion.server.refusals import RefusedError

PORTS = {"http": 80, "https": 443}
REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 3
SECONDS = 15  # for all of it
PIECE = 64 * 1024
AGENT = "latefusion"

# Addresses that lead to others: IPv4 within IPv6 that Python does not unwrap.
TUNNELS = tuple(
    ipaddress.ip_network(net)
    for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet, and not one that leads elsewhere."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return is_public(str(ip.ipv4_mapped))
        if any(ip in net for net in TUNNELS) or ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


@dataclass(frozen=True)
class Gate:
    """Where a fetch may go."""

    allows: Callable[[str], bool] = is_public  # an address
    ports: tuple[int, ...] = tuple(PORTS.values())


OPEN_INTERNET = Gate()


async def fetch(url: str, most: int, gate: Gate = OPEN_INTERNET) -> bytes:
    """What lies at a URL, of at most that many bytes. Raises RefusedError.

    Every address, also of a redirect, is resolved once, checked, and connected to itself, so that a
    name cannot mean another one when it counts.
    """
    try:
        return await asyncio.wait_for(_follow(url, most, gate), SECONDS)
    except asyncio.TimeoutError:
        raise _refused(f"did not arrive within {SECONDS} s") from None
    except (OSError, ssl.SSLError, h11.RemoteProtocolError, asyncio.IncompleteReadError):
        raise _refused("cannot be fetched; check the address") from None


async def _follow(url: str, most: int, gate: Gate) -> bytes:
    for _ in range(MOST_REDIRECTS + 1):
        target = _parsed(url, gate)
        async with _response(target, await _address(target, gate)) as (response, pieces):
            if response.status_code not in REDIRECTS:
                return await _whole(response, pieces, most)
            location = dict(response.headers).get(b"location", b"").decode("latin-1")
        url = urljoin(url, location)
    raise _refused(f"redirects more than {MOST_REDIRECTS} times")


def _parsed(url: str, gate: Gate) -> SplitResult:
    try:
        target = urlsplit(url)
        port = target.port or PORTS.get(target.scheme)
        host = (target.hostname or "").encode("idna").decode()
    except ValueError:
        raise _refused("is not one") from None
    if target.scheme not in PORTS or not host or not url.isprintable() or " " in url:
        raise _refused("is not one of http or https")
    if target.username is not None or target.password is not None:
        raise _refused("holds a password; leave it out")
    if port not in gate.ports:
        raise _refused(f"names port {port}; use {' or '.join(map(str, gate.ports))}")
    return target


async def _address(target: SplitResult, gate: Gate) -> str:
    """The first of the host's addresses, if all are allowed. Raises RefusedError."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.hostname, _port(target), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _refused("names a host that is not found") from None
    addresses = [str(where[0]) for *_, where in found]
    if not addresses or not all(gate.allows(address) for address in addresses):
        raise _refused("leads to an address that is not public")
    return addresses[0]


def _port(target: SplitResult) -> int:
    return target.port or PORTS[target.scheme]


@asynccontextmanager
async def _response(
    target: SplitResult, address: str
) -> AsyncIterator[tuple[h11.Response, AsyncIterator[bytes]]]:
    """The answer of the host at that very address."""
    secure = target.scheme == "https"
    reader, writer = await asyncio.open_connection(
        address,
        _port(target),
        ssl=ssl.create_default_context() if secure else None,
        server_hostname=target.hostname if secure else None,
    )
    try:
        connection = h11.Connection(h11.CLIENT)
        writer.write(connection.send(_request(target)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        event = await _next(connection, reader)
        while isinstance(event, h11.InformationalResponse):
            event = await _next(connection, reader)
        if not isinstance(event, h11.Response):
            raise _refused("gives no answer")
        yield event, _pieces(connection, reader)
    finally:
        writer.close()


def _request(target: SplitResult) -> h11.Request:
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    host = target.netloc.encode("idna").decode()
    headers = [
        ("Host", host),
        ("User-Agent", AGENT),
        ("Accept", "image/*"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ]
    try:
        return h11.Request(method="GET", target=path.encode("ascii"), headers=headers)
    except (UnicodeError, h11.LocalProtocolError):
        raise _refused("holds characters that have to be escaped") from None


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(PIECE))
    return event


async def _pieces(connection: h11.Connection, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while isinstance(event := await _next(connection, reader), h11.Data):
        yield bytes(event.data)


async def _whole(response: h11.Response, pieces: AsyncIterator[bytes], most: int) -> bytes:
    if response.status_code != 200:
        raise _refused(f"answers with status {response.status_code}")
    found = bytearray()
    async for piece in pieces:
        found += piece
        if len(found) > most:
            raise RefusedError(413, f"what lies at image_url is larger than {most / 1e6:g} MB")
    return bytes(found)


def _refused(what: str) -> RefusedError:
    return RefusedError(400, f"image_url {what}")
