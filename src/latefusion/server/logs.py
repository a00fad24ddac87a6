"""The log: one line of JSON for each request and event, without file names, addresses or images."""

import json
import logging
import time
from collections import Counter
from typing import Any

LOG = logging.getLogger("latefusion.serve")
APART = 1.0  # seconds between two lines about one condition


def say(event: str, **facts: object) -> None:
    """Log an event with its facts, which must be JSON values."""
    LOG.info(event, extra={"facts": facts})


def warn(event: str, **facts: object) -> None:
    """Log a condition that an operator should know of; see Seldom."""
    LOG.warning(event, extra={"facts": facts}, stacklevel=2)


class Seldom(logging.Filter):
    """Filter that lets a warning or error through once a second, with the number of those held."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[object, ...], float] = {}
        self._held: Counter[tuple[object, ...]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell conditions apart by the line of code that logs them and the type of the error."""
        if record.levelno < logging.WARNING:
            return True
        error = record.exc_info[0] if record.exc_info else None
        condition = (record.name, record.pathname, record.lineno, error)
        if record.created - self._last.get(condition, -APART) < APART:
            self._held[condition] += 1
            return False
        self._last[condition] = record.created
        held = self._held.pop(condition, 0)
        if held:
            record.facts = {**getattr(record, "facts", {}), "repeated": held}
        return True


class JsonLines(logging.Formatter):
    """Formatter that writes each record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line; a traceback becomes a string in it."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": JsonLines}},
    "filters": {"seldom": {"()": Seldom}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["seldom"]},
    },
    "loggers": {
        "latefusion.serve": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "python_multipart": {"level": "CRITICAL"},  # its errors are sent to the client
        # The server logs its own start and stop, and invalid requests would flood the log.
        "uvicorn": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
    },
}
