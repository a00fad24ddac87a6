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
    if path.suffix == ".onnx":
        return describe_export(path)
    return describe_checkpoint(path) if path.suffix == ".safetensors" else describe_preset(what)


def describe_export(path: Path) -> Facts:
    """From the sidecar alone, after the file has been checked against its sha256."""
    load_weights(path.parent, path.stem)
    card = json.loads(path.with_suffix(".json").read_text())
    size = " x ".join(str(side) for side in card["input"]["size"])
    facts = {
        "file": f"{path} ({path.stat().st_size / 1e6:.1f} MB, sha256 checked)",
        "preset": card["preset"],
        "stage": card["stage"],
        "input": f"RGB 0..255, recommended box {size}",
        "outputs": ", ".join(card["outputs"]),
        "parameters": f"{card['parameters']:,}",
        "GMAC at 512 x 512": f"{card['gmac_512']:.2f}",
    }
    return facts | {key: str(card[key]) for key in ("terms",) if key in card}


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
