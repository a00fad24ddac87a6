"""A toy network with the interface of the exported one, and answers that the photo shows."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from latefusion.predictor import Matter


@pytest.fixture
def toy_model(tmp_path: Path) -> Path:
    """A network so simple that what it makes of a photo can be told beforehand."""
    return write_toy_model(tmp_path)


def write_toy_model(folder: Path) -> Path:
    """fg is the red level, bg one minus the green level, blend the blue level, all per pixel."""
    nodes = [
        helper.make_node("Div", ["image", "255"], ["levels"]),
        helper.make_node("Split", ["levels"], ["fg", "green", "blend"], axis=1, num_outputs=3),
        helper.make_node("Sub", ["1", "green"], ["bg"]),
        helper.make_node("Sub", ["fg", "green"], ["difference"]),
        helper.make_node("Mul", ["blend", "difference"], ["pull"]),
        helper.make_node("Add", ["green", "pull"], ["alpha"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, "H", "W"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 1, "H", "W"])
            for name in ("alpha", "fg", "bg", "blend")
        ],
        [helper.make_tensor(text, TensorProto.FLOAT, [], [float(text)]) for text in ("255", "1")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    encoded = model.SerializeToString()
    sidecar = {
        "format": "latefusion/2",
        "target": "onnx",
        "preset": "toy",
        "input": {"name": "image", "layout": "NCHW", "channels": "RGB", "range": [0, 255],
                  "multiple": 32, "size": "dynamic", "side": 64},
        "outputs": ["alpha", "fg", "bg", "blend"],
        "sha256": hashlib.sha256(encoded).hexdigest(),
    }  # fmt: skip
    folder = folder / "toy-model"
    folder.mkdir()
    (folder / "toy.onnx").write_bytes(encoded)
    (folder / "toy.json").write_text(json.dumps(sidecar))
    return folder / "toy.onnx"


@pytest.fixture
def toy(toy_model: Path) -> Matter:
    """That network on one thread, at a small size and without a closer look."""
    return Matter(toy_model, 64, threads=1, framing="whole")


@pytest.fixture
def patient_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`memory://` empty before and after, and no pause between the tries of what fails."""
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr("latefusion.cluster.storage.FIRST_WAIT", 0.0)
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def toy_preset() -> Iterator[None]:
    """The preset `toy` beside the others, and no GPU."""
    from toy_network import add_toy_preset

    with pytest.MonkeyPatch.context() as monkeypatch:
        add_toy_preset(monkeypatch)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield
