"""INT8 files come to be only where they pass the gate, and hold what was judged."""

import shutil
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import ClassVar

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from latefusion import MattingOptions, Predictor
from latefusion.data.sources import Pair, decode_pair, read_pairs
from latefusion.errors import OutputError, WeightsError
from latefusion.export import quantize
from latefusion.export.files import ExportOptions, export
from latefusion.export.quantize import KEPT, Verdict
from latefusion.images.levels import Plane
from latefusion.model.checkpoint import save_network
from latefusion.runtime.lazy import Seam
from latefusion.runtime.model_file import ModelFile, read_model
from latefusion.runtime.planes import Planes
from latefusion.runtime.runtimes import OnnxNetwork
from tests.helpers.toy_network import TOY, add_toy_preset, export_toy, perturbed, write_toy_pairs

GOOD = Verdict(3, 0.1, 0.1015, "02", 0.009, 1.2)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    exports = {"toy.onnx": ExportOptions("lazy", side=96)}
    return export_toy(tmp_path_factory.mktemp("quantize"), lambda: perturbed(TOY), exports)


@pytest.fixture
def model(exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    add_toy_preset(monkeypatch)
    shutil.copytree(exports, tmp_path, dirs_exist_ok=True)
    return tmp_path / "toy.onnx"


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    return read_pairs([write_toy_pairs(tmp_path / "pairs", 3, seed=0)])


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_a_set_that_passes_is_kept_whole(
    model: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = []

    def judge(before: object, after: object, on: list[Pair]) -> Verdict:
        judged.append(quantize_judge(before, after, on))  # type: ignore[arg-type]
        return GOOD

    quantize_judge = quantize.judge
    monkeypatch.setattr(quantize, "judge", judge)
    assert quantize.quantize(model, pairs, model.with_name("int8.onnx")) == GOOD
    made = read_model(model.with_name("int8.onnx"))
    assert made.fusion
    assert made.card["int8"]["mad_int8"] == 0.1015
    assert made.card["checkpoint"] == read_model(model).card["checkpoint"]
    for data in (made.data, made.fusion):
        check_int8(onnx.load_from_string(data).graph)
    assert made.card["half"] is False
    assert judged[0].photos == 3
    assert judged[0].mad == pytest.approx(judged[0].mad_int8, abs=0.05)
    photo = np.random.default_rng(0).integers(0, 256, (70, 96, 3), np.uint8)
    before, after = (
        Predictor(path, MattingOptions(epsilon=0, framing="whole", refine="off"))(photo)
        for path in (model, made.path)
    )
    assert 0 < np.abs(before.alpha - after.alpha).mean() < 0.2  # noise, unlike the pairs


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (Verdict(3, 0.1, 0.1021, "02", 0.009, 1.2), r"0\.002 more MAD on average"),
        (Verdict(3, 0.1, np.nan, "02", np.nan, 1.2), r"0\.002 more .*, 0\.01 more on any photo"),
        (Verdict(3, 0.1, 0.1, "02", 0.0101, 1.2), r"0\.01 more on any photo"),
        (Verdict(3, 0.1, 0.1, "02", 0.0, 0.99), r"faster than before"),
    ],
)
def test_a_set_that_fails_leaves_nothing(
    model: Path,
    pairs: list[Pair],
    monkeypatch: pytest.MonkeyPatch,
    verdict: Verdict,
    reason: str,
) -> None:
    monkeypatch.setattr(quantize, "judge", lambda *_: verdict)
    before = files(model.parent)
    with pytest.raises(
        WeightsError, match=rf"were written: MAD grows .* \(limits broken: {reason}\)"
    ):
        quantize.quantize(model, pairs, model.with_name("int8.onnx"))
    assert files(model.parent) == before


def check_int8(graph: onnx.GraphProto) -> None:
    """Convolutions in QDQ form but for the ones before a sigmoid; weights in seven bits."""
    made_by = {name: node for node in graph.node for name in node.output}
    convs = [node for node in graph.node if node.op_type == "Conv"]
    in_int8 = [
        made_by[conv.input[0]].op_type == "DequantizeLinear"
        for conv in convs
        if conv.input[0] in made_by
    ]
    kept = [
        bool(set(conv.name.split("/")) & set(KEPT)) for conv in convs if conv.input[0] in made_by
    ]
    assert in_int8 == [not keep for keep in kept]
    assert 0 < sum(kept) < len(kept)
    kernels = [
        numpy_helper.to_array(constant)
        for constant in graph.initializer
        if constant.data_type == TensorProto.INT8 and len(constant.dims) == 4
    ]
    assert len(kernels) == sum(in_int8)
    assert max(np.abs(kernel.astype(int)).max() for kernel in kernels) == 64  # not 127


def test_ranges_come_from_photos_of_all_sources(
    model: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Pair] = []

    def feeds(_: object, spread: list[Pair]) -> None:
        asked.extend(spread)
        raise WeightsError("enough")

    monkeypatch.setattr(quantize, "_feeds", feeds)
    many = [replace(pairs[0], key=str(number)) for number in range(31)]
    for count, keys in ((4, "0 10 20 30"), (16, " ".join(map(str, range(0, 31, 2))))):
        asked.clear()
        with pytest.raises(WeightsError, match="enough"):
            quantize.quantize(model, many, model.with_name("int8.onnx"), count)
        assert " ".join(pair.key for pair in asked) == keys


def test_a_network_that_never_doubts_is_calibrated_on_all_tiles(
    model: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    branches = OnnxNetwork.branches

    def agreeing(self: OnnxNetwork, image: NDArray[np.float32]) -> tuple[Plane, Plane, Seam]:
        fg, _, seam = branches(self, image)
        return fg, 1 - fg, seam

    monkeypatch.setattr(OnnxNetwork, "branches", agreeing)
    _, fused = quantize._feeds(read_model(model), pairs)
    assert fused


class Sleeper:
    """A network that takes its time, and says when it is asked."""

    asked: ClassVar[list[str]] = []

    def __init__(self, model: ModelFile) -> None:
        self.name = model.path.stem

    def __call__(self, image: NDArray[np.float32]) -> Planes:
        self.asked.append(self.name)
        sleep(0.02 if self.name == "slow" else 0.001)
        plane = image[0, 0] / 255
        return Planes(plane, plane, 1 - plane, plane)


def test_both_networks_take_turns_and_their_times_are_compared(
    model: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "OnnxNetwork", Sleeper)
    monkeypatch.setattr(Sleeper, "asked", [])
    found = read_model(model)
    slow, fast = (replace(found, path=Path(name)) for name in ("slow.onnx", "fast.onnx"))
    assert quantize.judge(slow, fast, pairs).speed > 2
    assert Sleeper.asked == ["slow", "fast", "fast", "slow", "slow", "fast"]
    assert quantize.judge(fast, slow, pairs).speed < 0.5


def test_the_verdict_is_that_of_the_pairs(model: Path, pairs: list[Pair]) -> None:
    other = model.with_name("other.onnx")
    save_network(other.with_suffix(".safetensors"), perturbed(TOY, seed=1), stage="joint")
    export(other.with_suffix(".safetensors"), other, ExportOptions("lazy", side=96))
    found = quantize.judge(read_model(model), read_model(other), pairs)
    errors = []
    for path in (model, other):
        scores = []
        for pair in pairs:
            image, truth = decode_pair(pair)
            scores.append(
                float(
                    np.abs(
                        Predictor(path, MattingOptions(framing="whole", refine="off"))(image).alpha
                        - truth / 255
                    ).mean()
                )
            )
        errors.append(scores)
    assert found.mad == pytest.approx(np.mean(errors[0]), abs=1e-5)
    assert found.mad_int8 == pytest.approx(np.mean(errors[1]), abs=1e-5)
    growth = np.subtract(errors[1], errors[0])
    assert found.worst == pairs[int(growth.argmax())].key
    assert found.worst_growth == pytest.approx(growth.max(), abs=1e-5)


def test_wrong_use_is_refused(model: Path, pairs: list[Pair], toy_model: Path) -> None:
    out = model.with_name("int8.onnx")
    with pytest.raises(WeightsError, match="is not an export for lazy fusion"):
        quantize.quantize(toy_model, pairs, out)
    with pytest.raises(WeightsError, match=r"is the source itself; use toy-int8\.onnx"):
        quantize.quantize(model, pairs, model)
    model.with_name("card.json").write_text("{}")
    with pytest.raises(OutputError, match=r"card\.json would be replaced"):
        quantize.quantize(model, pairs, model.with_name("card.onnx"))
    with pytest.raises(WeightsError, match="no pairs to calibrate"):
        quantize.quantize(model, [], out)
