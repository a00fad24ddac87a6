"""Which names the server answers to, and which web pages may send it photos.

Any page in a browser may send requests to a server on the same machine or network. One that may
not is told by its Origin. One whose name leads to the server's address (DNS rebinding) is told by
its Host.
"""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from latefusion.server.refusals import RefusedError, answer

ANY = "*"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Ends of names that nobody can register in the public DNS (RFC 6761, 6762, 8375; ICANN 2024).
PRIVATE_ENDS = (".localhost", ".local", ".internal", ".home.arpa")
STATE = ("/healthz", "/readyz")  # asked by load balancers under any name; they do and tell nothing
WORKING = ("/api/", "/v1.0/")  # prefixes of the routes that take photos
OTHER_SITE = ("cross-site", "same-site")  # in Sec-Fetch-Site, of pages with another origin


@dataclass(frozen=True)
class Callers:
    """The rule for a server that listens on the address `bound`."""

    bound: str = "0.0.0.0"
    hosts: Sequence[str] = ()  # names given by --allowed-host
    origins: Sequence[str] = ()  # given by --cors
    key: bool = False  # True if clients need a key, which no other page has

    def check(self, path: str, headers: Headers) -> None:
        """Raise RefusedError (403) for a name or a page that may not send this request."""
        host = headers.get("host", "")
        if path not in STATE and host and not self.is_own(name_of(host)):
            raise RefusedError(
                403, f"this server does not answer to {name_of(host)[:80]!r}; use --allowed-host"
            )
        if path.startswith(WORKING) and not self.key and self._is_foreign(headers):
            raise RefusedError(
                403, "pages of other origins may not send photos here; allow one with --cors"
            )

    def is_own(self, name: str) -> bool:
        """True if the server answers to a name or an address."""
        if ANY in self.hosts or name in (*LOOPBACK, self.bound.lower(), *self._named):
            return True
        if self.hosts:
            return False
        return self.key or not (is_loopback(self.bound) or _in_public_dns(name))

    @property
    def is_open(self) -> bool:
        """True if everybody in the network may send photos, and nobody said under which name."""
        return not (self.key or self.hosts or is_loopback(self.bound))

    @property
    def _named(self) -> list[str]:
        return [name_of(host) for host in self.hosts]

    def _is_foreign(self, headers: Headers) -> bool:
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if ANY in self.origins or origin in self.origins or site == "same-origin":
            return False
        if origin is None:
            return site in OTHER_SITE
        authority = origin.partition("://")[2].lower()
        if name_of(authority) in self._named:  # a proxy may have changed Host
            return False
        return authority != headers.get("host", "").lower()


def name_of(host: str) -> str:
    """The name or address in a Host header, in lower case, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_loopback(address: str) -> bool:
    """True for addresses that only this machine reaches."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _in_public_dns(name: str) -> bool:
    """True for names with a dot, whose owner may let them lead to any address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        own = socket.gethostname().lower()
        return "." in name and not name.endswith(PRIVATE_ENDS) and name != own
    return False


class Guard:
    """ASGI middleware that refuses what Callers refuses."""

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403."""
        if scope["type"] == "http":
            try:
                self._callers.check(scope["path"], Headers(scope=scope))
            except RefusedError as error:
                await answer(error, scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)
