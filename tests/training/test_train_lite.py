"""The script that makes the shipped weights, with the toy network: stopped, resumed, complete."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from safetensors.torch import load_file

from latefusion.data.shards import Kind, write_shards
from latefusion.model.checkpoint import read_notes
from latefusion.model.encoders import ENCODERS
from tests.helpers.toy_network import write_toy_backgrounds, write_toy_cutouts, write_toy_pairs

pytestmark = pytest.mark.usefixtures("toy_preset")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train_lite.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script with two short runs of the toy network on small views as its road."""
    spec = importlib.util.spec_from_file_location("train_lite", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "train_lite", module)
    spec.loader.exec_module(module)
    toy = ENCODERS["toy"]._replace(load_pretrained=lambda encoder, path: None)
    monkeypatch.setitem(ENCODERS, "toy", toy)
    monkeypatch.setattr(module, "PRESET", "toy")
    monkeypatch.setattr(module, "EXCLUDE", None)  # names keys of the real data
    plan = module.Plan(epochs=2, batch=2, rate=1e-3)
    runs = [
        module.Run(f"{name}-run", stage, (64, 64), 64, cpu=plan, gpu=plan)
        for name, stage in (("a", "segmentation"), ("b", "fusion"))
    ]
    monkeypatch.setattr(module, "ROAD", tuple(runs))
    return module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    sources: list[tuple[str, Path, Kind]] = [
        ("train-00", write_toy_pairs(tmp_path / "train", 4, seed=0), "pairs"),
        ("dev", write_toy_pairs(tmp_path / "dev", 2, seed=1), "pairs"),
        ("background-00", write_toy_backgrounds(tmp_path / "rooms", 2), "backgrounds"),
        ("cutouts-00", write_toy_cutouts(tmp_path / "people", 2), "cutouts"),
    ]
    for path in sorted((tmp_path / "dev").iterdir()):
        path.rename(path.with_stem(f"dev-{path.stem}"))  # no key of the training pairs
    for name, source, kind in sources:
        (shard,) = write_shards([source], tmp_path / f"{name}-shards", kind=kind).shards
        shard.rename(folder / f"{name}.tar")
    return folder


def test_a_road_that_is_stopped_and_resumed_ends_at_the_same_weights(
    script: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def walk(out: str, *more: str) -> Path:
        words = [str(data), str(tmp_path / out), "--encoder-weights", "modnet.onnx", *more]
        monkeypatch.setattr(sys, "argv", ["train_lite.py", *words])
        script.main()
        return tmp_path / out / "lite.safetensors"

    def done(out: str) -> list[str]:
        return sorted(path.parent.name for path in (tmp_path / out).glob("*/done"))

    first = read_notes(walk("stopped", "--minutes", "0"))
    assert done("stopped") == []
    assert (first["stage"], first["step"]) == ("segmentation", "2")
    second = read_notes(walk("stopped", "--minutes", "0"))
    assert done("stopped") == ["a-run"]
    assert second["stage"] == "segmentation"
    assert not (tmp_path / "stopped" / "b-run").exists()
    stopped, whole = walk("stopped"), walk("whole")
    assert done("stopped") == done("whole") == ["a-run", "b-run"]
    notes = read_notes(stopped)
    assert (notes["stage"], notes["input_side"], notes["data"]) == ("fusion", "64", script.DATA)
    assert notes["sha256"] == read_notes(whole)["sha256"]
    changed = (tmp_path / "whole" / "b-run" / "best.safetensors").stat().st_mtime_ns
    assert walk("whole") == whole  # nothing is left to train
    assert (tmp_path / "whole" / "b-run" / "best.safetensors").stat().st_mtime_ns == changed
    assert load_file(whole)["fusion.head.weight"].element_size() == 2
