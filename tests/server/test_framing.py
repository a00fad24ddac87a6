"""Requests that two servers could cut in two ways, and those that are slow to cut."""

import h11
import pytest

from latefusion.server.framing import MOST_TINY, StrictConnection

POST = b"POST /api/matte HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def events_of(sent: bytes) -> list[h11.Event]:
    connection = StrictConnection(h11.SERVER)
    connection.receive_data(sent)
    found = []
    while isinstance(event := connection.next_event(), h11.Event):
        found.append(event)
    return found


@pytest.mark.parametrize(
    "head",
    [
        POST + b"Content-Length: 5\r\n" + CHUNKED,
        POST + b"tRANSFER-eNCODING: Chunked\r\ncontent-length: 5\r\n",
        POST.replace(b"1.1", b"1.0") + CHUNKED,
    ],
)
def test_a_request_with_two_ends_is_refused(head: bytes) -> None:
    with pytest.raises(h11.RemoteProtocolError):
        events_of(head + b"\r\n0\r\n\r\n")


def test_one_length_is_fine() -> None:
    for head, body in ((b"Content-Length: 5\r\n", b"photo"), (CHUNKED, b"5\r\nphoto\r\n0\r\n\r\n")):
        request, data, end = events_of(POST + head + b"\r\n" + body)
        assert isinstance(request, h11.Request)
        assert isinstance(data, h11.Data)
        assert bytes(data.data) == b"photo"
        assert isinstance(end, h11.EndOfMessage)


def test_tiny_chunks_are_limited_and_larger_ones_are_not() -> None:
    head = POST + CHUNKED + b"\r\n"
    assert len(events_of(head + b"1\r\na\r\n" * MOST_TINY)) == MOST_TINY + 1
    assert len(events_of(head + (b"40\r\n" + b"a" * 64 + b"\r\n") * 2 * MOST_TINY)) > MOST_TINY
    with pytest.raises(h11.RemoteProtocolError, match="tiny"):
        events_of(head + b"1\r\na\r\n" * (MOST_TINY + 1))
