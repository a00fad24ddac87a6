"""Weight files of stock networks: read without running code, checked against an encoder."""

from collections.abc import Collection, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from latefusion.errors import WeightsError
from latefusion.model.pickled import read_pickled
from latefusion.runtime.model_file import KERAS, KERAS_MODEL

PICKLED = (".pth", ".pt")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth or .pt file by name, or a WeightsError; runs no code."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give a .pth or .safetensors state dict")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, LookupError, ValueError, RuntimeError) as error:
            raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error
    if path.suffix not in PICKLED:
        of_keras = path.suffix.lower() in (*KERAS, KERAS_MODEL)
        cure = "; latefusion import-keras reads a whole network's .h5" * of_keras
        raise WeightsError(
            f"{path}: an encoder's weights end in .pth, .pt or .safetensors, not '{path.suffix}'"
            f"{cure}"
        )
    try:
        return _plain_state_dict(read_pickled(path), path)
    except ValueError as error:
        raise WeightsError(
            f"{path}: not a plain state dict; nothing but tensors is ever loaded ({error})"
        ) from error


def _plain_state_dict(loaded: object, path: Path) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        raise WeightsError(
            f"{path}: holds a {type(loaded).__name__}; a state dict is name -> tensor"
        )
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{path}: entry {key!r} is a {type(value).__name__}; a state dict is name -> tensor"
            )
    return dict(loaded)


def check_matches(module: nn.Module, given: Mapping[str, Tensor], path: Path, right: str) -> None:
    """Raise WeightsError, naming the first differences, unless `given` fills the module exactly."""
    wanted, found = _shapes(module.state_dict()), _shapes(given)
    problems = name_differences(wanted, found)
    wrong = [key for key in wanted if key in found and found[key] != wanted[key]]
    problems += [f"{key} is {found[key]} instead of {wanted[key]}" for key in wrong[:1]]
    if problems:
        raise WeightsError(f"{path}: {'; '.join(problems)}; expected {right}")


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes by name, without the counters of training steps, which old files lack."""
    return {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}


def name_differences(wanted: Collection[str], given: Collection[str]) -> list[str]:
    """The first missing and the first unexpected name, in words; empty where there is neither."""
    differences = {
        "missing": [name for name in wanted if name not in given],
        "unexpected": [name for name in given if name not in wanted],
    }
    return [
        f"{what} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        for what, names in differences.items()
        if names
    ]
