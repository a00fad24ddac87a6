"""Export: a checkpoint in, a model file and its sidecar out, verified before either is kept."""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from latefusion.errors import OutputError, WeightsError, reason
from latefusion.export.graphs import (
    INPUT,
    Named,
    dynamic_graph,
    fixed_graph,
    lazy_graphs,
    sizeless_graphs,
    store_half,
    write_up_graph,
)
from latefusion.export.sidecar import about, sha256_of, shortened, sums
from latefusion.export.tensorflow import frozen_graph, graph_text
from latefusion.images.framing import Size, check_side
from latefusion.images.reading import read_photo
from latefusion.images.regular import read_regular
from latefusion.images.writing import whole_file
from latefusion.inference.golden import SAMPLE, made_up
from latefusion.model.checkpoint import load_network, read_notes
from latefusion.model.complexity import SIZE, cost, preset_of
from latefusion.model.folded import INNER
from latefusion.model.matting import REACH, MattingNetwork
from latefusion.runtime.model_file import (
    DYNAMIC,
    FORMAT,
    LAZY,
    OPENCV,
    WRITE_UP,
    ModelFile,
    fusion_file,
    read_json,
    text_file,
)
from latefusion.runtime.planes import OUTPUTS, WRITE_UP_MEAN
from latefusion.runtime.runtimes import Network, OnnxNetwork, in_opencv
from latefusion.training.stages import Stage, stage_of

Pixels: TypeAlias = NDArray[np.float32]

TOLERANCE = 1e-3  # between any output in the file's own runtime and PyTorch's
LEAST_SIDE = 64  # OpenCV 4.7 to 4.14 miscomputes depthwise convolutions of maps 1 pixel high


@dataclass(frozen=True)
class Target:
    """A kind of exported file: its suffix, its encoding and the runtime that verifies it.

    `fixed` says that the file always takes images of one size only, by default `size`, or a square
    of the training's where that is None. `graph` traces a network of fixed size. `text` makes a
    second file, with the graph as text. `minus` is what the file's program subtracts from an image.
    """

    suffix: str
    encode: Callable[[onnx.ModelProto], bytes]
    runtime: Callable[[ModelFile], Network]
    fixed: bool
    size: Size | None = None
    graph: Callable[[Named, Size], onnx.ModelProto] = fixed_graph
    text: Callable[[bytes], bytes] | None = None
    minus: tuple[float, ...] | None = None


TARGETS = {
    LAZY: Target(
        ".onnx", onnx.ModelProto.SerializeToString, partial(OnnxNetwork, epsilon=0), fixed=False
    ),
    "onnx": Target(".onnx", onnx.ModelProto.SerializeToString, OnnxNetwork, fixed=False),
    OPENCV: Target(".onnx", onnx.ModelProto.SerializeToString, in_opencv, fixed=False),
    "tensorflow": Target(".pb", frozen_graph, in_opencv, fixed=True),
    WRITE_UP: Target(
        ".pb",
        frozen_graph,
        in_opencv,
        fixed=True,
        size=(640, 960),
        graph=write_up_graph,
        text=graph_text,
        minus=WRITE_UP_MEAN,
    ),
}
# Entries of a sidecar about a file beside the model, and the name of that file.
BESIDE = {"fusion": fusion_file, "text": text_file}


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export.

    `target` is a key of TARGETS. `size` is the input's (H, W) in pixels; None means any size, or
    for a target of fixed size its own, or a square of `side`. `side` is the longer side in pixels
    to which photos are resized by default; None means that of the training. `half` stores all large
    constants in fp16; files for ONNX Runtime always do so with constants that fp16 holds exactly.
    The entries of `card` are added to the sidecar.
    """

    target: str = "onnx"
    size: Size | None = None
    side: int | None = None
    half: bool = False
    card: dict[str, Any] | None = None


def export(source: Path, out: Path, options: ExportOptions) -> Path:
    """Export a checkpoint to `out` and the files beside it, all or none, and return `out`.

    Before that the model runs in its target's runtime, on a photo and synthetic pictures. Raises
    WeightsError if any output differs from PyTorch's by more than 1e-3, and OutputError for a file
    that cannot be written.
    """
    target = TARGETS[options.target]
    check_name(out, target)
    network, notes = load_network(source), read_notes(source)
    options = _settle(options, notes, target)
    stage = stage_of(notes, source)
    graph, fusion = _graphs(options, network, stage, source)
    options = replace(options, half=_store_half(options, graph, fusion))
    data = target.encode(graph)
    facts = _facts(options, graph, notes) | {"preset": preset_of(network)}
    facts |= cost(network, options.size or SIZE)
    facts |= sums(data) | {"checkpoint": sha256_of(source.read_bytes())}
    blend = target.encode(fusion) if fusion else None
    if blend:
        facts["fusion"] = {"reach": [INNER, REACH], **sums(blend)}
    del graph, fusion  # as large as the file
    text = target.text(data) if target.text else None
    if text:
        facts["text"] = sums(text)
    card = about(notes, options.card or {}) | facts
    side = max(options.size) if options.size else options.side or 0
    model = ModelFile(out, data, options.target, INPUT, options.size, side, card, blend, text)
    images = check_images(model)
    expected = [planes_of(Named(network, stage).eval(), image) for image in images]
    del network  # what is left of the memory is for the runtime
    check(model, target.runtime(model), images, expected)
    write_model(model)
    return out


def _graphs(
    options: ExportOptions, network: MattingNetwork, stage: Stage, source: Path
) -> tuple[onnx.ModelProto, onnx.ModelProto | None]:
    """The whole graph and None, or for lazy fusion the graphs of the branches and of the fusion."""
    halves = {LAZY: lazy_graphs, OPENCV: sizeless_graphs}.get(options.target)
    if halves and not options.size:
        if not stage.fuses:
            whole = "--target onnx" if options.target == LAZY else "a fixed --size H,W"
            raise WeightsError(f"the fusion network of {source} is not trained yet; use {whole}")
        return halves(network)
    if options.size:
        trace = TARGETS[options.target].graph
        return trace(Named(network, stage).eval(), options.size), None
    return dynamic_graph(network, stage), None


def _store_half(options: ExportOptions, *graphs: onnx.ModelProto | None) -> bool:
    """Store constants in fp16 and return True if any were."""
    # OpenCV 4.6 cannot read fp16, so only on request.
    if not options.half and (options.size or options.target == OPENCV):
        return False
    stored = [store_half(graph.graph, lossy=options.half) for graph in graphs if graph]
    return any(stored)


def write_model(model: ModelFile) -> None:
    """Write all files of a model or none, and delete what an older export had beside them.

    Raises OutputError.
    """
    card = json.dumps(model.card, indent=2, ensure_ascii=False) + "\n"
    parts = {model.path.with_suffix(".json"): card.encode(), model.path: model.data}
    beside = {"fusion": model.fusion, "text": model.text}
    for kind, content in beside.items():
        if content:
            parts = {BESIDE[kind](model.path): content, **parts}
    for path in parts:
        if path.is_dir():  # renaming would fail on it too, but after other files were renamed
            raise OutputError(f"{path} is a folder; give the export another name")
    stale = [
        BESIDE[kind](model.path)
        for kind, content in beside.items()
        if not content and _owns(model.path, kind)
    ]
    with ExitStack() as files:
        for path, content in reversed(parts.items()):
            files.enter_context(whole_file(path)).write(content)
    for path in stale:
        _delete(path)


def _delete(stale: Path) -> None:
    try:
        stale.unlink()
    except OSError as error:
        raise OutputError(
            f"{stale} belongs to an older export and cannot be deleted ({reason(error)});"
            " delete it yourself"
        ) from None


def _owns(path: Path, kind: str) -> bool:
    """True if the file of that kind, a key of BESIDE, is the one that the sidecar names."""
    try:
        card = read_json(read_regular(path.with_suffix(".json")))
        return bool(card[kind]["sha256"] == sha256_of(read_regular(BESIDE[kind](path))))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _settle(options: ExportOptions, notes: dict[str, str], target: Target) -> ExportOptions:
    """The options with side and size filled in from the checkpoint and the target."""
    side = check_side(options.side) if options.side else _noted_side(notes, options.size)
    own = target.size if options.side is None else None
    size = options.size or own or ((side, side) if target.fixed else None)
    if size and target.runtime is in_opencv and min(size) < LEAST_SIDE:
        raise OutputError(
            f"size {size[0]} x {size[1]} is too small for OpenCV, which miscomputes such a network;"
            f" use {LEAST_SIDE} or more on both sides"
        )
    return replace(options, side=side, size=size)


def _noted_side(notes: dict[str, str], size: Size | None) -> int:
    """The longer side of `size`, or without one that of the training."""
    if size:
        return max(size)
    noted = notes.get("input_side", "512")
    try:
        return check_side(int(noted))
    except ValueError:
        raise WeightsError(
            f"the checkpoint has the input_side {shortened(noted, 40)!r}, which is not a number;"
            " give --side"
        ) from None


def check_name(out: Path, target: Target) -> None:
    """Raise OutputError for a name that cannot be written or would replace an unrelated file."""
    if out.suffix != target.suffix:
        right = out.parent / f"{out.stem.strip('.') or 'model'}{target.suffix}"
        raise OutputError(f"{out} does not end in {target.suffix}; use {right}")
    if out.is_dir():
        raise OutputError(f"{out} is a folder; name a file in it")
    if out.stem.endswith(".fusion"):
        raise OutputError(f"{out} is the name of an export's fusion file; leave out .fusion")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"{out} cannot be written; {out.parent} must be an existing, writable folder"
        )
    for other in {kind.suffix for kind in TARGETS.values()} - {target.suffix}:
        if out.with_suffix(other).exists():
            raise OutputError(
                f"{out.with_suffix('.json')} is the sidecar of {out.with_suffix(other).name}; "
                "give the export another name"
            )
    sidecar = out.with_suffix(".json")
    if sidecar.is_file() and not _is_sidecar(sidecar):
        raise OutputError(
            f"{sidecar} would be replaced but is not a sidecar; give the export another name"
        )
    for kind, written in (
        ("fusion", target in (TARGETS[LAZY], TARGETS[OPENCV])),
        ("text", target.text is not None),
    ):
        beside = BESIDE[kind](out)
        if written and beside.exists() and not _owns(out, kind):
            raise OutputError(
                f"{beside} would be replaced but does not belong to {out.name}; give the export"
                " another name"
            )


def _is_sidecar(path: Path) -> bool:
    """True if a file is a sidecar, of any version of the format, which may be replaced."""
    try:
        card = read_json(read_regular(path))
    except (OSError, ValueError):
        return False
    return isinstance(card, dict) and str(card.get("format")).startswith(FORMAT.split("/")[0])


def default_target(source: Path, size: Size | None) -> Literal["lazy", "onnx"]:
    """`lazy`, or `onnx` for a fixed size or a checkpoint whose fusion network is not trained yet.

    Raises WeightsError for an unreadable checkpoint.
    """
    return LAZY if size is None and stage_of(read_notes(source), source).fuses else "onnx"


def check_images(model: ModelFile) -> list[Pixels]:
    """A photo and two synthetic pictures as the model takes them, each (1, 3, H, W)."""
    photos = (read_photo(SAMPLE).image, made_up((203, 151)), made_up((83, 301)))
    return [model.frame(photo.shape[:2]).fit(photo).transpose(2, 0, 1)[None] for photo in photos]


def planes_of(named: Named, image: Pixels) -> list[Pixels]:
    """The outputs for an image (1, 3, H, W) in PyTorch, each (H, W)."""
    with torch.inference_mode():
        return [plane[0, 0].numpy() for plane in named(torch.from_numpy(image))]


def check(
    model: ModelFile, network: Network, images: list[Pixels], expected: list[list[Pixels]]
) -> None:
    """Run the model in its runtime; raise WeightsError if an output differs from PyTorch's.

    PyTorch has run before: both at once would take gigabytes more for the paper's network.
    """
    for image, planes in zip(images, expected, strict=True):
        found = network(image)
        for name, plane in zip(OUTPUTS, planes, strict=True):
            worst = float(np.abs(getattr(found, name) - plane).max())
            if not worst <= TOLERANCE:
                cure = "; leave --half off" if model.card["half"] else "; report this as a bug"
                raise WeightsError(
                    f"{name} of the exported network differs from PyTorch by {worst:.2g} at "
                    f"{image.shape[2]} x {image.shape[3]}, more than {TOLERANCE:.0e}, "
                    f"so nothing was written{cure}"
                )


def _facts(options: ExportOptions, graph: onnx.ModelProto, notes: dict[str, str]) -> dict[str, Any]:
    """The sidecar's entries about the file itself: format, input and outputs."""
    of_size = (
        {"size": list(options.size)} if options.size else {"size": DYNAMIC, "side": options.side}
    )
    for_opencv = options.size or options.target == OPENCV
    readers = {"opencv": "4.7" if options.half else "4.6"} if for_opencv else {}
    minus = TARGETS[options.target].minus
    return {
        "format": FORMAT,
        "target": options.target,
        "stage": notes.get("stage", "joint"),
        "input": {
            "name": INPUT,
            "layout": "NCHW",
            "channels": "RGB",
            "range": [0, 255],
            **({"minus": list(minus)} if minus else {}),
            "multiple": 32,
            **of_size,
        },
        "outputs": [output.name for output in graph.graph.output],
        "opset": graph.opset_import[0].version,
        "half": options.half,
        **readers,
    }
