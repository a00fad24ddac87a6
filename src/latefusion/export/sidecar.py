"""The sidecar: the JSON file beside an exported model, limited to what OpenCV can read."""

import hashlib
import json
import re
import unicodedata
from math import isfinite
from pathlib import Path
from typing import Any

from latefusion.errors import WeightsError
from latefusion.images.regular import read_regular
from latefusion.runtime.model_file import read_json

LONGEST_TEXT = 4000  # bytes; OpenCV's JSON reader stops at 4096
UNSTATED = "not stated; they follow from the data that the weights were trained on"


def read_card(path: Path) -> dict[str, Any]:
    """Read a JSON object with entries for the sidecar. Raises WeightsError for anything else."""
    try:
        card = read_json(read_regular(path).decode())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(card, dict):
        raise WeightsError(f"{path} is not a JSON object; give one with training, dev and terms")
    _check_plain(path, card)
    return card


def _check_plain(path: Path, value: object) -> None:
    """Raise WeightsError for a value that OpenCV, which reads it for the C++ program, refuses."""
    if value is None:
        raise WeightsError(f"{path} has a null, which OpenCV cannot read; leave the entry out")
    if isinstance(value, float) and not isfinite(value):
        raise WeightsError(f"{path} is not readable JSON: {json.dumps(value)} is not a number")
    if isinstance(value, str) and _plain(value) != value:
        raise WeightsError(f"{path}: {value!r} has control characters; leave them out")
    if isinstance(value, str) and len(value.encode()) > LONGEST_TEXT:
        raise WeightsError(f"{path} has a text of more than {LONGEST_TEXT} bytes; make it shorter")
    if isinstance(value, dict):
        for name in value:
            if not re.fullmatch(r"\w[^\"\\]*", name):
                raise WeightsError(
                    f"{path}: OpenCV cannot read the name {name!r}; begin it with a letter and"
                    " leave out quotes and backslashes"
                )
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for inner in value:
            _check_plain(path, inner)


def about(notes: dict[str, str], card: dict[str, Any]) -> dict[str, Any]:
    """Training and terms from the checkpoint's notes, overridden by the entries of `card`."""
    kept = ("data", "step", "val_mad", "val_iou")
    noted = {key: shortened(notes[key]) for key in kept if key in notes}
    return {"training": noted, "terms": shortened(notes.get("terms", UNSTATED))} | card


def shortened(text: str, length: int = LONGEST_TEXT) -> str:
    """A text without control characters, cut to `length` bytes of UTF-8."""
    text = _plain(text)
    whole = text.encode()
    cut = whole[: length - 3].decode(errors="ignore")
    return text if len(whole) <= length else f"{cut}..."


def _plain(text: str) -> str:
    """The text with control characters, except white space, and lone surrogates as spaces."""
    return "".join(c if c.isspace() or unicodedata.category(c) not in "CcCs" else " " for c in text)


def sums(data: bytes) -> dict[str, Any]:
    """The sidecar's entries that identify a file: its size in bytes and its SHA-256."""
    return {"bytes": len(data), "sha256": sha256_of(data)}


def sha256_of(data: bytes) -> str:
    """The SHA-256 of the data in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
