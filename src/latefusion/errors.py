"""The errors a user can cause; a message names the thing, what is wrong and what would be right."""

import re
from pathlib import Path


class LatefusionError(Exception):
    """Root of all errors raised on purpose; anything else that escapes is a bug."""


class ImageError(LatefusionError):
    """A photo, alpha or background cannot be read, or has a form that is not understood."""


class SizeError(ImageError):
    """A photo has more pixels than are accepted."""


class VideoError(LatefusionError):
    """A clip cannot be read, or not to its end."""


class WeightsError(LatefusionError):
    """A weight file or its sidecar is missing, damaged, or made for something else."""


class DataError(LatefusionError):
    """Data to train or measure with are missing or do not fit together."""


class OutputError(LatefusionError):
    """A result cannot be written."""


class TrainingError(LatefusionError):
    """A training run cannot start or cannot go on."""


class DeviceError(LatefusionError):
    """The device that was asked for is not there."""


def shown(name: str | Path) -> str:
    """A file's name, or any text, as it may stand in a one-line message: it can hold a newline."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in str(name)
    )


def reason(error: BaseException) -> str:
    """Why something failed, in one line and without the file's name, which the message has."""
    text = getattr(error, "strerror", None) or str(error)  # OSError's, and PyAV's
    return shown(" ".join(text.split())) or type(error).__name__


def one_line(message: str) -> str:
    """The message without control characters, which a file name may hold."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", message)
