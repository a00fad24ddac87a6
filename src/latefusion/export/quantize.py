"""INT8 quantisation of an export for lazy fusion, kept only if it is accurate and faster.

This is ONNX Runtime's static quantisation: convolutions in QDQ form, weights in int8 per channel,
activations in uint8. Published INT8 files of other tools are often broken without anyone noticing,
so this one must stay within limits on photos with known alphas and be faster on this processor.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latefusion.data.sources import Pair, decode_pair
from latefusion.errors import WeightsError
from latefusion.export.files import TARGETS, check_name, write_model
from latefusion.export.graphs import simplified
from latefusion.export.sidecar import sums
from latefusion.metrics import mad
from latefusion.runtime.model_file import LAZY, ModelFile, read_model
from latefusion.runtime.planes import SEAM
from latefusion.runtime.runtimes import OnnxNetwork

MAD_ROOM = 0.002  # accepted growth of the mean MAD
PHOTO_ROOM = 0.01  # accepted growth of the MAD of any photo
# Name parts of the convolutions that stay in float: those before a sigmoid, and those of a few rows
# of pixels.
KEPT = ("heads", "head", "edges", "phases")

Feed = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Verdict:
    """The effect of quantisation: mean MAD before and after, the worst photo, the speed-up."""

    photos: int
    mad: float
    mad_int8: float
    worst: str
    worst_growth: float
    speed: float  # time before / time after

    def refusal(self) -> str | None:
        """A message with the figures and the limits that they break, or None if they break none."""
        broken = []
        if not self.mad_int8 - self.mad <= MAD_ROOM:  # nan, too
            broken.append(f"{MAD_ROOM} more MAD on average")
        if not self.worst_growth <= PHOTO_ROOM:
            broken.append(f"{PHOTO_ROOM} more on any photo")
        if not self.speed > 1:
            broken.append("faster than before")
        if not broken:
            return None
        return (
            f"MAD grows from {self.mad:.4f} to {self.mad_int8:.4f}, that of {self.worst} by"
            f" {self.worst_growth:.4f}; {self.speed:.2f} times as fast on this processor"
            f" (limits broken: {', '.join(broken)})"
        )


def quantize(source: Path, pairs: Sequence[Pair], out: Path, calibration: int = 16) -> Verdict:
    """Quantise an export for lazy fusion and write all INT8 files, or none if a limit is broken.

    The ranges of activations come from `calibration` pairs spread evenly over `pairs`, the verdict
    from all pairs. Raises WeightsError, with the figures if a limit is broken, and OutputError.
    """
    model = read_model(source)
    if model.fusion is None:
        raise WeightsError(f"{source} is not an export for lazy fusion; export with --target lazy")
    check_name(out, TARGETS[LAZY])
    if out.resolve() == source.resolve():
        raise WeightsError(f"{out} is the source itself; use {source.stem}-int8.onnx")
    if calibration < 1:
        raise WeightsError(f"calibration {calibration} is too few photos; use 1 or more")
    if not pairs:
        raise WeightsError("no pairs to calibrate and measure on; give at least one")
    # Pairs are ordered by source, so even spacing takes photos of all sources.
    places = np.linspace(0, len(pairs) - 1, min(calibration, len(pairs))).round()
    spread = [pairs[int(place)] for place in places]
    branches, fusion = _feeds(model, spread)
    data = _in_int8(model.data, branches)
    blend = _in_int8(model.fusion, fusion)
    card = model.card | sums(data) | {"half": False, "fusion": model.card["fusion"] | sums(blend)}
    made = replace(model, path=out, data=data, fusion=blend, card=card)
    verdict = judge(model, made, pairs)
    refusal = verdict.refusal()
    if refusal:
        raise WeightsError(f"no INT8 files of {source} were written: {refusal}")
    write_model(replace(made, card=card | {"int8": asdict(verdict)}))
    return verdict


def judge(before: ModelFile, after: ModelFile, pairs: Sequence[Pair]) -> Verdict:
    """Compare two networks on the same photos in turns; MAD is at the photos' own size."""
    networks = OnnxNetwork(before), OnnxNetwork(after)
    errors: list[tuple[float, float]] = []
    seconds: list[tuple[float, float]] = []
    for turn, pair in enumerate(pairs):
        image, truth = decode_pair(pair)
        frame = before.frame((image.shape[0], image.shape[1]))
        given = _as_input(frame.fit(image))
        found, times = [0.0, 0.0], [0.0, 0.0]
        for which in (turn % 2, 1 - turn % 2):  # alternate which network goes first
            start = perf_counter()
            planes = networks[which](given)
            times[which] = perf_counter() - start
            alpha = frame.restore(planes.alpha)
            found[which] = mad(alpha, (truth / 255).astype(np.float32))
        errors.append((found[0], found[1]))
        seconds.append((times[0], times[1]))
    growth = [after - before for before, after in errors]
    worst = int(np.argmax(growth))
    mean, mean_int8 = np.mean(errors, axis=0).tolist()
    speed = median(one for one, _ in seconds) / median(other for _, other in seconds)
    return Verdict(len(pairs), mean, mean_int8, pairs[worst].key, growth[worst], speed)


def _as_input(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def _feeds(model: ModelFile, pairs: Sequence[Pair]) -> tuple[list[Feed], list[Feed]]:
    """The inputs of the branches and of the fusion network for these photos."""
    images, fused = _recorded(OnnxNetwork(model), pairs)
    return images, fused or _recorded(OnnxNetwork(model, epsilon=0), pairs)[1]


def _recorded(network: OnnxNetwork, pairs: Sequence[Pair]) -> tuple[list[Feed], list[Feed]]:
    model = network.model
    fused: list[Feed] = []
    blend = network.blend

    def recorded(seam: Any) -> NDArray[np.float32]:
        fused.append(dict(zip(SEAM, seam, strict=True)))
        return blend(seam)

    network.blend = recorded  # type: ignore[method-assign]
    images = []
    for pair in pairs:
        image, _ = decode_pair(pair)
        given = _as_input(model.frame((image.shape[0], image.shape[1])).fit(image))
        network(given)
        images.append({model.input_name: given})
    return images, fused


def _in_int8(data: bytes, feeds: Sequence[Feed]) -> bytes:
    """The network with INT8 convolutions, whose ranges are calibrated on the given inputs."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, given: Iterator[Feed]) -> None:
            self.given = given

        def get_next(self) -> Feed | None:
            return next(self.given, None)

    graph = simplified(onnx.load_from_string(data))
    kept = [
        node.name for node in graph.graph.node if any(part in KEPT for part in node.name.split("/"))
    ]
    with TemporaryDirectory(prefix="latefusion-") as folder:
        given, made = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        given.write_bytes(graph.SerializeToString())
        with _quiet():
            quantize_static(
                given,
                made,
                Reader(iter(feeds)),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                op_types_to_quantize=["Conv"],
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                reduce_range=True,  # otherwise 16-bit sums overflow on processors without VNNI
                nodes_to_exclude=kept,
            )
        return made.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the root logger, on which ONNX Runtime advises a step that was already taken."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
