"""An exported file computes what PyTorch computes, at every size, or does not come to be."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from latefusion import export
from latefusion.checkpoint import load_network, save_network
from latefusion.complexity import parameters_per_part
from latefusion.errors import OutputError, WeightsError
from latefusion.export import export_onnx
from latefusion.predictor import OUTPUTS, Predictor
from toy_network import add_toy_preset, toy_network

SIZE = 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`joint.safetensors`, `segmentation.safetensors` and an .onnx with its .json of each."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_toy_preset(monkeypatch)
        monkeypatch.setattr(export, "SMALL", 64)  # the toy network has small kernels only
        folder = tmp_path_factory.mktemp("export")
        for stage in ("joint", "segmentation"):
            source = folder / f"{stage}.safetensors"
            save_network(source, toy_network(), half=True, stage=stage)
            export_onnx(source, folder / f"{stage}.onnx", SIZE, {"terms": "none"})
        yield folder


@pytest.mark.parametrize("stage", ["joint", "segmentation"])
@pytest.mark.parametrize("shape", [(1, 64, 160), (3, 96, 32)])
def test_the_exported_file_equals_pytorch(
    folder: Path, stage: str, shape: tuple[int, int, int]
) -> None:
    batch, height, width = shape
    torch.manual_seed(1)
    image = torch.rand(batch, 3, height, width) * 255
    network = load_network(folder / f"{stage}.safetensors")
    with torch.no_grad():
        expected = network(image) if stage == "joint" else network.branches(image)
    session = onnxruntime.InferenceSession(
        str(folder / f"{stage}.onnx"), providers=["CPUExecutionProvider"]
    )
    found = dict(zip(OUTPUTS, session.run(OUTPUTS, {"image": image.numpy()}), strict=True))
    for name, plane in found.items():
        assert plane.dtype == np.float32
        true = getattr(expected, name).numpy()
        np.testing.assert_allclose(plane, true, rtol=0, atol=1e-3, err_msg=name)
    assert found["fg"].std() > 1e-3


def test_the_sidecar_says_what_the_file_is(folder: Path) -> None:
    card = json.loads((folder / "joint.json").read_text())
    assert card["sha256"] == hashlib.sha256((folder / "joint.onnx").read_bytes()).hexdigest()
    assert card["format"] == "latefusion-onnx/1"
    assert card["preset"] == "toy"
    assert card["stage"] == "joint"
    assert card["terms"] == "none"
    assert card["input"]["size"] == [128, 128]
    assert card["outputs"] == ["alpha", "fg", "bg", "blend"]
    assert card["parameters"] == sum(parameters_per_part(toy()).values())
    assert json.loads((folder / "segmentation.json").read_text())["stage"] == "segmentation"


def toy() -> torch.nn.Module:
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_toy_preset(monkeypatch)
        return toy_network()


def test_the_predictor_takes_an_export_as_it_is(folder: Path) -> None:
    photo = np.full((50, 90, 3), (200, 90, 30), np.uint8)
    matte = Predictor(folder / "joint.onnx")(photo)
    assert matte.alpha.shape == (50, 90)


def test_kernels_are_stored_in_half_precision(folder: Path) -> None:
    graph = onnx.load(folder / "joint.onnx").graph
    sizes = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
    for constant in graph.initializer:
        if constant.data_type in sizes:
            sizes[constant.data_type] += int(np.prod(constant.dims))
    assert sizes[TensorProto.FLOAT16] > 5 * sizes[TensorProto.FLOAT]
    assert [i.name for i in graph.input] == ["image"]
    assert [o.name for o in graph.output] == list(OUTPUTS)


def test_a_graph_that_computes_something_else_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_toy_preset(monkeypatch)
    network = toy_network()
    with torch.no_grad():
        network.fg.deconv5.conv.weight *= 1e6  # infinite in half precision
        network.fg.deconv5.norm.running_var *= 1e12
    monkeypatch.setattr(export, "SMALL", 64)  # the toy network has small kernels only
    save_network(tmp_path / "a.safetensors", network, stage="joint")
    with pytest.raises(WeightsError, match="differs from PyTorch by"):
        export_onnx(tmp_path / "a.safetensors", tmp_path / "a.onnx", SIZE, {})
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_neither_file_is_left_where_the_other_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_toy_preset(monkeypatch)
    save_network(tmp_path / "a.safetensors", toy_network(), stage="joint")
    (tmp_path / "a.json" / "inside").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"a\.json cannot be written"):
        export_onnx(tmp_path / "a.safetensors", tmp_path / "a.onnx", SIZE, {})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "a.safetensors"]


def test_an_export_is_named_onnx(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.json does not end in \.onnx; use .*a\.onnx"):
        export_onnx(tmp_path / "a.safetensors", tmp_path / "a.json", SIZE, {})
