"""Limits on bytes, pixels, photos and seconds of a request."""

from dataclasses import dataclass

from latefusion.images.formats import COMMON
from latefusion.server.refusals import RefusedError

MB = 1_000_000
HEAD_SECONDS = 10  # for the head of a request, and for the rest of a body that was refused
BODY_SECONDS = 30  # for the body of a request
STALLED_SECONDS = 30  # for a client to read a piece of the response
PIECE = 256 * 1024  # bytes of the response that are sent at a time
BATCH_BODIES = 8  # size of a batch's body, as a multiple of Limits.body
BATCH_PHOTOS = 100  # photos of a batch
READING = 6  # the time limit of a photo, as a multiple of that of reading it
HELD_BODIES = 16  # bodies and responses of all open requests, as a multiple of Limits.body
FETCHES = 8  # downloads at a time
FIELDS = 40  # fields of a form
NAME_LETTERS = 200  # of the name of a field
TEXT_LETTERS = 10_000  # of a field that is not a photo in base64
PARSES = 1  # large texts at a time; parsing them in threads holds up the event loop now and then


@dataclass(frozen=True)
class Limits:
    """The limits that are options of `latefusion serve`."""

    body: int = 32 * MB  # bytes of a request with one photo
    pixels: int = 50_000_000  # of a photo, and of a background image
    seconds: float = 60  # for a photo, from entering the queue until it is done
    queue: int = 64  # photos that wait for a worker
    formats: frozenset[str] = COMMON  # of photos, as Pillow names them

    @property
    def reading(self) -> float:
        """Seconds in which a photo must be read."""
        return self.seconds / READING

    @property
    def batch_body(self) -> int:
        """Bytes of the body of a batch."""
        return BATCH_BODIES * self.body

    @property
    def held(self) -> int:
        """Bytes of the bodies and responses of all open requests; above it no body is read."""
        return HELD_BODIES * self.body


def overfull() -> RefusedError:
    """The error for a body that finds no room beside those of other requests."""
    message = "the bodies of other requests fill the memory; retry in 5 s"
    return RefusedError(429, message, {"Retry-After": "5"})


def too_large(most: int) -> RefusedError:
    """The error for a body of more than `most` bytes."""
    return RefusedError(413, f"the body is larger than the limit of {most / MB:g} MB")
