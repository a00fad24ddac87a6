"""The facts that `latefusion info` prints about a preset, a checkpoint or an exported file."""

from pathlib import Path
from typing import TYPE_CHECKING

from latefusion.errors import WeightsError, one_line
from latefusion.runtime.model_file import DYNAMIC, read_model, refuse_keras

if TYPE_CHECKING:
    from latefusion.model.matting import MattingNetwork

Facts = dict[str, str]
EXPORTED = (".onnx", ".pb")
APART = ("format", "input", "bytes", "sha256", "parameters", "gmac")  # sidecar entries shown apart


def describe(name: str) -> Facts:
    """Describe a preset by name, a .safetensors checkpoint, or an exported file with its sidecar.

    Raises WeightsError for a file that is damaged or was not written by this package.
    """
    path = Path(name)
    if path.suffix in EXPORTED:
        return describe_export(path)
    refuse_keras(path)
    return describe_checkpoint(path) if path.suffix == ".safetensors" else describe_preset(name)


def describe_export(path: Path) -> Facts:
    """Describe an exported file by its sidecar, after checking its SHA-256; needs no PyTorch."""
    card = read_model(path).card
    rest = {key: _text(value) for key, value in card.items() if key not in APART}
    try:
        parts = _parts(card.get("parameters", {}), card.get("gmac", {}))
    except (AttributeError, TypeError, ValueError):
        parts = {"parts": "not readable in the sidecar; export the checkpoint again"}
    facts = {
        "file": _size(path),
        "sha256": f"{card['sha256']} (checked)",
        "input": f"RGB 0..255{_minus(card['input'])}, {_input_size(card['input'])}",
        **parts,
    }
    return facts | {key: value for key, value in rest.items() if key not in facts}


def _minus(given: dict[str, object]) -> str:
    """The mean that the file's program has to subtract from an image, if it has to."""
    return f" minus ({_text(given['minus'])})" if "minus" in given else ""


def _input_size(given: dict[str, object]) -> str:
    if given["size"] == DYNAMIC:
        return f"any multiples of 32, longer side {given['side']} by default"
    return f"{_by(given['size'])} (H x W) only"


def _parts(parameters: dict[str, int], gmac: dict[str, float]) -> Facts:
    """A line for each part of the network and for their total."""
    at = _by(gmac.get("at", ()))
    return {
        part: f"{number:,} parameters, {gmac.get(part, 0):.2f} GMAC at {at}"
        for part, number in parameters.items()
    }


def _by(size: object) -> str:
    return " x ".join(map(str, size)) if isinstance(size, list | tuple) else str(size)


def _size(path: Path) -> str:
    return f"{path} ({path.stat().st_size / 1e6:.1f} MB)"


def _text(value: object) -> str:
    """A value of the sidecar on one line."""
    if value == {}:
        return "not stated"
    if isinstance(value, dict):
        return "; ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return one_line(str(value))


def describe_checkpoint(path: Path) -> Facts:
    """Describe a checkpoint by its notes and its network; loading verifies the checksum."""
    from latefusion.model.checkpoint import load_network, read_notes

    network, notes = load_network(path), read_notes(path)
    sha256 = f"{notes['sha256']} (of the tensors, checked)" if "sha256" in notes else "none stored"
    rest = {key: _text(value) for key, value in notes.items() if key not in ("config", "sha256")}
    return {"file": _size(path), "sha256": sha256, **_network(network), **rest}


def describe_preset(name: str) -> Facts:
    """Describe a preset of the table PRESETS. Raises WeightsError for another name."""
    from latefusion.model.matting import PRESETS, MattingNetwork

    if name not in PRESETS:
        raise WeightsError(
            f"{name} is not a preset ({', '.join(PRESETS)}) and not a .safetensors, .onnx or .pb"
            " file; give one of these"
        )
    return _network(MattingNetwork(PRESETS[name]).eval())


def _network(network: "MattingNetwork") -> Facts:
    from latefusion.model.complexity import cost, preset_of

    counted = cost(network)
    facts = {"preset": preset_of(network), "encoder network": network.config.encoder}
    return facts | _parts(counted["parameters"], counted["gmac"])
