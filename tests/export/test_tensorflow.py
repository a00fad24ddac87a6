"""The frozen TensorFlow graph computes in OpenCV what PyTorch computes, borders included."""

import cv2
import numpy as np
import onnx
import pytest
import torch
from google.protobuf import text_format
from onnx import helper, numpy_helper
from tensorboard.compat.proto.graph_pb2 import GraphDef

from latefusion.errors import WeightsError
from latefusion.export.graphs import Named, fixed_graph
from latefusion.export.tensorflow import frozen_graph, graph_text
from latefusion.model.matting import MattingNetwork, NetworkConfig
from latefusion.runtime.planes import OUTPUTS
from latefusion.training.stages import STAGES
from tests.helpers.toy_network import perturb_norms

pytestmark = pytest.mark.slow

SIZE = (64, 96)
BORDER = 8
SMALL = {
    "efficientnet-lite0": {},
    "mobilenetv2": {},
    "densenet201": {"blocks": (2, 1, 1, 1), "growth": 4},
}
# What OpenCV's reader was seen to compute rightly; MirrorPad and DepthToSpace are not among it.
RIGHT_IN_OPENCV = {
    *("AddV2", "AvgPool", "BiasAdd", "ConcatV2", "Const", "Conv2D", "DepthwiseConv2dNative"),
    *("FusedBatchNorm", "MaxPool", "Mul", "Placeholder", "Relu", "Relu6", "Reshape"),
    *("ResizeNearestNeighbor", "Sigmoid", "Slice", "Sub", "Transpose"),
}


@pytest.fixture(scope="module", params=SMALL)
def named(request: pytest.FixtureRequest) -> Named:
    torch.manual_seed(0)
    config = NetworkConfig(request.param, 8, (4, 4, 4, 4, 4), SMALL[request.param])
    network = MattingNetwork(config).eval()
    perturb_norms(network)
    make_contrast(network)
    return Named(network, STAGES["joint"]).eval()


@pytest.fixture(scope="module")
def graph(named: Named) -> onnx.ModelProto:
    """That network, traced."""
    return fixed_graph(named, SIZE)


@torch.no_grad()
def make_contrast(network: MattingNetwork) -> None:
    """Logits with a deviation of 2: random networks give flat planes, which prove nothing."""
    found = network(torch.rand(1, 3, *SIZE) * 255)
    for plane, head in (
        (found.fg, network.fg.side0.conv3),
        (found.bg, network.bg.side0.conv3),
        (found.blend, network.fusion.head),
    ):
        logits = plane.logit()
        head.weight.mul_(2 / logits.std())
        head.bias.sub_(logits.mean()).mul_(2 / logits.std())


def run(data: bytes, image: torch.Tensor) -> dict[str, np.ndarray]:
    net = cv2.dnn.readNetFromTensorflow(np.frombuffer(data, np.uint8))
    net.setInput(image.numpy(), "image")
    found = net.forward(list(OUTPUTS))
    return {name: plane.reshape(SIZE) for name, plane in zip(OUTPUTS, found, strict=True)}


def test_the_planes_are_pytorchs_at_the_borders_and_inside(
    named: Named, graph: onnx.ModelProto
) -> None:
    torch.manual_seed(1)
    image = torch.rand(1, 3, *SIZE) * 255
    with torch.no_grad():
        expected = dict(zip(OUTPUTS, named(image), strict=True))
    for name, plane in run(frozen_graph(graph), image).items():
        off = np.abs(plane - expected[name][0, 0].numpy())
        inside = off[BORDER:-BORDER, BORDER:-BORDER]
        assert inside.max() < 1e-4, name
        assert off.max() < 1e-4, f"{name} at the border"
        assert plane.std() > 0.05, f"{name} is flat and proves nothing"


def test_a_stage_without_the_fusion_network_has_its_constant_blend(named: Named) -> None:
    branches = Named(named.network, STAGES["segmentation"]).eval()
    image = torch.rand(1, 3, *SIZE) * 255
    with torch.no_grad():
        expected = dict(zip(OUTPUTS, branches(image), strict=True))
    found = run(frozen_graph(fixed_graph(branches, SIZE)), image)
    assert (found["blend"] == 0.5).all()
    np.testing.assert_allclose(found["alpha"], expected["alpha"][0, 0].numpy(), atol=1e-4)


def test_the_graph_has_only_what_opencv_computes_rightly(graph: onnx.ModelProto) -> None:
    frozen = GraphDef.FromString(frozen_graph(graph))
    assert {node.op for node in frozen.node} <= RIGHT_IN_OPENCV
    constants = {node.name for node in frozen.node if node.op == "Const"}
    subtractions = [node for node in frozen.node if node.op == "Sub"]
    assert all(node.input[0] not in constants for node in subtractions)  # read as x - constant


def test_the_same_network_gives_the_same_bytes(graph: onnx.ModelProto) -> None:
    assert frozen_graph(graph) == frozen_graph(graph)


def test_the_text_has_every_operation_and_no_weight(graph: onnx.ModelProto) -> None:
    data = frozen_graph(graph)
    frozen, text = GraphDef.FromString(data), text_format.Parse(graph_text(data), GraphDef())
    assert list(text.node) == [node for node in frozen.node if node.op != "Const"]
    assert len(graph_text(data)) < len(data)


def one_node(node: onnx.NodeProto, *constants: onnx.TensorProto) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "one",
        [info("image", onnx.TensorProto.FLOAT, [1, 3, 4, 6])],
        [info("alpha", onnx.TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)])


@pytest.mark.parametrize(
    "model",
    [
        one_node(helper.make_node("Tanh", ["image"], ["alpha"])),
        one_node(helper.make_node("Clip", ["image"], ["alpha"], min=0.0, max=1.0)),
        one_node(
            helper.make_node("Pad", ["image"], ["alpha"], mode="reflect", pads=[0, 0, 1, 1] * 2)
        ),
        one_node(
            helper.make_node("Conv", ["image", "w"], ["alpha"], kernel_shape=[1, 1], group=3,
                             strides=[1, 1], dilations=[1, 1]),
            numpy_helper.from_array(np.ones((6, 1, 1, 1), np.float32), "w"),
        ),
    ],
    ids=["unknown", "another clip", "another pad", "other groups"],
)  # fmt: skip
def test_what_no_network_of_ours_has_is_refused_with_the_onnx_route(model: onnx.ModelProto) -> None:
    with pytest.raises(
        WeightsError, match=r"cannot be converted to TensorFlow .* use --target opencv"
    ):
        frozen_graph(model)
