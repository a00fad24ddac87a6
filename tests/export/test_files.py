"""An exported file computes what PyTorch computes, in its own runtime, or is not written."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from latefusion.errors import OutputError, WeightsError
from latefusion.export import graphs as graph_module
from latefusion.export.files import TARGETS, ExportOptions, check_name, export, write_model
from latefusion.export.info import describe
from latefusion.export.sidecar import read_card
from latefusion.images.framing import Size
from latefusion.inference.predictor import Predictor
from latefusion.model.checkpoint import load_network, save_network
from latefusion.model.complexity import parameters_per_part
from latefusion.model.matting import PRESETS, MattingNetwork, NetworkConfig
from latefusion.runtime.model_file import WRITE_UP, read_model
from latefusion.runtime.planes import OUTPUTS, WRITE_UP_MEAN, WRITE_UP_OUTPUTS
from latefusion.runtime.runtimes import OnnxNetwork, in_opencv
from latefusion.training.stages import STAGES
from tests.helpers.toy_network import add_toy_preset, perturb_norms, perturbed, toy_network

pytestmark = pytest.mark.slow

CARD = {"terms": "none", "sha256": "0", "format": "mine", "dev": {"mad": 0.01}}
NOTES = {"data": "pairs.tar", "step": "7", "terms": "mine alone, äöü"}


@pytest.fixture(autouse=True)
def toy_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    add_toy_preset(monkeypatch)
    monkeypatch.setattr(graph_module, "SMALL", 64)  # the toy network has small kernels only


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`joint.safetensors`, `segmentation.safetensors` and an .onnx with its .json of each; `lazy`.

    The card of `joint` comes from the options, that of `segmentation` from its checkpoint.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_toy_preset(monkeypatch)
        monkeypatch.setattr(graph_module, "SMALL", 64)
        folder = tmp_path_factory.mktemp("export")
        for stage, card, notes in (("joint", CARD, {}), ("segmentation", {}, NOTES)):
            source = folder / f"{stage}.safetensors"
            save_network(source, toy_network(), half=True, stage=stage, **notes)
            export(source, folder / f"{stage}.onnx", ExportOptions(side=128, card=card))
        export(folder / "joint.safetensors", folder / "lazy.onnx", ExportOptions("lazy", side=64))
        yield folder


def save_toy(path: Path, network: MattingNetwork | None = None) -> Path:
    save_network(path, network or toy_network(), stage="joint")
    return path


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
        # The kernels are stored in half precision, which loses nothing: the checkpoint is, too.
        np.testing.assert_allclose(plane, true, rtol=0, atol=1e-5, err_msg=name)
    assert found["fg"].std() > 1e-3


def test_the_sidecar_says_what_the_file_is(folder: Path) -> None:
    card = json.loads((folder / "joint.json").read_text())
    data = (folder / "joint.onnx").read_bytes()
    assert card["sha256"] == hashlib.sha256(data).hexdigest()
    assert card["bytes"] == len(data)
    checkpoint = (folder / "joint.safetensors").read_bytes()
    assert card["checkpoint"] == hashlib.sha256(checkpoint).hexdigest()
    assert (card["format"], card["target"], card["preset"]) == ("latefusion/2", "onnx", "toy")
    assert (card["stage"], card["terms"]) == ("joint", "none")
    assert (card["half"], card["opset"]) == (True, 17)
    assert (card["input"]["size"], card["input"]["side"]) == ("dynamic", 128)
    assert card["outputs"] == ["alpha", "fg", "bg", "blend"]
    parts = parameters_per_part(toy_network())
    assert card["parameters"] == {**parts, "total": sum(parts.values())}
    assert card["gmac"]["at"] == [512, 512]
    assert json.loads((folder / "segmentation.json").read_text())["stage"] == "segmentation"


def test_terms_and_training_come_from_the_checkpoint(folder: Path) -> None:
    card = json.loads((folder / "segmentation.json").read_text(encoding="utf-8"))
    assert card["terms"] == "mine alone, äöü"
    assert card["training"] == {"data": "pairs.tar", "step": "7"}


def test_terms_that_nobody_stated_are_said_to_be_unstated(folder: Path) -> None:
    card = json.loads((folder / "lazy.json").read_text(encoding="utf-8"))
    assert card["terms"].startswith("not stated")


def test_a_card_does_not_change_what_the_file_is(folder: Path) -> None:
    card = read_model(folder / "joint.onnx").card
    assert card["dev"] == {"mad": 0.01}
    assert card["format"] == "latefusion/2"
    assert len(card["sha256"]) == 64


def test_the_predictor_takes_an_export_as_it_is(folder: Path) -> None:
    photo = np.full((50, 90, 3), (200, 90, 30), np.uint8)
    matte = Predictor(folder / "joint.onnx")(photo)
    assert matte.alpha.shape == (50, 90)


def test_kernels_are_stored_in_half_precision(folder: Path) -> None:
    graph = onnx.load(folder / "joint.onnx").graph
    sizes: dict[int, int] = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
    for constant in graph.initializer:
        if constant.data_type in sizes:
            sizes[constant.data_type] += int(np.prod(constant.dims))
    # All but what is composed, which the toy network has more of than of anything else.
    assert sizes[TensorProto.FLOAT16] > 0.7 * sum(p.numel() for p in toy_network().parameters())
    assert [i.name for i in graph.input] == ["image"]
    assert [o.name for o in graph.output] == list(OUTPUTS)


@pytest.mark.parametrize(("half", "size"), [(False, (96, 160)), (True, None)])
def test_an_export_for_opencv_equals_pytorch_there(
    tmp_path: Path, half: bool, size: Size | None
) -> None:
    """At one size, or in two files at any: the first time at another than those it is tried at."""
    source = tmp_path / "a.safetensors"
    save_network(source, toy_network(), half=half, stage="joint", input_side="96")
    export(source, tmp_path / "a.onnx", ExportOptions("opencv", size, half=half))
    model = read_model(tmp_path / "a.onnx")
    assert (model.target, model.size, model.card["opset"]) == ("opencv", size, 10)
    assert (model.fusion is None) == (size is not None)
    size = size or (352, 416)
    assert model.card["opencv"] == ("4.7" if half else "4.6")
    torch.manual_seed(1)
    image = torch.rand(1, 3, *size) * 255
    with torch.no_grad():
        expected = load_network(source)(image)
    found = in_opencv(model)(image.numpy())
    for name in OUTPUTS:
        true = getattr(expected, name)[0, 0].numpy()
        np.testing.assert_allclose(getattr(found, name), true, rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("preset", ["lite", "lite-mobilenetv2"])
def test_a_lazy_export_of_a_small_preset_equals_pytorch(tmp_path: Path, preset: str) -> None:
    source = tmp_path / "a.safetensors"
    save_network(source, perturbed(PRESETS[preset]), half=True, stage="joint")
    export(source, tmp_path / "a.onnx", ExportOptions("lazy", side=64))
    image = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        expected = load_network(source)(image)
    found = OnnxNetwork(read_model(tmp_path / "a.onnx"), epsilon=0)(image.numpy())
    for name in OUTPUTS:
        true = getattr(expected, name)[0, 0].numpy()
        np.testing.assert_allclose(getattr(found, name), true, rtol=0, atol=1e-4, err_msg=name)
        assert true.std() > 1e-2, name


# What the importer of OpenCV 4.6 reads of opset 10; other nodes, and other forms of these (Clip and
# Pad with inputs, flips, Identity, Shape), have failed in it.
READ_BY_OPENCV_46 = {
    *("Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "MaxPool"),
    *("Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Sub"),
    *("Transpose", "Unsqueeze"),
}


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "mobilenetv2", "densenet201"])
def test_the_graph_for_opencv_has_only_what_its_oldest_version_reads(encoder: str) -> None:
    small = {"blocks": (1, 1, 1, 1), "growth": 4} if encoder == "densenet201" else {}
    torch.manual_seed(0)
    network = MattingNetwork(NetworkConfig(encoder, 8, (4, 4, 4, 4, 4), small)).eval()
    perturb_norms(network)
    named = graph_module.Named(network, STAGES["joint"]).eval()
    graph = graph_module.fixed_graph(named, (64, 96))
    assert {node.op_type for node in graph.graph.node} <= READ_BY_OPENCV_46
    assert graph.opset_import[0].version == 10
    steps = [
        onnx.numpy_helper.to_array(constant)
        for node in graph.graph.node
        if node.op_type == "Slice"
        for constant in graph.graph.initializer
        if len(node.input) > 4 and constant.name == node.input[4]
    ]
    assert all((step > 0).all() for step in steps)
    image = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        expected = named(image)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(graph.SerializeToString(), np.uint8))
    net.setInput(image.numpy(), "image")
    for plane, true in zip(net.forward(list(OUTPUTS)), expected, strict=True):
        np.testing.assert_allclose(plane, true.numpy(), rtol=0, atol=1e-4)


def test_two_files_for_opencv_name_no_length(tmp_path: Path) -> None:
    """No Slice begins at the end, and a Reshape copies (0) or infers (-1) height and width."""
    source = save_toy(tmp_path / "a.safetensors")
    export(source, tmp_path / "a.onnx", ExportOptions("opencv"))
    for path in (tmp_path / "a.onnx", tmp_path / "a.fusion.onnx"):
        graph = onnx.load(path).graph
        assert {node.op_type for node in graph.node} <= READ_BY_OPENCV_46
        constants = {c.name: onnx.numpy_helper.to_array(c) for c in graph.initializer}
        for node in graph.node:
            if node.op_type == "Slice":
                assert (constants[node.input[1]] >= 0).all()
            if node.op_type == "Reshape":
                assert (constants[node.input[1]] <= 0).sum() >= 2


def test_two_files_for_opencv_run_there_only(tmp_path: Path) -> None:
    path = export(
        save_toy(tmp_path / "a.safetensors"), tmp_path / "a.onnx", ExportOptions("opencv")
    )
    with pytest.raises(WeightsError, match="in OpenCV only; export with --target onnx or lazy"):
        OnnxNetwork(read_model(path))


def test_a_network_that_mirrors_its_borders_needs_a_size_for_opencv(tmp_path: Path) -> None:
    small = {"blocks": (1, 1, 1, 1), "growth": 4}
    network = MattingNetwork(NetworkConfig("densenet201", 8, (4, 4, 4, 4, 4), small)).eval()
    perturb_norms(network)
    save_network(tmp_path / "a.safetensors", network, stage="joint")
    with pytest.raises(WeightsError, match="at one size only; give --size H,W"):
        export(tmp_path / "a.safetensors", tmp_path / "a.onnx", ExportOptions("opencv"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors"]


def test_a_fixed_size_is_kept_by_onnx_runtime_too(tmp_path: Path) -> None:
    export(
        save_toy(tmp_path / "a.safetensors"), tmp_path / "a.onnx", ExportOptions("onnx", (64, 128))
    )
    matte = Predictor(tmp_path / "a.onnx")(np.zeros((90, 50, 3), np.uint8))
    assert matte.alpha.shape == (90, 50)


@pytest.mark.parametrize("options", [ExportOptions(side=64), ExportOptions("opencv", (64, 64))])
def test_a_graph_that_computes_something_else_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: ExportOptions
) -> None:
    exported = graph_module.Named if options.size else graph_module.Folded
    right = exported.forward

    def another_alpha(module: Any, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        alpha, *rest = right(module, image)
        wrong = torch.onnx.is_in_onnx_export()
        return (alpha + 0.002 if wrong else alpha), *rest

    monkeypatch.setattr(exported, "forward", another_alpha)
    source = save_toy(tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"alpha of the exported network differs .* by 0\.002"):
        export(source, tmp_path / "a.onnx", options)
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_half_precision_that_loses_too_much_is_not_kept(tmp_path: Path) -> None:
    network = toy_network()
    with torch.no_grad():
        network.fg.deconv5.conv.weight *= 1e6  # infinite in half precision
        network.fg.deconv5.norm.running_var *= 1e12
    source = save_toy(tmp_path / "a.safetensors", network)
    with pytest.raises(WeightsError, match=r"differs from PyTorch by .* leave --half off"):
        export(source, tmp_path / "a.onnx", ExportOptions(side=64, half=True))
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("target", "name", "right"),
    [
        ("onnx", "a.json", "a.onnx"),
        ("opencv", "a.pb", "a.onnx"),
        ("tensorflow", "a.onnx", "a.pb"),
    ],
)
def test_a_name_has_the_suffix_of_its_target(
    tmp_path: Path, target: str, name: str, right: str
) -> None:
    with pytest.raises(OutputError, match=rf"{name} does not end in \.\w+; use .*{right}"):
        export(tmp_path / "a.safetensors", tmp_path / name, ExportOptions(target))


@pytest.mark.parametrize("name", [".", ".."])
def test_a_folder_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"does not end in \.onnx; use .*model\.onnx"):
        export(tmp_path / "a.safetensors", Path(name), ExportOptions())


def test_two_exports_do_not_share_a_sidecar(tmp_path: Path) -> None:
    (tmp_path / "a.pb").touch()
    with pytest.raises(OutputError, match=r"a\.json is the sidecar of a\.pb; give .* another name"):
        export(tmp_path / "a.safetensors", tmp_path / "a.onnx", ExportOptions())


@pytest.mark.parametrize("text", ["{}", '{"terms": "mine"}', "[" * 100_000, "\x00"])
def test_a_json_that_is_no_sidecar_is_not_replaced(tmp_path: Path, text: str) -> None:
    card = tmp_path / "a.json"
    card.write_text(text)
    source = save_toy(tmp_path / "toy.safetensors")
    with pytest.raises(OutputError, match=r"a\.json would be replaced but is not a sidecar"):
        export(source, tmp_path / "a.onnx", ExportOptions())
    assert card.read_text() == text


def test_a_sidecar_of_an_older_format_is_replaced(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"format": "latefusion-onnx/1"}')
    keep(folder / "joint.onnx", tmp_path / "a.onnx")
    assert read_model(tmp_path / "a.onnx").target == "onnx"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not readable JSON"),
        ("[1]", "is not a JSON object"),
        ("[" * 100_000, "is not readable JSON"),
        ('{"dev": {"mad": null}}', "has a null, which OpenCV cannot read"),
        ('{"notes": ["' + "x" * 4001 + '"]}', "more than 4000 bytes"),
        ('{"notes": "\\ud800"}', "has control characters"),
        ('{"notes": "a\\u0001b"}', "has control characters"),
        ('{"dev": {"mad": NaN}}', "NaN is not a number"),
        ('{"dev": {"": 1}}', "OpenCV cannot read the name ''"),
        ('{"a\\"b": 1}', "OpenCV cannot read the name 'a\"b'"),
    ],
)
def test_a_card_that_not_every_reader_takes_is_refused(
    tmp_path: Path, text: str, reason: str
) -> None:
    card = tmp_path / "card.json"
    card.write_text(text)
    with pytest.raises(WeightsError, match=reason):
        read_card(card)


def test_opencv_reads_every_entry_of_a_sidecar(folder: Path) -> None:
    storage = cv2.FileStorage(str(folder / "joint.json"), cv2.FILE_STORAGE_READ)
    assert storage.getNode("format").string() == "latefusion/2"
    assert storage.getNode("bytes").real() == (folder / "joint.onnx").stat().st_size
    assert storage.getNode("sha256").string()
    storage.release()


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        ({"stage": "nonsense"}, "expected one of segmentation"),
        ({"input_side": "big"}, "input_side 'big', which is not a number; give --side"),
        ({"input_side": "9" * 5000}, r"input_side '9+\.\.\.', which is not a number; give --side"),
    ],
)
def test_a_checkpoint_with_odd_notes_is_refused(
    tmp_path: Path, notes: dict[str, str], reason: str
) -> None:
    save_network(tmp_path / "a.safetensors", toy_network(), **notes)
    with pytest.raises(WeightsError, match=reason):
        export(tmp_path / "a.safetensors", tmp_path / "a.onnx", ExportOptions())


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").mkdir()
    (tmp_path / "a.json").write_text('{"format": "latefusion/1"}')
    with pytest.raises(OutputError, match=r"a\.onnx is a folder; name a file in it"):
        export(save_toy(tmp_path / "a.safetensors"), tmp_path / "a.onnx", ExportOptions())
    assert (tmp_path / "a.json").read_text() == '{"format": "latefusion/1"}'


def test_odd_notes_become_what_opencv_reads(tmp_path: Path) -> None:
    """Control characters become spaces, and long texts are cut; a side that is given counts."""
    data = 'say "a\\b"\n\tthen'
    notes = {"terms": "a\x01b\x1b[2J", "data": data, "step": "ä" * 5000, "input_side": "big"}
    save_network(tmp_path / "a.safetensors", toy_network(), **notes)
    options = ExportOptions(side=64, card={"my dev-set": {"mad": 1}})
    export(tmp_path / "a.safetensors", tmp_path / "a.onnx", options)
    assert read_model(tmp_path / "a.onnx").side == 64
    storage = cv2.FileStorage(str(tmp_path / "a.json"), cv2.FILE_STORAGE_READ)
    assert storage.getNode("terms").string() == "a b [2J"
    assert storage.getNode("training").getNode("data").string() == data
    assert storage.getNode("my dev-set").getNode("mad").real() == 1
    step = storage.getNode("training").getNode("step").string()
    assert step.endswith("ää...")
    assert len(step.encode()) <= 4000


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def keep(made: Path, out: Path) -> None:
    """Write a model that is exported already to another path, as `export` writes its own."""
    model = read_model(made)
    check_name(out, TARGETS[model.target])
    write_model(replace(model, path=out))


def test_two_files_of_an_older_export_are_replaced_by_what_is_needed(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "b.onnx"
    for _ in range(2):
        keep(folder / "lazy.onnx", out)
        assert names(tmp_path) == {"b.onnx", "b.json", "b.fusion.onnx"}
    keep(folder / "joint.onnx", out)
    assert names(tmp_path) == {"b.onnx", "b.json"}


def test_no_second_half_of_another_export_is_replaced(folder: Path, tmp_path: Path) -> None:
    source = folder / "joint.safetensors"
    keep(folder / "lazy.onnx", tmp_path / "b.onnx")
    with pytest.raises(OutputError, match=r"is the name of an export's fusion file; leave out"):
        export(source, tmp_path / "b.fusion.onnx", ExportOptions("onnx"))
    (tmp_path / "c.fusion.onnx").write_text("mine")
    with pytest.raises(
        OutputError, match=r"c\.fusion\.onnx would be replaced but does not belong to c"
    ):
        export(source, tmp_path / "c.onnx", ExportOptions("lazy"))
    keep(folder / "joint.onnx", tmp_path / "c.onnx")
    assert (tmp_path / "c.fusion.onnx").read_text() == "mine"


def test_nothing_is_replaced_where_one_file_cannot_be(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.onnx"
    keep(folder / "joint.onnx", out)
    before = out.read_bytes()
    out.with_suffix(".json").unlink()
    out.with_suffix(".json").mkdir()
    with pytest.raises(OutputError, match=r"b\.json is a folder; give the export another name"):
        keep(folder / "lazy.onnx", out)
    assert out.read_bytes() == before
    assert names(tmp_path) == {"b.onnx", "b.json"}


def test_a_folder_that_is_not_there_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save_toy(tmp_path / "a.safetensors")
    monkeypatch.setattr("latefusion.export.files.load_network", None)
    with pytest.raises(
        OutputError, match=r"cannot be written; .*none must be an existing, writable folder"
    ):
        export(source, tmp_path / "none" / "a.onnx", ExportOptions("onnx"))


def test_an_export_for_the_write_up_takes_an_image_minus_its_mean(tmp_path: Path) -> None:
    source = save_toy(tmp_path / "a.safetensors")
    export(source, tmp_path / "lfm.pb", ExportOptions(WRITE_UP, (64, 96)))
    assert names(tmp_path) == {"a.safetensors", "lfm.pb", "lfm.pbtxt", "lfm.json"}
    image = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        expected = load_network(source)(image)
    net = cv2.dnn.readNetFromTensorflow(str(tmp_path / "lfm.pb"), str(tmp_path / "lfm.pbtxt"))
    net.setInput(image.numpy() - np.array(WRITE_UP_MEAN, np.float32).reshape(3, 1, 1))
    planes = net.forward(list(WRITE_UP_OUTPUTS))
    for name, plane in zip(("fg", "bg", "blend"), planes, strict=True):
        np.testing.assert_allclose(plane, getattr(expected, name).numpy(), atol=1e-5, err_msg=name)
    model = read_model(tmp_path / "lfm.pb")
    assert (model.target, model.card["input"]["minus"]) == (WRITE_UP, list(WRITE_UP_MEAN))
    assert model.card["outputs"] == list(WRITE_UP_OUTPUTS)
    alpha = in_opencv(model)(image.numpy()).alpha  # so that `latefusion parity` takes it, too
    np.testing.assert_allclose(alpha, expected.alpha[0, 0].numpy(), atol=1e-5)
    assert describe(str(model.path))["input"].startswith("RGB 0..255 minus (127.156207, 115.91")


def test_the_text_beside_a_graph_is_replaced_with_it_alone(tmp_path: Path) -> None:
    source, out = save_toy(tmp_path / "a.safetensors"), tmp_path / "b.pb"
    for target in (WRITE_UP, WRITE_UP, "tensorflow"):
        export(source, out, ExportOptions(target, (64, 64)))
        beside = {"b.pbtxt"} if target == WRITE_UP else set()
        assert names(tmp_path) == {"a.safetensors", "b.pb", "b.json", *beside}
    (tmp_path / "b.pbtxt").write_text("mine")
    with pytest.raises(
        OutputError, match=r"b\.pbtxt would be replaced but does not belong to b\.pb"
    ):
        export(source, out, ExportOptions(WRITE_UP, (64, 64)))
    assert (tmp_path / "b.pbtxt").read_text() == "mine"
