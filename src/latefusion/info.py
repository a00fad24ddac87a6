"""What a preset, a checkpoint or an exported file is: the facts behind `latefusion info`."""

import json
from pathlib import Path

from latefusion.predictor import load_weights

Facts = dict[str, str]


def describe(what: str) -> Facts:
    """Facts about a preset's name, a .safetensors checkpoint or an .onnx file with its sidecar.

    Raises WeightsError for a file that is damaged or was not written by this package.
    """
    path = Path(what)
    if path.suffix.lower() == ".onnx":
        return describe_export(path)
    return describe_checkpoint(path) if path.suffix == ".safetensors" else describe_preset(what)


def describe_export(path: Path) -> Facts:
    """From the sidecar, after the file has been checked against its sha256."""
    side = load_weights(path.parent, path.stem).side
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    facts = {
        "file": f"{path} ({path.stat().st_size / 1e6:.1f} MB, sha256 checked)",
        "input": f"RGB 0..255, longer side {side} by default",
    }
    rest = {key: value for key, value in card.items() if key not in ("input", "format")}
    return facts | {key: _text(value) for key, value in rest.items()}


def _text(value: object) -> str:
    """A sidecar's value on one line."""
    if isinstance(value, dict):
        return "; ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)


def describe_checkpoint(path: Path) -> Facts:
    """From the file's notes and the network that it rebuilds."""
    from latefusion.checkpoint import load_network, read_notes

    notes = {key: value for key, value in read_notes(path).items() if key != "config"}
    size = f"{path} ({path.stat().st_size / 1e6:.1f} MB)"
    return {"file": size, **notes, **_cost(load_network(path))}


def describe_preset(name: str) -> Facts:
    """From the table of presets."""
    from latefusion.errors import WeightsError
    from latefusion.model.matting import PRESETS, MattingNetwork

    if name not in PRESETS:
        known = ", ".join(PRESETS)
        raise WeightsError(f"{name} is no preset ({known}) and no .safetensors or .onnx file")
    return {"preset": name, **_cost(MattingNetwork(PRESETS[name]))}


def _cost(network) -> Facts:  # type: ignore[no-untyped-def]
    from latefusion.complexity import gmac_per_part, parameters_per_part

    parameters, gmac = parameters_per_part(network), gmac_per_part(network.eval())
    facts = {
        part: f"{parameters[part]:,} parameters, {gmac[part]:.2f} GMAC at 512 x 512"
        for part in parameters
    }
    total = f"{sum(parameters.values()):,} parameters, {sum(gmac.values()):.2f} GMAC at 512 x 512"
    return {"network": network.config.encoder, **facts, "total": total}
