"""Exported networks on disk: a model file and its sidecar, checked against each other."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from latefusion.errors import LatefusionError, WeightsError
from latefusion.images.framing import LARGEST, Letterbox, Size, check_side, into, letterbox

FORMAT = "latefusion/2"
LAZY: Final = "lazy"  # the export target of a network in two files
DYNAMIC = "dynamic"  # the sidecar's size of a network that takes any
LEAST_REACH = (4, 6)  # smallest Reach of any preset: inside an image, and at its border
PACKAGED = Path(__file__).parents[1] / "weights" / "lite.onnx"
BUILT_IN = PACKAGED.stem  # the name that stands for the packaged files


@dataclass(frozen=True)
class ModelFile:
    """An exported network, read and checked.

    `size` is the fixed input size (H, W), or None for a network that takes all multiples of 32.
    `side` is the default longer side of its input. `card` is the parsed sidecar. `fusion` is the
    fusion network of a network in two files, whose `data` holds the two branches only.
    """

    path: Path
    data: bytes
    target: str
    input_name: str
    size: Size | None
    side: int
    card: dict[str, Any]
    fusion: bytes | None = None

    def frame(self, photo: Size, side: int | None = None) -> Letterbox:
        """Place a photo in the network's input; `side` overrides the sidecar's longer side.

        Raises WeightsError for a `side` that differs from a network's fixed size.
        """
        if self.size is None:
            return letterbox(photo, side or self.side)
        if side not in (None, self.side):
            height, width = self.size
            raise WeightsError(
                f"{self.path} takes {height} x {width} (H x W) only, not a longer side of {side}; "
                "leave out the size, or export with --size dynamic"
            )
        return into(photo, self.size)


def fusion_file(path: Path) -> Path:
    """Return the path of the fusion network that belongs to `path`: mine.fusion.onnx."""
    return path.with_suffix(".fusion.onnx")


def packaged(path: Path, ending: str) -> Path:
    """The packaged file with that ending for the name `lite`; any other path as it is.

    Raises WeightsError for a file that this installation does not have.
    """
    if str(path) != BUILT_IN:
        return path
    found = PACKAGED.with_suffix(ending)
    if not found.is_file():
        cure = "only a clone of latefusion has it, so install with pip install -e there"
        raise WeightsError(f"{found.name} is not in this installation; {cure}")
    return found


def read_model(path: Path) -> ModelFile:
    """Read an exported .onnx or .pb file and check it against its sidecar, the .json of its name.

    Raises WeightsError.
    """
    if path.suffix not in (".onnx", ".pb"):
        raise WeightsError(
            f"{path} is not an .onnx or .pb file; create one with `latefusion export`"
        )
    data = _read(path, "give the path of an exported file")
    sidecar = path.with_suffix(".json")
    card = _parse(_read(sidecar, "an exported file needs its sidecar beside it"), sidecar)
    try:
        found = _model(path, data, card)
        _check_sum(path, data, card, sidecar)
        if found.target == LAZY:
            fusion = _read(fusion_file(path), "it is the second half of the network")
            _check_sum(fusion_file(path), fusion, card["fusion"], sidecar)
            _check_reach(card["fusion"]["reach"])
            found = replace(found, fusion=fusion)
    except WeightsError:
        raise
    except (
        *(ValueError, OverflowError, KeyError, TypeError, AttributeError),
        LatefusionError,
    ) as error:
        raise WeightsError(f"{sidecar} is a damaged sidecar ({error!r}); export again") from None
    return found


def _check_sum(path: Path, data: bytes, entry: dict[str, Any], sidecar: Path) -> None:
    length, sha256 = entry.get("bytes", len(data)), entry["sha256"]
    if (length, sha256) != (len(data), hashlib.sha256(data).hexdigest()):
        raise WeightsError(
            f"{path} does not match its sidecar {sidecar.name} (sha256); copy both again"
        )


def _check_reach(reach: Any) -> None:
    """Check that the reach is two even numbers of pixels: features are at half the resolution."""
    for side, least in zip(reach, LEAST_REACH, strict=True):
        if type(side) is not int or not least <= side <= LARGEST or side % 2:
            raise ValueError(f"invalid reach {reach}")


def _parse(text: bytes, sidecar: Path) -> dict[str, Any]:
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{sidecar} is not valid JSON ({error}); export again") from None
    written_as = card.get("format") if isinstance(card, dict) else None
    if written_as is None:
        raise WeightsError(f"{sidecar} is not a sidecar of latefusion; export again")
    if written_as != FORMAT:
        raise WeightsError(
            f"{sidecar} has the format {written_as}; this version reads {FORMAT}, so export again"
        )
    assert isinstance(card, dict)
    return card


def _model(path: Path, data: bytes, card: dict[str, Any]) -> ModelFile:
    given = card["input"]
    if given["size"] == DYNAMIC:
        size, side = None, check_side(int(given["side"]))
    else:
        height, width = (check_side(int(length)) for length in given["size"])
        size, side = (height, width), max(height, width)
    return ModelFile(path, data, str(card["target"]), str(given["name"]), size, side, card)


def _read(file: Path, cure: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise WeightsError(f"{file} cannot be read: {error.strerror}; {cure}") from None
