"""HTTP/1.1 read strictly: no request that a proxy in front may cut in another way."""

import h11

TINY = 64  # bytes of a chunk below which it counts as tiny
MOST_TINY = 2000  # of a body; each costs as much time as 64 kB of a large chunk


class StrictConnection(h11.Connection):
    """h11's connection, which also refuses ambiguous lengths and floods of tiny chunks."""

    _tiny = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event. Raises h11.RemoteProtocolError."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._tiny = 0
            _check_length(event)
        elif isinstance(event, h11.Data) and event.chunk_end and len(event.data) < TINY:
            self._tiny += 1
            if self._tiny > MOST_TINY:
                raise h11.RemoteProtocolError("too many tiny chunks")
        return event


def _check_length(request: h11.Request) -> None:
    """Refuse a request whose end can be read in two ways (RFC 9112, section 6.1)."""
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" not in names:
        return
    if b"content-length" in names:
        raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")
    if request.http_version < b"1.1":
        raise h11.RemoteProtocolError("Transfer-Encoding in HTTP/1.0")
