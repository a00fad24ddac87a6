"""How much a client may ask for: bytes, pixels, photos, seconds; and bodies read within that."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request

from latefusion.server.refusals import RefusedError

T = TypeVar("T")

MB = 1_000_000
HEAD_SECONDS = 10  # for a request to arrive up to its body, and for what follows a refused one
BODY_SECONDS = 30  # for its body
STALLED_SECONDS = 30  # for a piece of the answer to be taken
PIECE = 256 * 1024  # bytes of an answer at a time
BATCH_BODIES, BATCH_PHOTOS = 8, 100  # of a batch: its body in those of a photo, and its photos
HELD_BODIES = 16  # of all requests together, answers too, in bodies of a photo
FETCHES = 8  # from the web at a time
FIELDS = 40  # of a form
DIGITS = 15  # of a length that can be meant


@dataclass(frozen=True)
class Limits:
    """What `serve` is told of them; the rest stands above."""

    body: int = 32 * MB  # bytes of a request with one photo
    pixels: int = 50_000_000  # of a photo, and of a background
    seconds: float = 60  # for a photo, from when it is taken to when it is done
    queue: int = 64  # photos that wait

    @property
    def batch_body(self) -> int:
        """Bytes of a request with many photos."""
        return BATCH_BODIES * self.body

    @property
    def held(self) -> int:
        """Bytes of the bodies and answers of all open requests; beyond them no body is read."""
        return HELD_BODIES * self.body


def too_large(most: int) -> RefusedError:
    """The refusal of a body of more than `most` bytes."""
    return RefusedError(413, f"the body is larger than the {most / MB:g} MB that are accepted")


async def stream_of(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The body in pieces; one that is too large is refused at its header, or where it gets so."""
    declared = request.headers.get("content-length", "0")
    if len(declared) > DIGITS or not declared.isdecimal() or int(declared) > most:
        raise too_large(most)
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise too_large(most)
        yield piece


async def soon(reading: Awaitable[T]) -> T:
    """What is read of a body, within BODY_SECONDS. Raises RefusedError."""
    try:
        return await asyncio.wait_for(reading, BODY_SECONDS)
    except asyncio.TimeoutError:
        message = f"the body did not arrive within {BODY_SECONDS} s"
        raise RefusedError(408, message, {"Connection": "close"}) from None
