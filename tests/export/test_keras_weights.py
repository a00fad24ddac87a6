"""Keras weight files: both layouts import whole, and anything else is refused by name."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from latefusion.errors import OutputError, WeightsError
from latefusion.export.keras_weights import import_keras, read_keras, tensor_names
from latefusion.model.checkpoint import load_network, read_config
from latefusion.model.matting import PRESETS, MattingNetwork, NetworkConfig

GOLDEN = Path(__file__).parents[1] / "golden" / "keras-small.h5"
SMALL = NetworkConfig(
    encoder="densenet201",
    width=16,
    fusion=(24, 16, 12, 8, 20),
    encoder_args={"blocks": (2, 3, 2, 2), "growth": 32},
)

NAME = "conv1/conv/kernel:0"
Weights = dict[str, dict[str, np.ndarray]]  # layer -> weight name -> values


def golden_weights() -> Weights:
    """The fixture's weights as Keras names them, layers without weights too."""
    with h5py.File(GOLDEN) as file:
        return {
            layer: {w: file[layer][w][:] for w in file[layer].attrs["weight_names"]}
            for layer in file.attrs["layer_names"]
        }


def write(path: Path, weights: Weights, root: str = "/") -> Path:
    """A file as Keras writes it: save_weights to the root, save to model_weights."""
    with h5py.File(path, "w") as file:
        group = file.require_group(root)
        group.attrs["layer_names"] = [layer.encode() for layer in weights]
        for layer, arrays in weights.items():
            sub = group.create_group(layer)
            sub.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, values in arrays.items():
                sub.create_dataset(name, data=values)
    return path


def again(name: str) -> str:
    """The name in a second graph of one session: conv1/conv_1/kernel:0, not conv1/conv/kernel:0."""
    layer, _, kind = name.rpartition("/")
    return f"{layer}_1/{kind}"


def assert_same(network: MattingNetwork, other: MattingNetwork) -> None:
    state, right = network.state_dict(), other.state_dict()
    assert state.keys() == right.keys()
    assert all(torch.equal(state[key], right[key]) for key in right)


@pytest.fixture(scope="module")
def golden() -> MattingNetwork:
    return read_keras(GOLDEN)


def test_the_configuration_is_read_off_the_file(golden: MattingNetwork) -> None:
    assert golden.config == SMALL
    state = {k: v for k, v in golden.state_dict().items() if "num_batches" not in k}
    assert sum(v.numel() for v in state.values()) == 831_853
    assert not golden.training


def test_an_import_rebuilds_itself(golden: MattingNetwork, tmp_path: Path) -> None:
    import_keras(GOLDEN, tmp_path / "small.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]
    assert read_config(tmp_path / "small.safetensors") == SMALL
    assert_same(load_network(tmp_path / "small.safetensors"), golden)


def test_a_full_save_gives_the_same_network(golden: MattingNetwork, tmp_path: Path) -> None:
    path = write(tmp_path / "full.h5", golden_weights(), root="model_weights")
    with h5py.File(path, "a") as file:
        file.create_group("optimizer_weights").create_dataset("iteration:0", data=3)
    assert_same(read_keras(path), golden)


def test_names_of_a_second_graph_give_the_same_network(
    golden: MattingNetwork, tmp_path: Path
) -> None:
    weights = {
        layer: {again(name): values for name, values in arrays.items()}
        for layer, arrays in golden_weights().items()
    }
    assert_same(read_keras(write(tmp_path / "again.h5", weights)), golden)


def test_weights_listed_in_another_order_give_the_same_network(
    golden: MattingNetwork, tmp_path: Path
) -> None:
    weights = {layer: dict(reversed(arrays.items())) for layer, arrays in golden_weights().items()}
    assert_same(read_keras(write(tmp_path / "reversed.h5", weights)), golden)


@pytest.mark.slow
def test_a_file_of_full_size_is_the_densenet201_preset(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = MattingNetwork(PRESETS["densenet201"])
    state = network.state_dict()
    weights: Weights = {}
    for name, key in tensor_names(network).items():
        shape = state[key].shape
        keras_shape = [shape[i] for i in (2, 3, 1, 0)] if len(shape) == 4 else shape
        values = np.broadcast_to(np.float16(0.5), keras_shape)
        weights.setdefault(name.rpartition("/")[0], {})[f"{name}:0"] = values
    assert sum(len(arrays) for arrays in weights.values()) == 1_136
    assert "deFG_side_1_conv1" not in weights
    read = read_keras(write(tmp_path / "full-size.h5", weights))
    assert read.config == PRESETS["densenet201"]
    assert (read.fusion.head.weight == 0.5).all()


def remove(weights: Weights) -> None:
    del weights["deBG_side_2_conv1"]


def remove_bias(weights: Weights) -> None:
    del weights["fusion_conv2"]["fusion_conv2/bias:0"]


def remove_middle(weights: Weights) -> None:
    del weights["conv3_block2_1_conv"]


def remove_block(weights: Weights) -> None:
    for layer in [layer for layer in weights if layer.startswith("conv4_")]:
        del weights[layer]


def add(weights: Weights) -> None:
    weights["aux_conv"] = {"aux_conv/kernel:0": np.zeros((1, 1, 3, 2), np.float32)}


def add_kind(weights: Weights) -> None:
    weights["conv1/conv"]["conv1/conv/scale:0"] = np.zeros(64, np.float32)


def reshape(weights: Weights) -> None:
    weights["deFG_side_0_conv3"]["deFG_side_0_conv3/kernel:0"] = np.zeros((1, 1, 5, 1), np.float32)


def twice(weights: Weights) -> None:
    weights["bn_1"] = weights["bn"]


def other_network(weights: Weights) -> None:
    weights.clear()
    weights["dense"] = {"dense/kernel:0": np.zeros((3, 4), np.float32)}


def flat_kernel(weights: Weights) -> None:
    weights["fusion_conv0"]["fusion_conv0/kernel:0"] = np.zeros(24, np.float32)


DAMAGES = [
    (remove, r"missing deBG_side_2_conv1/kernel and 1 more; expected the"),
    (remove_bias, r"missing fusion_conv2/bias; expected"),
    (remove_middle, r"unexpected conv3_block2_0_bn/gamma and \d+ more"),
    (remove_block, r"missing conv4_block1_0_bn/gamma and \d+ more"),
    (add, r"unexpected aux_conv/kernel; expected"),
    (add_kind, r"unexpected conv1/conv/scale; expected"),
    (reshape, r"deFG_side_0_conv3/kernel has the shape \(1, 5, 1, 1\) .* needs \(1, 16, 1, 1\)"),
    (twice, r"bn/gamma occurs twice"),
    (other_network, r"no convolution deFG_up4_conv|no convolution conv2_block1_2_conv"),
    (flat_kernel, r"no convolution fusion_conv0"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_weights_that_do_not_fit_are_named(
    tmp_path: Path, damage: Callable[[Weights], None], message: str
) -> None:
    weights = golden_weights()
    damage(weights)
    source = write(tmp_path / "damaged.h5", weights)
    with pytest.raises(WeightsError, match=message) as caught:
        import_keras(source, tmp_path / "out.safetensors")
    assert str(source) in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"just text\n", GOLDEN.read_bytes()[:100_000]])
def test_a_file_that_is_no_h5_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.h5: not a readable Keras \.h5 file"):
        read_keras(path)


def test_an_h5_of_something_else_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = [1, 2, 3]
    with pytest.raises(WeightsError, match="no attribute layer_names"):
        read_keras(tmp_path / "other.h5")


def test_a_listed_layer_that_is_absent_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "w.h5", golden_weights())
    with h5py.File(path, "a") as file:
        del file["conv1"]["conv"]
    with pytest.raises(WeightsError, match="not a readable Keras"):
        read_keras(path)


def external(file: h5py.File, folder: Path) -> None:
    """The values are bytes of another file: HDF5 reads any, and waits for a pipe."""
    os.mkfifo(folder / "pipe")
    shape = file["conv1/conv"][NAME].shape
    del file["conv1/conv"][NAME]
    size = 4 * int(np.prod(shape))
    file["conv1/conv"].create_dataset(NAME, shape, "f4", external=[(str(folder / "pipe"), 0, size)])


def external_link(file: h5py.File, folder: Path) -> None:
    shutil.copy(GOLDEN, folder / "other.h5")
    del file["conv1/conv"]
    file["conv1/conv"] = h5py.ExternalLink("other.h5", "/conv1/conv")


def soft_link(file: h5py.File, folder: Path) -> None:
    file.move("conv1/conv", "aside")
    file["conv1/conv"] = h5py.SoftLink("/aside")


def linked_weight(file: h5py.File, folder: Path) -> None:
    shutil.copy(GOLDEN, folder / "other.h5")
    del file["conv1/conv"][NAME]
    file["conv1/conv"][NAME] = h5py.ExternalLink("other.h5", f"/conv1/conv/{NAME}")


def virtual(file: h5py.File, folder: Path) -> None:
    shutil.copy(GOLDEN, folder / "other.h5")
    layout = h5py.VirtualLayout(file["conv1/conv"][NAME].shape, "f4")
    layout[...] = h5py.VirtualSource(folder / "other.h5", f"/conv1/conv/{NAME}", layout.shape)
    del file["conv1/conv"][NAME]
    file["conv1/conv"].create_virtual_dataset(NAME, layout)


def unwritten(file: h5py.File, folder: Path) -> None:
    """A terabyte of zeros that is nowhere."""
    del file["conv1/conv"][NAME]
    file["conv1/conv"].create_dataset(NAME, (7, 7, 3, 2**31), "f4", chunks=True)


def packed(file: h5py.File, folder: Path) -> None:
    del file["conv1/conv"][NAME]
    file["conv1/conv"].create_dataset(NAME, data=np.zeros((5000, 20000), "f4"), compression="gzip")


def in_a_large_chunk(file: h5py.File, folder: Path) -> None:
    """A small array that is read by unpacking a gigabyte."""
    del file["conv1/conv"][NAME]
    shape = (7, 7, 3, 64)
    file["conv1/conv"].create_dataset(
        NAME, shape, "f4", maxshape=(7, 7, 3, None), chunks=(7, 7, 3, 1_700_000), compression="gzip"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, "has its values in another file"),
        (external_link, "is a link"),
        (soft_link, "is a link"),
        (linked_weight, "is a link"),
        (virtual, "has its values in another file"),
        (unwritten, "claim over 20 times the size of the file"),
        (packed, "claim over 20 times the size of the file"),
        (in_a_large_chunk, "claim over 20 times the size of the file"),
    ],
)
def test_values_that_are_not_in_the_file_are_refused_unread(
    tmp_path: Path, change: Callable[[h5py.File, Path], None], message: str
) -> None:
    path = write(tmp_path / "w.h5", golden_weights())
    with h5py.File(path, "a") as file:
        change(file, tmp_path)
    with pytest.raises(WeightsError, match=rf"w\.h5: not a readable .* {message}") as caught:
        read_keras(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["deFG_up4_conv", "fusion_conv0", "conv2_block1_2_conv"])
def test_a_width_that_no_memory_holds_is_refused(tmp_path: Path, name: str) -> None:
    weights = golden_weights()
    (kernel,) = (each for each in weights[name] if "kernel" in each)
    weights[name][kernel] = np.zeros((0, 3, 5, 2**30), np.float32)
    with pytest.raises(WeightsError, match="no convolution"):
        read_keras(write(tmp_path / "w.h5", weights))


def test_a_source_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.h5: no such file"):
        read_keras(tmp_path / "absent.h5")


def test_a_target_folder_that_is_absent_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="absent"):
        import_keras(GOLDEN, tmp_path / "absent" / "small.safetensors")
