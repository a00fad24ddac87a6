"""The log: a line of JSON for each request and event, without names, addresses or pictures."""

import json
import logging
import time
from typing import Any

LOG = logging.getLogger("latefusion.serve")


def say(event: str, **facts: object) -> None:
    """Write a line of the log."""
    LOG.info(event, extra={"facts": facts})


class JsonLines(logging.Formatter):
    """Records as JSON, one a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line; a bug's traceback is a text in it."""
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
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "json"},
    },
    "loggers": {
        "latefusion.serve": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "python_multipart": {"level": "CRITICAL"},  # the client hears of it
        # Its start and stop are told by the server itself, and bad requests would flood it.
        "uvicorn": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
    },
}
