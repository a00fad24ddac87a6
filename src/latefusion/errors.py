"""Errors that a user can cause; a message names the thing, what is wrong and what is right."""

import re
from pathlib import Path


class LatefusionError(Exception):
    """Base class of all errors raised on purpose; any other exception is a bug."""


class ImageError(LatefusionError):
    """A photo, alpha or background cannot be read, or has an unsupported format or shape."""


class SizeError(ImageError):
    """A photo has more pixels than allowed."""


class VideoError(LatefusionError):
    """A clip cannot be read, or ends early."""


class WeightsError(LatefusionError):
    """A weight file or its sidecar is missing, damaged, or made for something else."""


class DataError(LatefusionError):
    """Data to train or measure with are missing or do not fit together."""


class OutputError(LatefusionError):
    """A result cannot be written."""


class TrainingError(LatefusionError):
    """A training run cannot start or continue."""


class DeviceError(LatefusionError):
    """The requested device is not available."""


def install_hint(extra: str) -> str:
    """The cure for a missing extra; latefusion is on no registry, so it comes from a clone."""
    return f"run pip install -c constraints.txt '.[{extra}]' in a clone of latefusion"


def shown(name: str | Path) -> str:
    """Escape the unprintable characters of a file name or text, for a one-line message."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in str(name)
    )


def reason(error: BaseException) -> str:
    """Return the cause of an error in one line, without the file's name."""
    text = getattr(error, "strerror", None) or str(error)  # OSError's, and PyAV's
    return shown(" ".join(text.split())) or type(error).__name__


def one_line(message: str) -> str:
    """Escape what does not print in a message, as `shown` does, but make line ends and tabs spaces.

    File names can contain both, and a terminal obeys control characters.
    """
    return shown(re.sub(r"[\t-\r]+", " ", message))
