"""A toy network file with the interface of an exported one."""

import hashlib
import json
from pathlib import Path

from onnx import TensorProto, helper


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
