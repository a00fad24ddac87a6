"""Export: a checkpoint becomes one model file and its sidecar, tried before either is kept."""

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch

from latefusion.errors import OutputError, WeightsError, reason
from latefusion.export.graphs import (
    INPUT,
    Named,
    dynamic_graph,
    fixed_graph,
    lazy_graphs,
    store_half,
)
from latefusion.export.tensorflow import frozen_graph
from latefusion.images.framing import Size, check_side
from latefusion.images.reading import read_photo
from latefusion.images.writing import whole_file
from latefusion.inference.golden import SAMPLE, made_up
from latefusion.model.checkpoint import load_network, read_notes
from latefusion.model.complexity import SIZE, cost, preset_of
from latefusion.model.folded import INNER
from latefusion.model.matting import REACH, MattingNetwork
from latefusion.runtime.model_file import DYNAMIC, FORMAT, LAZY, ModelFile, fusion_file
from latefusion.runtime.planes import OUTPUTS
from latefusion.runtime.runtimes import Network, OnnxNetwork, in_opencv
from latefusion.training.stages import Stage, stage_of

TOLERANCE = 1e-3  # every output in the file's own runtime against PyTorch
LONGEST_TEXT = 4000  # bytes; OpenCV's reader of the sidecar ends at 4096
LEAST_SIDE = 64  # OpenCV 4.7 to 4.14 err in depthwise convolutions of maps that are 1 pixel high
UNSTATED = "not stated; they follow from the data that the weights were trained on"


@dataclass(frozen=True)
class Target:
    """What a file is made for: its suffix and format, and the runtime that tries it."""

    suffix: str
    encode: Callable[[onnx.ModelProto], bytes]
    runtime: Callable[[ModelFile], Network]
    fixed: bool


TARGETS = {
    LAZY: Target(
        ".onnx", onnx.ModelProto.SerializeToString, partial(OnnxNetwork, epsilon=0), fixed=False
    ),
    "onnx": Target(".onnx", onnx.ModelProto.SerializeToString, OnnxNetwork, fixed=False),
    "opencv": Target(".onnx", onnx.ModelProto.SerializeToString, in_opencv, fixed=True),
    "tensorflow": Target(".pb", frozen_graph, in_opencv, fixed=True),
}


@dataclass(frozen=True)
class Wish:
    """How to export: for which target, of which size, with which sidecar.

    `size` (H, W) None is a network of any size, where the target allows it, and else a square of
    `side`. `side` is the longer side that photos are brought to by default, None that of the
    training. `half` stores all large constants in fp16; files for ONNX Runtime hold those in it
    anyway that lose nothing. `card` is added to the sidecar.
    """

    target: str = "onnx"
    size: Size | None = None
    side: int | None = None
    half: bool = False
    card: dict[str, Any] | None = None


def export(source: Path, out: Path, wish: Wish) -> Path:
    """Write the files of an export, `out` and those beside it, for a checkpoint: all or none.

    The file is run in the runtime it is for, on a photo and made-up pictures, and every output
    compared with PyTorch's: more than 1e-3 anywhere is a WeightsError. Raises OutputError too.
    """
    target = TARGETS[wish.target]
    check_name(out, target)
    network, notes = load_network(source), read_notes(source)
    wish = _settle(wish, notes, target)
    stage = stage_of(notes, source)
    graph, fusion = _graphs(wish, network, stage, source)
    wish = replace(wish, half=_store_half(wish, graph, fusion))
    data = target.encode(graph)
    facts = _facts(wish, graph, notes) | {"preset": preset_of(network)}
    facts |= cost(network, wish.size or SIZE)
    facts |= sums(data) | {"checkpoint": _sha256(source.read_bytes())}
    blend = fusion and target.encode(fusion)
    if blend:
        facts["fusion"] = {"reach": [INNER, REACH], **sums(blend)}
    card = _about(notes, wish.card or {}) | facts
    side = max(wish.size) if wish.size else wish.side or 0
    model = ModelFile(out, data, wish.target, INPUT, wish.size, side, card, blend)
    check(model, target.runtime(model), Named(network, stage).eval())
    write_model(model)
    return out


def _graphs(
    wish: Wish, network: MattingNetwork, stage: Stage, source: Path
) -> tuple[onnx.ModelProto, onnx.ModelProto | None]:
    """The graph, or that of the branches and that of the fusion network."""
    if wish.target == LAZY:
        if not stage.fuses:
            raise WeightsError(
                f"the fusion network of {source} is not trained yet; use --target onnx"
            )
        return lazy_graphs(network)
    if wish.size:
        return fixed_graph(Named(network, stage).eval(), wish.size), None
    return dynamic_graph(network, stage), None


def _store_half(wish: Wish, *graphs: onnx.ModelProto | None) -> bool:
    """Whether anything was. OpenCV 4.6 reads no half precision, so there it has to be asked for."""
    if wish.size and not wish.half:
        return False
    stored = [store_half(graph.graph, lossy=wish.half) for graph in graphs if graph]
    return any(stored)


def write_model(model: ModelFile) -> None:
    """All files of a model, or none; the second half of an older one of two files goes."""
    text = json.dumps(model.card, indent=2, ensure_ascii=False) + "\n"
    parts = {model.path.with_suffix(".json"): text.encode(), model.path: model.data}
    if model.fusion:
        parts = {fusion_file(model.path): model.fusion, **parts}
    for path in parts:
        if path.is_dir():  # which only the renaming would tell, when others were renamed already
            raise OutputError(f"{path} is a folder; give the export another name")
    stale = fusion_file(model.path) if not model.fusion and _owns_fusion(model.path) else None
    with ExitStack() as files:
        for path, content in reversed(parts.items()):
            files.enter_context(whole_file(path)).write(content)
    if stale:
        try:
            stale.unlink()
        except OSError as error:
            raise OutputError(
                f"{stale} is of an older export; delete it ({reason(error)})"
            ) from None


def _owns_fusion(path: Path) -> bool:
    """Whether the second half beside an exported file is that of its sidecar."""
    try:
        card = json.loads(path.with_suffix(".json").read_bytes())
        return bool(card["fusion"]["sha256"] == _sha256(fusion_file(path).read_bytes()))
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return False


def _settle(wish: Wish, notes: dict[str, str], target: Target) -> Wish:
    """With side and size where they were left to the checkpoint and the target."""
    side = check_side(wish.side) if wish.side else _noted_side(notes, wish.size)
    size = wish.size or ((side, side) if target.fixed else None)
    if size and target.fixed and min(size) < LEAST_SIDE:
        raise OutputError(
            f"{size[0]} x {size[1]} is too small for OpenCV, which computes such a network wrongly;"
            f" use {LEAST_SIDE} or more on both sides"
        )
    return replace(wish, side=side, size=size)


def _noted_side(notes: dict[str, str], size: Size | None) -> int:
    """The longer side of `size`, or else that of the training."""
    if size:
        return max(size)
    noted = notes.get("input_side", "512")
    try:
        return check_side(int(noted))
    except ValueError:
        raise WeightsError(
            f"the checkpoint notes a side of {_shortened(noted, 40)!r}, no number; give --side"
        ) from None


def check_name(out: Path, target: Target) -> None:
    """Refuse a name that would replace what is no export of this kind. Raises OutputError."""
    if out.suffix != target.suffix:
        right = out.parent / f"{out.stem.strip('.') or 'model'}{target.suffix}"
        raise OutputError(f"{out} does not end in {target.suffix}; use {right}")
    if out.is_dir():
        raise OutputError(f"{out} is a folder; name a file in it")
    if out.stem.endswith(".fusion"):
        raise OutputError(f"{out} is a name for the second half of an export; leave out .fusion")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{out} cannot be written: is there a folder {out.parent} to write to?")
    for other in {kind.suffix for kind in TARGETS.values()} - {target.suffix}:
        if out.with_suffix(other).exists():
            raise OutputError(
                f"{out.with_suffix('.json')} is the sidecar of {out.with_suffix(other).name}; "
                "give the export another name"
            )
    sidecar = out.with_suffix(".json")
    if sidecar.is_file() and not _is_sidecar(sidecar):
        raise OutputError(
            f"{sidecar} would be replaced, and it is no sidecar; give the export another name"
        )
    fusion = fusion_file(out)
    if target is TARGETS[LAZY] and fusion.exists() and not _owns_fusion(out):
        raise OutputError(
            f"{fusion} would be replaced, and it is not of {out.name}; give the export another name"
        )


def _is_sidecar(path: Path) -> bool:
    """Whether a file may be replaced by a new sidecar: an older one of any version."""
    try:
        card = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(card, dict) and str(card.get("format")).startswith(FORMAT.split("/")[0])


def default_target(source: Path, size: Size | None) -> Literal["lazy", "onnx"]:
    """`lazy`, or `onnx` for one size and where the fusion network is not trained. WeightsError."""
    return LAZY if size is None and stage_of(read_notes(source), source).fuses else "onnx"


def read_card(path: Path) -> dict[str, Any]:
    """A JSON object for the sidecar. Raises WeightsError for anything else."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is no readable JSON: {error}") from error
    if not isinstance(card, dict):
        raise WeightsError(f"{path} holds no JSON object; give one with training, dev and terms")
    _check_plain(path, card)
    return card


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _check_plain(path: Path, value: object) -> None:
    """Refuse what OpenCV's reader of JSON, which the C++ program uses, cannot take."""
    if value is None:
        raise WeightsError(f"{path} holds null, which OpenCV cannot read; leave the entry out")
    if isinstance(value, str) and _plain(value) != value:
        raise WeightsError(f"{path}: {value!r} has control characters; leave them out")
    if isinstance(value, str) and len(value.encode()) > LONGEST_TEXT:
        raise WeightsError(f"{path}: a text of more than {LONGEST_TEXT} bytes; make it shorter")
    if isinstance(value, dict):
        for name in value:
            if not re.fullmatch(r"\w[^\"\\]*", name):
                raise WeightsError(f"{path}: {name!r} is no name that OpenCV reads; use a word")
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for inner in value:
            _check_plain(path, inner)


def _plain(text: str) -> str:
    """Without control characters but the white space, and without halves of characters."""
    return "".join(c if c.isspace() or unicodedata.category(c) not in "CcCs" else " " for c in text)


def check(model: ModelFile, network: Network, named: Named) -> None:
    """Run the file in its runtime and PyTorch; WeightsError where an output differs."""
    for photo in (read_photo(SAMPLE).image, made_up((203, 151)), made_up((83, 301))):
        height, width = photo.shape[:2]
        pixels = model.frame((height, width)).fit(photo)
        image = pixels.transpose(2, 0, 1)[None]
        with torch.inference_mode():
            expected = named(torch.from_numpy(image))
        found = network(image)
        for name, plane in zip(OUTPUTS, expected, strict=True):
            worst = float(np.abs(getattr(found, name) - plane[0, 0].numpy()).max())
            if not worst <= TOLERANCE:
                cure = ", or leave --half off" if model.card["half"] else ""
                raise WeightsError(
                    f"{name} of the exported network differs from PyTorch by {worst:.2g} at "
                    f"{image.shape[2]} x {image.shape[3]}; at most {TOLERANCE:.0e} is accepted, "
                    f"nothing was kept; report it{cure}"
                )


def _facts(wish: Wish, graph: onnx.ModelProto, notes: dict[str, str]) -> dict[str, Any]:
    """What a reader of the file must know: format, input and outputs."""
    of_size = {"size": list(wish.size)} if wish.size else {"size": DYNAMIC, "side": wish.side}
    readers = {"opencv": "4.7" if wish.half else "4.6"} if wish.size else {}
    return {
        "format": FORMAT,
        "target": wish.target,
        "stage": notes.get("stage", "joint"),
        "input": {
            "name": INPUT,
            "layout": "NCHW",
            "channels": "RGB",
            "range": [0, 255],
            "multiple": 32,
            **of_size,
        },
        "outputs": [output.name for output in graph.graph.output],
        "opset": graph.opset_import[0].version,
        "half": wish.half,
        **readers,
    }


def _about(notes: dict[str, str], card: dict[str, Any]) -> dict[str, Any]:
    """Training and terms, from the checkpoint's notes where the given card says nothing of them."""
    kept = ("data", "step", "val_mad", "val_iou")
    noted = {key: _shortened(notes[key]) for key in kept if key in notes}
    return {"training": noted, "terms": _shortened(notes.get("terms", UNSTATED))} | card


def _shortened(text: str, length: int = LONGEST_TEXT) -> str:
    """As much of a note as OpenCV's reader of the sidecar takes, or `length` bytes of it."""
    text = _plain(text)
    whole = text.encode()
    cut = whole[: length - 3].decode(errors="ignore")
    return text if len(whole) <= length else f"{cut}..."


def sums(data: bytes) -> dict[str, Any]:
    """What a sidecar says of its file."""
    return {"bytes": len(data), "sha256": _sha256(data)}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
