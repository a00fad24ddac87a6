"""INT8 files come to be only where they pass the gate, and hold what was judged."""

from pathlib import Path

import numpy as np
import pytest

from latefusion import Predictor, quantize
from latefusion.checkpoint import save_network
from latefusion.data.sources import Pair, read_pairs
from latefusion.errors import WeightsError
from latefusion.export import Wish, export
from latefusion.model_file import read_model
from latefusion.quantize import Verdict
from test_folded import perturbed
from toy_network import TOY, add_toy_preset, write_toy_pairs

GOOD = Verdict(3, 0.1, 0.1015, "02", 0.009, 1.2)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    add_toy_preset(monkeypatch)
    source = tmp_path / "toy.safetensors"
    save_network(source, perturbed(TOY), stage="joint")
    return export(source, tmp_path / "toy.onnx", Wish("lazy", side=96))


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
        assert b"QuantizeLinear" in data
    assert judged[0].photos == 3
    assert judged[0].mad == pytest.approx(judged[0].mad_int8, abs=0.05)
    photo = np.random.default_rng(0).integers(0, 256, (70, 96, 3), np.uint8)
    before, after = (Predictor(path, epsilon=0)(photo) for path in (model, made.path))
    assert 0 < np.abs(before.alpha - after.alpha).mean() < 0.2  # noise, unlike the pairs


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (Verdict(3, 0.1, 0.1021, "02", 0.009, 1.2), r"MAD grows from 0\.1000 to 0\.1021"),
        (Verdict(3, 0.1, 0.1, "02", 0.0101, 1.2), r"MAD of 02 grows by 0\.0101"),
        (Verdict(3, 0.1, 0.1, "02", 0.0, 0.99), r"it is 0\.99 times as fast"),
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
    with pytest.raises(WeightsError, match=f"are not kept: {reason}"):
        quantize.quantize(model, pairs, model.with_name("int8.onnx"))
    assert files(model.parent) == before


def test_wrong_use_is_refused(model: Path, pairs: list[Pair], toy_model: Path) -> None:
    out = model.with_name("int8.onnx")
    with pytest.raises(WeightsError, match="is no export for lazy fusion"):
        quantize.quantize(toy_model, pairs, out)
    with pytest.raises(WeightsError, match=r"is no name for the result; use e\.g\. toy-int8\.onnx"):
        quantize.quantize(model, pairs, model)
    with pytest.raises(WeightsError, match="no pairs to calibrate"):
        quantize.quantize(model, [], out)
