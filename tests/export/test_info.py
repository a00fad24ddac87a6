"""`info` says what a file is, without PyTorch for an export, and finds damage."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from latefusion.errors import WeightsError
from latefusion.export.files import ExportOptions, export
from latefusion.export.info import describe
from latefusion.model.checkpoint import load_network, save_network
from latefusion.runtime.model_file import PACKAGED
from tests.helpers.toy_network import add_toy_preset, export_toy, toy_network


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    add_toy_preset(monkeypatch)
    path = tmp_path / "toy.safetensors"
    save_network(path, toy_network(), stage="joint", data="pairs.tar", terms="mine\nalone")
    return path


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    exports = {"toy.onnx": ExportOptions(side=64)}
    return export_toy(tmp_path_factory.mktemp("info"), toy_network, exports)


@pytest.fixture
def model(exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An export, for a test to do with as it likes."""
    add_toy_preset(monkeypatch)
    shutil.copytree(exports, tmp_path, dirs_exist_ok=True)
    return tmp_path / "toy.onnx"


@pytest.mark.slow
def test_an_export_has_its_parts_data_terms_and_checksum(checkpoint: Path) -> None:
    model = export(checkpoint, checkpoint.with_suffix(".onnx"), ExportOptions("opencv", (64, 96)))
    facts = describe(str(model))
    assert facts["sha256"].endswith("(checked)")
    assert facts["input"] == "RGB 0..255, 64 x 96 (H x W) only"
    assert (facts["preset"], facts["target"], facts["terms"]) == ("toy", "opencv", "mine alone")
    assert facts["training"] == "data pairs.tar"
    assert facts["half"] == "False"
    for part in ("encoder", "fg", "bg", "fusion", "total"):
        assert "parameters" in facts[part]
        assert facts[part].endswith("GMAC at 64 x 96")


def test_the_packaged_network_is_described() -> None:
    facts = describe(str(PACKAGED))
    assert facts["input"] == "RGB 0..255, any multiples of 32, longer side 512 by default"
    assert facts["total"] == "3,184,017 parameters, 11.74 GMAC at 512 x 512"
    assert "research" in facts["terms"]
    assert "EG1800" in facts["training"]


def test_the_packaged_checkpoint_is_described() -> None:
    facts = describe(str(PACKAGED.with_suffix(".safetensors")))
    assert facts["sha256"].endswith("(of the tensors, checked)")
    assert facts["preset"] == "lite"
    assert "EG1800" in facts["data"]
    assert "research" in facts["terms"]
    assert facts["total"] == "3,184,017 parameters, 11.74 GMAC at 512 x 512"


def test_a_checkpoint_with_another_bit_is_damaged(checkpoint: Path) -> None:
    content = bytearray(checkpoint.read_bytes())
    content[-1] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(WeightsError, match=r"toy\.safetensors is damaged \(sha256\)"):
        describe(str(checkpoint))


def test_a_checkpoint_of_before_checksums_still_loads(checkpoint: Path) -> None:
    with safe_open(checkpoint, "pt") as file:
        notes = {key: value for key, value in file.metadata().items() if key != "sha256"}
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(state, checkpoint, notes)
    assert describe(str(checkpoint))["sha256"] == "none stored"
    load_network(checkpoint)


def test_a_truncated_export_is_refused(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-7])
    with pytest.raises(WeightsError, match="does not match its sidecar"):
        describe(str(model))


@pytest.mark.parametrize(
    "entry", [{"parameters": [1]}, {"parameters": {"fg": "x"}}, {"gmac": []}, {"gmac": {"fg": "x"}}]
)
def test_unreadable_parts_are_said_to_be_so(model: Path, entry: dict[str, Any]) -> None:
    sidecar = model.with_suffix(".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | entry))
    assert describe(str(model))["parts"].startswith("not readable in the sidecar")


def test_what_is_neither_file_nor_preset_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"heavy is not a preset \(lite, .*densenet201"):
        describe("heavy")
