"""Runtimes refuse files that they cannot run, in one line."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from latefusion.errors import WeightsError
from latefusion.runtime.model_file import ModelFile, read_model
from latefusion.runtime.runtimes import Network, OnnxNetwork, in_opencv

IMAGE = np.zeros((1, 3, 64, 96), np.float32)
RUNTIMES = [OnnxNetwork, in_opencv]


def write(folder: Path, data: bytes, name: str = "a.onnx") -> ModelFile:
    """Write a file with a valid sidecar of a network of 64 x 96, whatever its content."""
    (folder / name).write_bytes(data)
    card = {
        "format": "latefusion/2",
        "target": "opencv",
        "input": {"name": "image", "size": [64, 96]},
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    (folder / name).with_suffix(".json").write_text(json.dumps(card))
    return read_model(folder / name)


def graph(
    outputs: tuple[str, ...], size: tuple[int, int] = (64, 96), given: str = "image"
) -> bytes:
    """A network whose outputs are all the sigmoid of one colour's sum."""
    constants = [
        helper.make_tensor("w", TensorProto.FLOAT, [1, 3, 1, 1], [0.1, 0.2, 0.3]),
        helper.make_tensor("size", TensorProto.INT64, [4], [1, 1, *size]),
    ]
    nodes = [
        helper.make_node("Conv", [given, "w"], ["flexible"], kernel_shape=[1, 1]),
        helper.make_node("Reshape", ["flexible", "size"], ["sum"]),
    ]
    nodes += [helper.make_node("Sigmoid", ["sum"], [name]) for name in outputs]
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "a",
        [info(given, TensorProto.FLOAT, [1, 3, *size])],
        [info(name, TensorProto.FLOAT, [1, 1, *size]) for name in outputs],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 10)], ir_version=5)
    return model.SerializeToString()


ALL = ("alpha", "fg", "bg", "blend")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_outputs_are_found_by_name(tmp_path: Path, runtime: Callable[[ModelFile], Network]) -> None:
    planes = runtime(write(tmp_path, graph(ALL)))(IMAGE)
    assert all(getattr(planes, name).shape == (64, 96) for name in ALL)
    assert planes.fused == 1


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"no network", graph(ALL)[:90]),
        *(graph(("alpha", "pha")), graph(ALL, given="input")),
        graph(ALL, given="imagé").replace("é".encode(), b"\xe9\x97"),
    ],
    ids=["empty", "text", "truncated", "other outputs", "other input", "name not text"],
)
def test_a_network_of_another_tool_is_refused_in_one_line(
    tmp_path: Path,
    runtime: Callable[[ModelFile], Network],
    data: bytes,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = write(tmp_path, data)
    with pytest.raises(
        WeightsError, match=r"a\.onnx (does not load|does not run|has no output)"
    ) as e:
        runtime(model)(IMAGE)
    assert "\n" not in str(e.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_network_of_another_size_is_refused(
    tmp_path: Path, runtime: Callable[[ModelFile], Network]
) -> None:
    model = write(tmp_path, graph(ALL, size=(32, 32)))
    with pytest.raises(WeightsError, match=r"a\.onnx (does not run|returns alpha as)"):
        runtime(model)(IMAGE)


def test_opencv_needs_a_fixed_size(toy_model: Path) -> None:
    with pytest.raises(WeightsError, match="no fixed size, which OpenCV needs; export with --targ"):
        in_opencv(read_model(toy_model))


def test_onnx_runtime_refuses_a_frozen_graph(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"a\.pb runs in OpenCV only; export with --target onnx"):
        OnnxNetwork(write(tmp_path, b"", "a.pb"))
