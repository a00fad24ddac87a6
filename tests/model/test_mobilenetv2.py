"""MobileNetV2: its features, and the ONNX file of MODNet that fills it."""

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from latefusion.errors import WeightsError
from latefusion.model.encoders import ENCODERS
from latefusion.model.encoders.mobilenetv2 import MobileNetV2, load_modnet


def encoder(seed: int) -> MobileNetV2:
    torch.manual_seed(seed)
    return MobileNetV2().eval()


def write_graph(path: Path, modules: list[nn.Conv2d], bias: bool = True) -> Path:
    """An ONNX file with these convolutions, in this order and nothing else."""
    nodes, values = [], []
    for i, module in enumerate(modules):
        tensors = {f"w{i}": module.weight, **({f"b{i}": module.bias} if bias else {})}
        nodes.append(helper.make_node("Conv", [f"x{i}", *tensors], [f"x{i + 1}"]))
        values += [constant(name, value) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "modnet", [], [], values[::-1])  # initializers in any order
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def constant(name: str, value: Tensor | None) -> TensorProto:
    assert value is not None
    return onnx.numpy_helper.from_array(value.detach().numpy(), name)


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


def test_it_gives_five_features_of_its_widths() -> None:
    made = encoder(0)
    assert made.widths == (16, 24, 32, 96, 1280)
    with torch.no_grad():
        features = made(torch.randn(1, 3, 64, 96))
    shapes = [tuple(feature.shape[1:]) for feature in features]
    assert shapes == [
        (width, 64 >> step, 96 >> step) for step, width in enumerate(made.widths, start=1)
    ]
    assert all(feature.std() > 0 for feature in features)


def test_the_first_52_convolutions_of_modnet_are_the_encoder(tmp_path: Path) -> None:
    source, filled = encoder(0), encoder(1)
    assert len(convolutions(source)) == 52
    behind = nn.Conv2d(1280, 96, 5)  # MODNet goes on after its encoder
    path = write_graph(tmp_path / "modnet.onnx", [*convolutions(source), behind])
    image = torch.randn(1, 3, 64, 96)
    ENCODERS["mobilenetv2"].load_pretrained(filled, path)
    with torch.no_grad():
        for found, true in zip(filled(image), source(image), strict=True):
            assert torch.equal(found, true)


def test_it_comes_without_weights() -> None:
    assert not ENCODERS["mobilenetv2"].packaged
    with pytest.raises(WeightsError, match=r"give --encoder-weights modnet\.onnx"):
        load_modnet(encoder(0), None)


def test_a_file_that_is_not_modnets_is_named_in_one_line(tmp_path: Path) -> None:
    made = encoder(0)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    text = tmp_path / "text.json"
    text.write_text("a text")
    short = write_graph(tmp_path / "short.onnx", convolutions(made)[:51])
    plain = write_graph(tmp_path / "plain.onnx", convolutions(made), bias=False)
    other = write_graph(tmp_path / "other.onnx", [nn.Conv2d(3, 32, 7), *convolutions(made)[1:]])
    for path, reason in (
        (tmp_path / "absent.onnx", "cannot be read as an ONNX file: .*No such file"),
        (text, "cannot be read as an ONNX file"),
        (short, "missing last.weight and 1 more; expected MODNet's export"),
        (plain, "missing stem.weight and 103 more; expected MODNet's export"),
        (other, r"stem.weight is \(32, 3, 7, 7\) instead of \(32, 3, 3, 3\)"),
    ):
        with pytest.raises(WeightsError, match=f"{path.name}:? ?{reason}") as caught:
            load_modnet(made, path)
        assert "\n" not in str(caught.value)
    assert all(torch.equal(made.state_dict()[name], value) for name, value in before.items())
