"""Errors of a request, and their responses: a status and a one-line message as JSON."""

from collections.abc import Mapping

import cv2
from starlette.responses import JSONResponse

from latefusion.errors import DeviceError, LatefusionError, SizeError, WeightsError, reason
from latefusion.images.reader_pool import ReaderError

GONE = 499  # nginx's status for a client that disconnected; it appears in the log only


class RefusedError(LatefusionError):
    """A request is refused with an HTTP status, a message and, if given, headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class GoneError(Exception):
    """The client disconnected or its time limit has passed, so the work is abandoned."""


# The first match counts. Any other error is a bug, answered with 500.
STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (ReaderError, 503),
    (SizeError, 413),
    (MemoryError, 413),
    (WeightsError, 500),
    (DeviceError, 500),
    (LatefusionError, 400),
    (cv2.error, 400),
)
ERRORS = tuple(kind for kind, _ in STATUSES)
# remove.bg's errors have a code; the first two are its own.
REMOVEBG = "/v1.0/"
REMOVEBG_CODES = {
    403: "auth_failed",
    429: "rate_limit_exceeded",
    400: "invalid_parameters",
    408: "request_timeout",
    413: "file_too_large",
    415: "unsupported_content_type",
    500: "internal_error",
    503: "unavailable",
    504: "processing_timeout",
}
NO_MEMORY = "not enough memory for the photo; send a smaller one"


def line_of(error: Exception) -> str:
    """The message for an error, in one line."""
    return NO_MEMORY if isinstance(error, MemoryError) else reason(error)


def answer(error: Exception, path: str) -> JSONResponse:
    """The response to one of ERRORS on a path."""
    if isinstance(error, RefusedError):
        return refuse(error.status, line_of(error), error.headers, path)
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    return refuse(status, line_of(error), path=path)


def refuse(
    status: int, message: str, headers: Mapping[str, str] | None = None, path: str = ""
) -> JSONResponse:
    """The response `{"error": message}` with a status, on paths of remove.bg in its own form.

    Letters that UTF-8 cannot hold, such as a lone half of a surrogate pair, are escaped.
    """
    message = message.encode("utf-8", "backslashreplace").decode()
    if not path.startswith(REMOVEBG):
        return JSONResponse({"error": message}, status, headers)
    status = 403 if status == 401 else status  # remove.bg's for a missing or wrong key
    error = {"title": message, "code": REMOVEBG_CODES.get(status, "invalid_request")}
    return JSONResponse({"errors": [error]}, status, headers)
