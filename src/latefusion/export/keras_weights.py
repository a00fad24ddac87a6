"""Import of Keras weights: the authors' .h5 file in, a checkpoint of this package out."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from latefusion.errors import WeightsError
from latefusion.model.checkpoint import save_network
from latefusion.model.encoders.densenet import BLOCKS, GROWTH
from latefusion.model.encoders.stock import name_differences
from latefusion.model.matting import MattingNetwork, NetworkConfig
from latefusion.runtime.model_file import refuse_keras_model

CONV = {"kernel": "weight", "bias": "bias"}
NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
MOST_PACKED = 20  # times as large unpacked, at most; weights hardly pack at all
DENSE_LAYER = {"0_bn": "norm1", "1_conv": "conv1", "1_bn": "norm2", "2_conv": "conv2"}

# Keras appends _1, _2 .. to names when a session builds a graph again. No layer's own name ends
# like that.
AGAIN = re.compile(r"_\d+$")

Arrays = Mapping[str, np.ndarray]


def import_keras(source: Path, target: Path) -> None:
    """Convert the Keras weight file `source` to the checkpoint `target`.

    Raises WeightsError if the file does not hold a late-fusion network, OutputError if the target
    cannot be written.
    """
    save_network(target, read_keras(source), data=f"imported from {source.name}")


def read_keras(source: Path) -> MattingNetwork:
    """Read the network of a Keras .h5 file written by save_weights or save.

    The network's size follows from the file, and every tensor must be used. Raises WeightsError
    that names missing and unexpected tensors.
    """
    refuse_keras_model(source)
    arrays = _read_arrays(source)
    config = _config(arrays, source)
    with torch.device("meta"):  # without memory, before all shapes are checked
        claimed = MattingNetwork(config)
    keys = tensor_names(claimed)
    if problems := name_differences(keys, arrays):
        raise WeightsError(
            f"{source}: {'; '.join(problems)}; expected the {len(keys)} weights of the "
            "late-fusion network of the size given by this file's names and shapes"
        )
    shapes = {key: value.shape for key, value in claimed.state_dict().items()}
    values = {key: _tensor(arrays[name]) for name, key in keys.items()}
    for name, key in keys.items():
        if values[key].shape != shapes[key]:
            raise WeightsError(
                f"{source}: {name} has the shape {tuple(values[key].shape)} in PyTorch's order; "
                f"a network of this size needs {tuple(shapes[key])}"
            )
    network = MattingNetwork(config)
    state = network.state_dict() | values  # with the step counters, which Keras does not have
    network.load_state_dict(state)
    return network.eval()


def _tensor(array: np.ndarray) -> Tensor:
    """The array as a tensor, a convolution's kernel transposed from HWIO to OIHW."""
    return torch.from_numpy(array.transpose(3, 2, 0, 1).copy() if array.ndim == 4 else array)


def _read_arrays(source: Path) -> Arrays:
    """The weights of an .h5 file by LAYER/KIND, such as conv1/bn/gamma."""
    if not source.is_file():
        raise WeightsError(f"{source}: no such file; give a Keras .h5 weight file")
    try:
        with h5py.File(source, "r") as file:
            return _arrays_in(file, source)
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{source}: not a readable Keras .h5 file ({error})") from error


def _arrays_in(file: h5py.File, source: Path) -> Arrays:
    inside = "layer_names" not in file.attrs and "model_weights" in file
    weights = _part(file, "model_weights") if inside else file
    if "layer_names" not in weights.attrs:
        raise WeightsError(
            f"{source}: no attribute layer_names on the root or on model_weights; "
            "give a file that Keras 2 wrote by save_weights, or any Keras by model.save('NAME.h5')"
        )
    arrays: dict[str, np.ndarray] = {}
    room = MOST_PACKED * source.stat().st_size
    for layer in _texts(weights.attrs["layer_names"]):
        for weight in _texts(_part(weights, layer).attrs["weight_names"]):
            kind = AGAIN.sub("", weight.rpartition("/")[2].removesuffix(":0"))
            name = f"{AGAIN.sub('', layer)}/{kind}"
            if name in arrays:
                raise WeightsError(f"{source}: {name} occurs twice; give a file of one network")
            data = _dataset(weights, f"{layer}/{weight}")
            room -= max(data.nbytes, math.prod(data.chunks or ()) * data.dtype.itemsize)
            if room < 0:
                raise ValueError(f"the arrays claim over {MOST_PACKED} times the size of the file")
            arrays[name] = np.asarray(data, dtype=np.float32)
    return arrays


def _part(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """What lies under a path of the file itself. Raises ValueError for a link, also to other files.

    HDF5 opens any file, also a pipe, that a link or a dataset names.
    """
    for part in path.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"{path} is a link; copy the values into the file")
        group = group[part]
    return group


def _dataset(weights: h5py.Group, path: str) -> h5py.Dataset:
    """An array whose values lie in the file itself. Raises ValueError and TypeError."""
    found = _part(weights, path)
    if not isinstance(found, h5py.Dataset):
        raise TypeError(f"{path} is no array")
    if found.external or found.is_virtual:
        raise ValueError(f"{path} has its values in another file; copy them into this one")
    return found


def _texts(names: Iterable[str | bytes]) -> Iterator[str]:
    for name in names:
        yield name.decode() if isinstance(name, bytes) else name


def _config(arrays: Arrays, source: Path) -> NetworkConfig:
    """The network's configuration, inferred from the tensors' names and the kernels' shapes."""
    blocks = tuple(_count(arrays, f"conv{b}_block{{}}_1_conv/kernel", first=1) for b in range(2, 6))
    fusion = _count(arrays, "fusion_conv{}/kernel", first=0)

    def out(layer: str) -> int:
        kernel = arrays.get(f"{layer}/kernel")
        if kernel is None or kernel.ndim != 4 or not kernel.size:
            raise WeightsError(
                f"{source}: no convolution {layer}; give the weights of the late-fusion network "
                "with a DenseNet encoder"
            )
        return int(kernel.shape[3])

    growth = out("conv2_block1_2_conv")
    stock = (blocks, growth) == (BLOCKS, GROWTH)
    return NetworkConfig(
        encoder="densenet201",
        width=out("deFG_up4_conv"),
        fusion=tuple(out(f"fusion_conv{i}") for i in range(fusion)),
        encoder_args={} if stock else {"blocks": blocks, "growth": growth},
    )


def _count(arrays: Arrays, pattern: str, first: int) -> int:
    """The number of names that match the pattern, numbered from `first` without a gap; >= 1."""
    count = 1
    while pattern.format(first + count) in arrays:
        count += 1
    return count


def tensor_names(network: MattingNetwork) -> dict[str, str]:
    """A dict from Keras' LAYER/KIND, such as conv1/bn/gamma, to the key of our state dict."""
    state = network.state_dict()
    keys = {}
    for layer, module in _modules(network.encoder.blocks, len(network.config.fusion)):
        kinds = NORM if isinstance(network.get_submodule(module), nn.BatchNorm2d) else CONV
        keys.update({f"{layer}/{kind}": f"{module}.{ours}" for kind, ours in kinds.items()})
    return {name: key for name, key in keys.items() if key in state}


def _modules(blocks: Sequence[int], fusion: int) -> Iterator[tuple[str, str]]:
    """Pairs of a Keras layer's name and the name of our module."""
    yield from _encoder_modules(blocks)
    for keras, ours in (("deFG", "fg"), ("deBG", "bg")):
        yield from _decoder_modules(keras, ours)
    yield "fusion_convrgb", "fusion.rgb"
    yield "fusion_bnrgb", "fusion.rgb_norm"
    for i in range(fusion):
        yield f"fusion_conv{i}", f"fusion.convs.{i}"
        yield f"fusion_bn{i}", f"fusion.norms.{i}"
    yield "fusion_conv_output", "fusion.head"


def _encoder_modules(blocks: Sequence[int]) -> Iterator[tuple[str, str]]:
    features = "encoder.features"
    yield "conv1/conv", f"{features}.conv0"
    yield "conv1/bn", f"{features}.norm0"
    for b, layers in enumerate(blocks, start=1):
        for i in range(1, layers + 1):
            for keras, ours in DENSE_LAYER.items():
                layer = f"{features}.denseblock{b}.denselayer{i}"
                yield f"conv{b + 1}_block{i}_{keras}", f"{layer}.{ours}"
    for b in range(1, len(blocks)):
        yield f"pool{b + 1}_bn", f"{features}.transition{b}.norm"
        yield f"pool{b + 1}_conv", f"{features}.transition{b}.conv"
    yield "bn", f"{features}.norm5"


def _decoder_modules(keras: str, ours: str) -> Iterator[tuple[str, str]]:
    for k in (5, 4, 3, 2, 1):
        yield f"{keras}_deconv{k}_conv", f"{ours}.deconv{k}.conv"
        yield f"{keras}_deconv{k}_bn", f"{ours}.deconv{k}.norm"
    yield f"{keras}_up4_conv", f"{ours}.up4"
    for k in (3, 2, 1, 0):
        for conv in ("conv1", "conv2", "conv3"):
            yield f"{keras}_side_{k}_{conv}", f"{ours}.side{k}.{conv}"
