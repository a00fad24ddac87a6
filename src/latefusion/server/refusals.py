"""What a request is refused with: a status, and one line as JSON."""

from collections.abc import Mapping

import cv2
from starlette.responses import JSONResponse

from latefusion.errors import DeviceError, LatefusionError, SizeError, WeightsError, reason

GONE = 499  # for the log: nobody is there to be answered


class RefusedError(LatefusionError):
    """A request that is not done, for a reason that the client should know."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class GoneError(Exception):
    """The client went away, or its time was over: nobody waits for the work any more."""


# The first that fits counts; all else is a bug, and a 500.
STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (SizeError, 413),
    (MemoryError, 413),
    (WeightsError, 500),
    (DeviceError, 500),
    (LatefusionError, 400),
    (cv2.error, 400),
)
ERRORS = tuple(kind for kind, _ in STATUSES)
NO_MEMORY = "the photo does not fit into the memory; make it smaller"


def line_of(error: Exception) -> str:
    """What went wrong, in one line."""
    return NO_MEMORY if isinstance(error, MemoryError) else reason(error)


def answer(error: Exception) -> JSONResponse:
    """An error that the client, or a lack of room, has caused, as a response."""
    if isinstance(error, RefusedError):
        return refuse(error.status, line_of(error), error.headers)
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    return refuse(status, line_of(error))


def refuse(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response to a request that is not done."""
    return JSONResponse({"error": message}, status, headers)
