"""INT8 files come to be only where they pass the gate, and hold what was judged."""

from pathlib import Path

import numpy as np
import pytest

from latefusion import Predictor, quantize
from latefusion.checkpoint import save_network
from latefusion.data.sources import Pair, decode_pair, read_pairs
from latefusion.errors import OutputError, WeightsError
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
        (Verdict(3, 0.1, np.nan, "02", np.nan, 1.2), r"MAD grows from 0\.1000 to nan"),
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


def test_the_verdict_is_that_of_the_pairs(model: Path, pairs: list[Pair]) -> None:
    other = model.with_name("other.onnx")
    save_network(other.with_suffix(".safetensors"), perturbed(TOY, seed=1), stage="joint")
    export(other.with_suffix(".safetensors"), other, Wish("lazy", side=96))
    found = quantize.judge(read_model(model), read_model(other), pairs)
    errors = []
    for path in (model, other):
        scores = []
        for pair in pairs:
            image, truth = decode_pair(pair)
            scores.append(float(np.abs(Predictor(path)(image).alpha - truth / 255).mean()))
        errors.append(scores)
    assert found.mad == pytest.approx(np.mean(errors[0]), abs=1e-5)
    assert found.mad_int8 == pytest.approx(np.mean(errors[1]), abs=1e-5)
    growth = np.subtract(errors[1], errors[0])
    assert found.worst == pairs[int(growth.argmax())].key
    assert found.worst_growth == pytest.approx(growth.max(), abs=1e-5)
    assert 0.1 < found.speed < 10


def test_wrong_use_is_refused(model: Path, pairs: list[Pair], toy_model: Path) -> None:
    out = model.with_name("int8.onnx")
    with pytest.raises(WeightsError, match="is no export for lazy fusion"):
        quantize.quantize(toy_model, pairs, out)
    with pytest.raises(WeightsError, match=r"is the source; use e\.g\. toy-int8\.onnx"):
        quantize.quantize(model, pairs, model)
    model.with_name("card.json").write_text("{}")
    with pytest.raises(OutputError, match=r"card\.json would be replaced"):
        quantize.quantize(model, pairs, model.with_name("card.onnx"))
    with pytest.raises(WeightsError, match="no pairs to calibrate"):
        quantize.quantize(model, [], out)
