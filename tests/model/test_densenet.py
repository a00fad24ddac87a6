"""The DenseNet encoder: its shapes and borders, and which weight files it takes."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from latefusion.errors import WeightsError
from latefusion.model.encoders.densenet import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    NORM_EPSILON,
    DenseNetEncoder,
    load_imagenet,
    symmetric_pad,
)
from latefusion.model.encoders.stock import read_state_dict

SMALL = (1, 2, 1, 1)


def small_encoder() -> DenseNetEncoder:
    torch.manual_seed(0)
    encoder = DenseNetEncoder(blocks=SMALL)
    for name, value in encoder.state_dict().items():
        if name.endswith(("running_mean", "norm0.bias")):
            value.normal_()
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
    return encoder.eval()


def stock_weights(encoder: DenseNetEncoder) -> dict[str, Tensor]:
    """Like a downloaded stock file: random values, a classifier, no step counters."""
    torch.manual_seed(1)
    state = {k: v.clone() for k, v in encoder.state_dict().items() if "num_batches" not in k}
    for value in state.values():
        value.uniform_(0.1, 1.0)
    state["classifier.weight"] = torch.randn(1000, encoder.widths[-1])
    state["classifier.bias"] = torch.randn(1000)
    return state


def old_style(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {re.sub(r"(layer\d+\.)(norm|conv)(\d)", r"\1\2.\3", k): v for k, v in state.items()}


def loaded_from(path: Path) -> dict[str, Tensor]:
    encoder = DenseNetEncoder(blocks=SMALL)
    load_imagenet(encoder, path)
    return dict(encoder.state_dict())


@pytest.mark.parametrize(("n", "size"), [(1, (1, 4)), (3, (3, 5)), (3, (32, 64))])
def test_symmetric_pad_mirrors_with_the_edge_pixel(n: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (n, n), (n, n)), mode="symmetric")
    np.testing.assert_array_equal(symmetric_pad(x, n).numpy(), expected)


def test_densenet201_has_the_papers_size_and_stock_names() -> None:
    with torch.device("meta"):
        encoder = DenseNetEncoder()
    state = {k: v for k, v in encoder.state_dict().items() if "num_batches" not in k}
    assert sum(v.numel() for v in state.values()) == 18_321_984
    assert encoder.widths == (64, 256, 512, 1792, 1920)
    assert state["features.denseblock1.denselayer1.norm1.weight"].shape == (64,)
    assert state["features.denseblock3.denselayer48.conv2.weight"].shape == (32, 128, 3, 3)
    assert state["features.transition3.conv.weight"].shape == (896, 1792, 1, 1)


def test_five_features_halve_in_size_and_have_the_widths() -> None:
    encoder = small_encoder()
    features = encoder(torch.randn(2, 3, 64, 96))
    shapes = [tuple(f.shape) for f in features]
    assert shapes == [(2, w, 64 >> k, 96 >> k) for k, w in enumerate(encoder.widths, start=1)]


def test_only_the_stem_feature_is_rectified() -> None:
    features = small_encoder()(torch.randn(1, 3, 64, 96))
    assert features[0].min() == 0
    assert all(f.min() < 0 for f in features[1:])


def test_a_constant_image_has_no_border_in_its_features() -> None:
    # Zero padding anywhere but in the max-pool would show as a different edge.
    for feature in small_encoder()(torch.full((1, 3, 64, 96), 50.0)):
        torch.testing.assert_close(feature, feature[:, :, :1, :1].expand_as(feature))


def test_every_batch_norm_has_the_keras_epsilon() -> None:
    norms = [m for m in DenseNetEncoder(SMALL).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {m.eps for m in norms} == {NORM_EPSILON} == {1.001e-5}


def test_four_blocks_are_required() -> None:
    with pytest.raises(ValueError, match="3 dense blocks"):
        DenseNetEncoder(blocks=(1, 2, 3))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("classifier", [True, False])
@pytest.mark.parametrize("old", [True, False])
def test_stock_weights_load_in_every_form(
    tmp_path: Path, suffix: str, classifier: bool, old: bool
) -> None:
    stock = stock_weights(DenseNetEncoder(SMALL))
    given = stock if classifier else {k: v for k, v in stock.items() if "classifier" not in k}
    given = old_style(given) if old else given
    path = tmp_path / f"densenet201{suffix}"
    if suffix == ".safetensors":
        save_file(given, path)
    else:
        torch.save(given, path)
    state = loaded_from(path)
    folded = {"features.conv0.weight", "features.norm0.running_mean"}
    compared = [k for k in state if "num_batches" not in k and k not in folded]
    assert len(compared) == len(stock) - 4
    assert all(torch.equal(state[k], stock[k]) for k in compared)


def test_folded_stem_equals_the_stock_input_convention(tmp_path: Path) -> None:
    stock = stock_weights(DenseNetEncoder(SMALL))
    stock["features.conv0.weight"].normal_(0.02, 0.1)
    torch.save(stock, tmp_path / "w.pth")
    encoder = DenseNetEncoder(SMALL).eval()
    load_imagenet(encoder, tmp_path / "w.pth")
    pixels = torch.randint(0, 256, (1, 3, 64, 96)).float()
    pixels[:, 0] = 255  # a red image, so that swapped channels would show

    def colour(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)

    stock = {k: v.double() for k, v in stock.items()}
    x = (pixels.double() / 255 - colour(IMAGENET_MEAN)) / colour(IMAGENET_STD)
    x = F.conv2d(symmetric_pad(x, 3), stock["features.conv0.weight"], stride=2)
    names = ("running_mean", "running_var", "weight", "bias")
    mean, var, weight, bias = (stock[f"features.norm0.{n}"].view(1, -1, 1, 1) for n in names)
    expected = ((x - mean) / (var + NORM_EPSILON).sqrt() * weight + bias).relu()

    r1 = encoder.double()(pixels.double() - colour(encoder.mean))[0]
    torch.testing.assert_close(r1, expected, rtol=1e-5, atol=1e-5)


def test_no_file_says_what_to_give() -> None:
    with pytest.raises(WeightsError, match=r"give the file of a stock DenseNet-201 state dict"):
        load_imagenet(DenseNetEncoder(SMALL), None)


def test_another_densenet_is_refused_with_the_first_differences(tmp_path: Path) -> None:
    path = tmp_path / "densenet121.pth"
    torch.save(stock_weights(DenseNetEncoder((1, 1, 2, 1))), path)
    with pytest.raises(WeightsError) as caught:
        loaded_from(path)
    message = str(caught.value)
    assert "missing features.denseblock2.denselayer2.norm1.weight and 9 more" in message
    assert "unexpected features.denseblock3.denselayer2.norm1.weight and 9 more" in message
    assert "features.transition2.norm.weight is (96,) instead of (128,)" not in message
    assert "dense blocks of 1, 2, 1, 1 (DenseNet-201: 6, 12, 48, 32)" in message


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    stock = stock_weights(DenseNetEncoder(SMALL))
    del stock["features.norm5.running_var"]
    torch.save(stock, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"missing features\.norm5\.running_var; expected"):
        loaded_from(tmp_path / "w.pth")


def test_a_wrong_shape_is_named(tmp_path: Path) -> None:
    stock = stock_weights(DenseNetEncoder(SMALL))
    stock["features.conv0.weight"] = torch.randn(96, 3, 7, 7)
    torch.save(stock, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"conv0\.weight is \(96, 3, 7, 7\) instead of \(64, 3"):
        loaded_from(tmp_path / "w.pth")


def test_a_refused_file_leaves_the_encoder_as_it_was(tmp_path: Path) -> None:
    encoder = small_encoder()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    torch.save({"weights": torch.ones(3)}, tmp_path / "random.pth")
    with pytest.raises(WeightsError, match="unexpected weights"):
        load_imagenet(encoder, tmp_path / "random.pth")
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


@pytest.mark.parametrize("legacy", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, legacy: bool) -> None:
    victim = tmp_path / "victim"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (victim,)

    path = tmp_path / "weights.pth"
    torch.save({"w": Attack()}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=r"weights\.pth: not a plain state dict"):
        loaded_from(path)
    assert not victim.exists()


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors"])
@pytest.mark.parametrize(
    "content",
    [b"", b"just text\n", bytes(range(256)), b"PK\x03\x04" + bytes(40), pickle.dumps("hello")],
)
def test_a_file_that_is_no_state_dict_gives_one_line(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        loaded_from(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_cut_download_is_refused_wherever_it_ends(tmp_path: Path, legacy: bool) -> None:
    whole, cut = tmp_path / "whole.pth", tmp_path / "cut.pth"
    torch.save({"w": torch.zeros(4)}, whole, _use_new_zipfile_serialization=not legacy)
    content = whole.read_bytes()
    for end in range(0, len(content), 3):
        cut.write_bytes(content[:end])
        with pytest.raises(WeightsError, match="not a plain state dict"):
            read_state_dict(cut)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "holds a list"),
        ({"epoch": 3}, "entry 'epoch' is a int"),
        ({7: torch.ones(2)}, "entry 7 is a Tensor"),
    ],
)
def test_a_file_without_tensors_is_named(tmp_path: Path, value: object, message: str) -> None:
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=message):
        loaded_from(tmp_path / "w.pth")


def test_a_missing_file_and_a_foreign_suffix_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        loaded_from(tmp_path / "absent.pth")
    keras = "; latefusion import-keras reads"
    for suffix, cure in ((".onnx", "$"), (".h5", keras), (".HDF5", keras), (".keras", keras)):
        path = tmp_path / f"w{suffix}"
        path.write_bytes(b"x")
        with pytest.raises(WeightsError, match=rf"not '\{suffix}'{cure}"):
            loaded_from(path)
