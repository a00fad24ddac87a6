"""The log: one line of JSON for each request and event, without file names, addresses or images."""

import json
import logging
import time
from typing import Any

LOG = logging.getLogger("latefusion.serve")


def say(event: str, **facts: object) -> None:
    """Log an event with its facts, which must be JSON values."""
    LOG.info(event, extra={"facts": facts})


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
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "json"},
    },
    "loggers": {
        "latefusion.serve": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "python_multipart": {"level": "CRITICAL"},  # its errors are sent to the client
        # The server logs its own start and stop, and invalid requests would flood the log.
        "uvicorn": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
    },
}
