"""A run's settings as YAML: written into its folder, and read to repeat it."""

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch
import yaml

from latefusion import __version__
from latefusion.data.augment import Recipe
from latefusion.errors import TrainingError
from latefusion.images.regular import read_regular
from latefusion.images.writing import whole_file
from latefusion.schema import brief
from latefusion.training.settings import PACKAGED_NAMES, Settings

SETTINGS = "settings.yaml"  # in the run's folder
MADE_WITH = "made_with"  # the entry with the versions, which reading passes over
OF_A_CALL = {"resume", "progress"}  # not of the run
HEADING = f"# latefusion train --config {SETTINGS} --out ANOTHER repeats this run\n"


class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without aliases, of which ten lines make a list of a billion entries."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases (*name); write the values out")
        return super().compose_node(parent, index)


def write_settings(path: Path, settings: Settings) -> None:
    """Write the settings with the versions of what runs them. Raises OutputError.

    Paths are absolute, so that the file can be used from any folder.
    """
    versions = {
        "latefusion": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
    entries = {
        each.name: _plain(getattr(settings, each.name))
        for each in fields(settings)
        if each.name not in OF_A_CALL
    }
    text = yaml.safe_dump({MADE_WITH: versions, **entries}, sort_keys=False, allow_unicode=True)
    with whole_file(path) as file:
        file.write((HEADING + text).encode("utf-8", "backslashreplace"))


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a file by the names of their fields; those without a value are left out.

    Raises TrainingError for a file that cannot be read, an unknown name or a wrong value.
    """
    try:
        found = yaml.load(read_regular(path).decode(), PlainLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise TrainingError(f"{path}: cannot be read as settings: {why}") from None
    if not isinstance(found, dict):
        raise TrainingError(f"{path}: holds no settings; expected lines such as `stage: joint`")
    known = {each.name: each for each in fields(Settings) if each.name not in OF_A_CALL}
    unknown = [name for name in found if name not in known and name != MADE_WITH]
    if unknown:
        name = brief(unknown[0]).strip("'")
        raise TrainingError(f"{path}: unknown setting {name}; choose {', '.join(known)}")
    return {
        name: _value(path, name, known[name].type, value)
        for name, value in found.items()
        if name != MADE_WITH and value is not None
    }


def missing(values: Mapping[str, Any]) -> str | None:
    """The first setting without a value that has no default."""
    required = (
        each.name
        for each in fields(Settings)
        if each.default is MISSING and each.default_factory is MISSING
    )
    return next((name for name in required if name not in values), None)


def _plain(value: Any) -> Any:
    """A setting as YAML has it."""
    if isinstance(value, Path):
        return str(value) if str(value) in PACKAGED_NAMES else str(value.absolute())
    if isinstance(value, Recipe):
        return {name: _plain(each) for name, each in asdict(value).items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value


def _value(path: Path, name: str, kind: Any, value: Any) -> Any:
    """A setting of YAML as its field holds it. Raises TrainingError for a value of another kind."""
    try:
        return READERS[kind](value)
    except (TypeError, ValueError, OverflowError, AttributeError):
        raise TrainingError(f"{path}: {name} cannot be {brief(value)}") from None


def _path(value: Any) -> Path:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(value)
    return Path(value)


def _paths(value: Any) -> list[Path]:
    if not isinstance(value, str | list):
        raise TypeError(value)
    return [_path(each) for each in ([value] if isinstance(value, str) else value)]


def _size(value: Any) -> tuple[int, int]:
    height, width = value.split(",") if isinstance(value, str) else value
    return _whole(height), _whole(width)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != float(value):
        raise ValueError(value)
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError(value)
    return float(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _words(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _recipe(value: Any) -> Recipe:
    ranges: dict[str, Any] = {
        name: tuple(map(_number, each)) if isinstance(each, list) else _number(each)
        for name, each in value.items()
    }
    return Recipe(**ranges)


READERS: dict[Any, Any] = {
    str: _words,
    str | None: _words,
    Path: _path,
    Path | None: _path,
    Sequence[Path]: _paths,
    tuple[int, int]: _size,
    tuple[int, int] | None: _size,
    int: _whole,
    int | None: _whole,
    float: _number,
    float | None: _number,
    bool: _switch,
    Recipe: _recipe,
}
