"""Weights of a matting network as safetensors, with what rebuilds the network in the metadata."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from latefusion.errors import WeightsError
from latefusion.images.writing import whole_file
from latefusion.model.matting import MattingNetwork, NetworkConfig


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
        network = MattingNetwork(config)
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if read_notes(path).get("sha256") not in (None, digest(state)):
            raise WeightsError(f"{path} is damaged (sha256); get a whole copy of it")
        network.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise WeightsError(f"{path}: its tensors do not fit its configuration") from error
    except KeyError as error:
        raise WeightsError(f"{path}: this version has no encoder {error}") from error
    return network.eval()


def read_notes(path: Path) -> dict[str, str]:
    """The metadata of a checkpoint. Raises WeightsError for any other file."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give what a training run saved (.safetensors)")
    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error
    if "config" not in notes:
        raise WeightsError(f"{path} was not written by latefusion: no network configuration in it")
    return notes


def read_config(path: Path) -> NetworkConfig:
    """The configuration stored in a checkpoint. Raises WeightsError."""
    try:
        config = json.loads(read_notes(path)["config"])
        arguments = {name: from_json(value) for name, value in config["encoder_args"].items()}
        return NetworkConfig(config["encoder"], config["width"], tuple(config["fusion"]), arguments)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: its network configuration is damaged") from error


def from_json(value: Any) -> Any:
    """JSON has lists only; in a configuration they are tuples."""
    return tuple(value) if isinstance(value, list) else value
