"""Exported networks on disk: a model file and its sidecar, checked against each other."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from latefusion.errors import LatefusionError, WeightsError
from latefusion.images.framing import LARGEST, Letterbox, Size, check_side, into, letterbox
from latefusion.images.regular import read_regular
from latefusion.schema import brief, is_shallow, read_entries

FORMAT = "latefusion/2"
LAZY: Final = "lazy"  # the export target of a network in two files
OPENCV: Final = "opencv"  # of a network for OpenCV: in two files, or in one of fixed size
WRITE_UP: Final = "write-up"  # that of a network for the write-up's C++ program
DYNAMIC = "dynamic"  # the sidecar's size of a network that takes any
LEAST_REACH = (4, 6)  # smallest Reach of any preset: inside an image, and at its border
PACKAGED = Path(__file__).parents[1] / "weights" / "lite.onnx"
KERAS = (".h5", ".hdf5")
KERAS_MODEL = ".keras"
BUILT_IN = PACKAGED.stem  # the name that stands for the packaged files


@dataclass(frozen=True)
class ModelFile:
    """An exported network, read and checked.

    `size` is the fixed input size (H, W), or None for a network that takes all multiples of 32.
    `side` is the default longer side of its input. `card` is the parsed sidecar. `fusion` is the
    fusion network of a network in two files, whose `data` holds the two branches only. `text` is
    the graph as text, without its weights, where an export has it.
    """

    path: Path
    data: bytes
    target: str
    input_name: str
    size: Size | None
    side: int
    card: dict[str, Any]
    fusion: bytes | None = None
    text: bytes | None = None

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


@dataclass(frozen=True)
class Entries:
    """The entries of a sidecar that running its network needs."""

    target: str
    sha256: str
    input: dict[str, Any]
    bytes: int | None = None
    fusion: dict[str, Any] | None = None


@dataclass(frozen=True)
class Input:
    """The entry `input` of a sidecar: a fixed size (H, W), or DYNAMIC with the default side."""

    name: str
    size: str | tuple[int, ...]
    side: int | None = None


def fusion_file(path: Path) -> Path:
    """Return the path of the fusion network that belongs to `path`: mine.fusion.onnx."""
    return path.with_suffix(".fusion.onnx")


def text_file(path: Path) -> Path:
    """Return the path of the text that belongs to a graph for the write-up's program: lfm.pbtxt."""
    return path.with_suffix(".pbtxt")


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


def refuse_keras(path: Path) -> None:
    """Raise WeightsError for a file of Keras, of which only import-keras reads the weights."""
    refuse_keras_model(path)
    if path.suffix.lower() in KERAS:
        made = path.with_suffix(".safetensors")
        raise WeightsError(
            f"{path} holds Keras weights; make a checkpoint of them first:"
            f" latefusion import-keras {path} {made}"
        )


def refuse_keras_model(path: Path) -> None:
    """Raise WeightsError for a whole model in the newer format of Keras, which is not read."""
    if path.suffix.lower() == KERAS_MODEL:
        weights = path.with_suffix(".h5")
        raise WeightsError(
            f"{path} is a whole Keras model; save it there as .h5, model.save('{weights.name}'),"
            f" and make a checkpoint of that: latefusion import-keras {weights} NAME.safetensors"
        )


def read_model(path: Path) -> ModelFile:
    """Read an exported .onnx or .pb file and check it against its sidecar, the .json of its name.

    Raises WeightsError.
    """
    refuse_keras(path)
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
        _check_whole(path, data)
        if found.target == LAZY or "fusion" in card:
            fusion = _read(fusion_file(path), "it is the second half of the network")
            _check_sum(fusion_file(path), fusion, card["fusion"], sidecar)
            _check_whole(fusion_file(path), fusion)
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


def _check_whole(path: Path, data: bytes) -> None:
    """Refuse an .onnx file that names another file for its data, which OpenCV would read."""
    if path.suffix == ".onnx" and b"location" in data:  # the key of such a name; exports have none
        raise WeightsError(f"{path} has parts in other files, which are not read; export again")


def _check_reach(reach: Any) -> None:
    """Check that the reach is two even numbers of pixels: features are at half the resolution."""
    for side, least in zip(reach, LEAST_REACH, strict=True):
        if type(side) is not int or not least <= side <= LARGEST or side % 2:
            raise ValueError(f"invalid reach {reach}")


def read_json(text: str | bytes) -> Any:
    """Parse JSON that is as flat as in the files of this package. Raises ValueError."""
    try:
        found = json.loads(text)
    except RecursionError:
        found = None
        shallow = False
    else:
        shallow = is_shallow(found)
    if not shallow:
        raise ValueError("too many lists in lists")
    return found


def _parse(text: bytes, sidecar: Path) -> dict[str, Any]:
    try:
        card = read_json(text)
    except ValueError as error:
        raise WeightsError(f"{sidecar} is not valid JSON ({error}); export again") from None
    written_as = card.get("format") if isinstance(card, dict) else None
    if written_as is None:
        raise WeightsError(f"{sidecar} is not a sidecar of latefusion; export again")
    if written_as != FORMAT:
        raise WeightsError(
            f"{sidecar} has the format {brief(written_as)}; this version reads {FORMAT}, so export"
            " again"
        )
    assert isinstance(card, dict)
    return card


def _model(path: Path, data: bytes, card: dict[str, Any]) -> ModelFile:
    entries = read_entries(Entries, card)
    given = read_entries(Input, card["input"])
    if isinstance(given.size, str):
        if given.size != DYNAMIC or given.side is None:
            raise ValueError(f"unknown input size {given.size!r}")
        size, side = None, check_side(given.side)
    else:
        height, width = (check_side(length) for length in given.size)
        size, side = (height, width), max(height, width)
    return ModelFile(path, data, entries.target, given.name, size, side, card)


def _read(file: Path, cure: str) -> bytes:
    try:
        return read_regular(file)
    except OSError as error:
        raise WeightsError(f"{file} cannot be read: {error.strerror}; {cure}") from None
