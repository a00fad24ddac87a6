"""Weights of a matting network as safetensors, with what rebuilds the network in the metadata."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from latefusion.errors import WeightsError
from latefusion.images.writing import whole_file
from latefusion.model.encoders import ENCODERS
from latefusion.model.matting import MattingNetwork, NetworkConfig
from latefusion.runtime.model_file import read_json, refuse_keras
from latefusion.schema import brief, read_entries

# What may be given as a checkpoint.
EXPECTED = (
    "give what a training run saved (.safetensors); `train --encoder-weights` takes a stock encoder"
)


def save_network(path: Path, network: MattingNetwork, half: bool = False, **notes: str) -> None:
    """Write the weights with the network's configuration and `notes`. Raises OutputError.

    `half` stores the kernels in fp16. Biases, norms and their statistics stay in fp32: they are
    few, and a variance may lie outside of fp16's range.
    """
    state = {
        name: stored(value.detach().cpu(), half) for name, value in network.state_dict().items()
    }
    metadata = {"config": json.dumps(asdict(network.config)), "sha256": digest(state), **notes}
    with whole_file(path) as file:
        file.write(save(state, metadata))


def digest(state: dict[str, Tensor]) -> str:
    """SHA-256 over the names and bytes of all tensors: the same however a file orders them."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode())
        found.update(state[name].reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def stored(value: Tensor, half: bool) -> Tensor:
    """A tensor as the file holds it: contiguous, and in fp16 where it is a kernel and `half`."""
    if half and value.ndim > 1:
        value = value.to(torch.float16)
    return value.contiguous()


def load_network(path: Path) -> MattingNetwork:
    """The network that `save_network` wrote, in eval mode, its checksum tested. WeightsError."""
    config = read_config(path)
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if read_notes(path).get("sha256") not in (None, digest(state)):
            raise WeightsError(f"{path} is damaged (sha256); get a whole copy of it")
        _check_fit(config, state)
        network = MattingNetwork(config)
        network.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, LookupError, SafetensorError) as error:
        raise WeightsError(f"{path}: its tensors do not fit its configuration") from error
    return network.eval()


def _check_fit(config: NetworkConfig, state: dict[str, Tensor]) -> None:
    """Build the network without its memory, which a configuration may claim, and compare shapes.

    Raises RuntimeError, ValueError or TypeError.
    """
    blocks = [each for each in config.encoder_args.values() if isinstance(each, tuple)]
    if max(len(config.fusion), *map(sum, blocks), 0) > len(state):  # each layer has a tensor
        raise ValueError("more layers than tensors")
    with torch.device("meta"):
        network = MattingNetwork(config)
    network.load_state_dict(state, assign=True)


def read_notes(path: Path) -> dict[str, str]:
    """The metadata of a checkpoint. Raises WeightsError for any other file."""
    refuse_keras(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give what a training run saved (.safetensors)")
    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path} is not a readable safetensors file: {error}; {EXPECTED}"
        ) from error
    if "config" not in notes:
        raise WeightsError(
            f"{path} was not written by latefusion: no network configuration in it; {EXPECTED}"
        )
    return notes


def read_config(path: Path) -> NetworkConfig:
    """The configuration stored in a checkpoint. Raises WeightsError."""
    try:
        config = read_entries(NetworkConfig, read_json(read_notes(path)["config"]))
    except ValueError as error:
        raise WeightsError(f"{path}: its network configuration is damaged ({error})") from error
    if config.encoder not in ENCODERS:
        raise WeightsError(f"{path}: this version has no encoder {brief(config.encoder)}")
    given: dict[str, Any] = config.encoder_args  # JSON has lists only
    arguments = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    return replace(config, encoder_args=arguments)
