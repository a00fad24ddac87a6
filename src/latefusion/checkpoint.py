"""Weights of a matting network as safetensors, with what rebuilds the network in the metadata."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from latefusion.errors import OutputError, WeightsError
from latefusion.model.matting import MattingNetwork, NetworkConfig


def save_network(path: Path, network: MattingNetwork, half: bool = False, **notes: str) -> None:
    """Write the weights (fp16 where `half`) with the network's configuration and `notes`."""
    dtype = torch.float16 if half else torch.float32
    state = {
        name: value.detach().cpu().to(dtype if value.is_floating_point() else value.dtype).contiguous()
        for name, value in network.state_dict().items()
    }
    metadata = {"config": json.dumps(asdict(network.config)), **notes}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(state, temporary, metadata)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_network(path: Path) -> MattingNetwork:
    """The network that `save_network` wrote, in eval mode. Raises WeightsError."""
    network = MattingNetwork(read_config(path))
    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path}: its tensors do not fit its configuration") from error
    return network.eval()


def read_notes(path: Path) -> dict[str, str]:
    """The metadata of a checkpoint. Raises WeightsError for any other file."""
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
        return NetworkConfig(
            config["encoder"], config["width"], tuple(config["fusion"]), config["encoder_args"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: its network configuration is damaged") from error
