"""An exported file and its sidecar are read together, or refused in one line."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import onnx
import pytest

from latefusion.errors import WeightsError
from latefusion.runtime.model_file import PACKAGED, read_model


def change(model: Path, **entries: Any) -> None:
    """Change entries of the sidecar; None removes one."""
    sidecar = model.with_suffix(".json")
    card = json.loads(sidecar.read_text()) | entries
    kept = {key: value for key, value in card.items() if value is not None}
    sidecar.write_text(json.dumps(kept))


def test_the_packaged_network_takes_any_size() -> None:
    model = read_model(PACKAGED)
    assert (model.target, model.input_name, model.size, model.side) == ("lazy", "image", None, 512)
    assert model.frame((600, 800)).outer == (384, 512)
    assert model.frame((600, 800), 640).outer == (480, 640)


def test_a_network_of_fixed_size_has_its_own_frame(toy_model: Path) -> None:
    change(toy_model, input={"name": "image", "size": [64, 128]})
    model = read_model(toy_model)
    assert (model.size, model.side) == ((64, 128), 128)
    frame = model.frame((100, 100))
    assert (frame.inner, frame.outer) == ((64, 64), (64, 128))
    assert model.frame((100, 100), 128) == frame


def test_a_network_of_fixed_size_refuses_another_size(toy_model: Path) -> None:
    change(toy_model, input={"name": "image", "size": [64, 128]})
    with pytest.raises(WeightsError, match=r"toy\.onnx takes 64 x 128 \(H x W\) only, not .* 96"):
        read_model(toy_model).frame((100, 100), 96)


@pytest.mark.parametrize("cut", [1, 100])
def test_a_truncated_file_is_refused(toy_model: Path, cut: int) -> None:
    toy_model.write_bytes(toy_model.read_bytes()[:-cut])
    with pytest.raises(WeightsError, match=r"toy\.onnx does not match its sidecar"):
        read_model(toy_model)


@pytest.mark.parametrize("text", ["", "{", "\0"])
def test_a_sidecar_that_is_not_json_is_refused(toy_model: Path, text: str) -> None:
    toy_model.with_suffix(".json").write_text(text)
    with pytest.raises(WeightsError, match=r"toy\.json is not valid JSON"):
        read_model(toy_model)


@pytest.mark.parametrize(
    "text", ["[]", "{}", "7", '{"input": 1}', '{"architectures": ["BiRefNet"]}']
)
def test_a_sidecar_of_another_tool_is_refused(toy_model: Path, text: str) -> None:
    toy_model.with_suffix(".json").write_text(text)
    with pytest.raises(WeightsError, match=r"toy\.json is not a sidecar of latefusion"):
        read_model(toy_model)


@pytest.mark.parametrize("depth", [30, 900, 10**5])
def test_a_sidecar_of_lists_in_lists_is_refused(toy_model: Path, depth: int) -> None:
    card = toy_model.with_suffix(".json").read_text().strip()
    deep = f'{{"more": {"[" * depth}{"]" * depth},{card[1:]}'
    toy_model.with_suffix(".json").write_text(deep)
    with pytest.raises(WeightsError, match=r"toy\.json is not valid JSON .too many lists in lists"):
        read_model(toy_model)


@pytest.mark.parametrize("ending", [".onnx", ".json"])
def test_a_pipe_is_no_model(toy_model: Path, ending: str) -> None:
    toy_model.with_suffix(ending).unlink()
    os.mkfifo(toy_model.with_suffix(ending))
    with pytest.raises(WeightsError, match=rf"toy\{ending} cannot be read: it is a pipe"):
        read_model(toy_model)


def test_a_network_with_parts_in_other_files_is_refused(toy_model: Path) -> None:
    """OpenCV would read any file that it names."""
    model = onnx.load(toy_model)
    weight = model.graph.initializer[0]
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")
    data = model.SerializeToString()
    toy_model.write_bytes(data)
    change(toy_model, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    with pytest.raises(WeightsError, match=r"toy\.onnx has parts in other files"):
        read_model(toy_model)


def test_another_format_is_refused(toy_model: Path) -> None:
    change(toy_model, format="latefusion-onnx/1")
    with pytest.raises(WeightsError, match="latefusion-onnx/1'; this version reads latefusion/2"):
        read_model(toy_model)


@pytest.mark.parametrize(
    "entries",
    [
        {"input": 1},
        {"input": {}},
        {"input": {"name": "image", "size": []}},
        {"input": {"name": "image", "size": [64]}},
        {"input": {"name": "image", "size": [64, 65]}},
        {"input": {"name": "image", "size": [float("inf"), 64]}},
        {"input": {"name": "image", "size": "dynamic"}},
        {"target": None},
        {"sha256": None},
    ],
)
def test_a_damaged_sidecar_is_refused(toy_model: Path, entries: dict[str, Any]) -> None:
    change(toy_model, **entries)
    with pytest.raises(WeightsError, match=r"toy\.json is a damaged sidecar"):
        read_model(toy_model)


@pytest.mark.parametrize("suffix", [".onnx", ".json"])
def test_both_files_are_needed(toy_model: Path, suffix: str) -> None:
    toy_model.with_suffix(suffix).unlink()
    with pytest.raises(WeightsError, match=f"toy{suffix} cannot be read: No such file"):
        read_model(toy_model)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"a\.pt is not an \.onnx or \.pb file"):
        read_model(tmp_path / "a.pt")
