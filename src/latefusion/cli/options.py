"""The options that commands share, and a dataclass of options as options of a command."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import typer

from latefusion.errors import LatefusionError
from latefusion.images.compositing import as_background
from latefusion.inference.options import FOLDER, MACHINE, Declared, declared
from latefusion.inference.outputs import Into, Look
from latefusion.runtime.devices import DEVICES, MOST_THREADS
from latefusion.runtime.model_file import BUILT_IN, packaged


def packaged_as(ending: str) -> Callable[[Path | None], Path | None]:
    """A callback that gives the packaged file of that ending for the name `lite`."""

    def find(value: Path | None) -> Path | None:
        return None if value is None else packaged(value, ending)

    return find


def unless_built_in(value: Path | None) -> Path | None:
    """None, which stands for the built-in network, for the name `lite`; any other path as it is."""
    return None if str(value) == BUILT_IN else value


Model = Annotated[
    Path | None,
    typer.Option(
        metavar="lite|FILE",
        show_default="lite",
        callback=unless_built_in,
        help="An exported .onnx file in place of the built-in network.",
        rich_help_panel=MACHINE,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="|".join(DEVICES), help="The device of the network.", rich_help_panel=MACHINE
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_THREADS,
        show_default="one a core",
        help="Threads on the CPU; no more than one a core are started.",
        rich_help_panel=MACHINE,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Fail where the device is missing, instead of using the CPU.",
        rich_help_panel=MACHINE,
    ),
]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(help="Work on this machine, or on a Ray cluster.", rich_help_panel=MACHINE),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="With --engine ray: the cluster's head.",
        show_default="a cluster on this machine alone",
        rich_help_panel=MACHINE,
    ),
]
IntoOption = Annotated[
    Into,
    typer.Option(
        help="With --engine ray: results as files, or in shards of --per-shard photos.",
        rich_help_panel=FOLDER,
    ),
]
PerShard = Annotated[
    int, typer.Option(min=1, max=100_000, help="Photos in a shard.", rich_help_panel=FOLDER)
]


class Cluster(NamedTuple):
    """The options of `--engine ray` alone; `out` is a folder's path or URL."""

    out: str
    into: Into
    per_shard: int
    address: str | None
    device: str


class Only(NamedTuple):
    """Names of the options that a command takes of a dataclass; others keep their default."""

    names: tuple[str, ...]


def clip_options(kind: type[Any]) -> Only:
    """The options of a dataclass that clips have, too."""
    return Only(tuple(each.name for each in declared(kind) if each.option.clips))


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take the options of dataclasses, each declared in its field.

    A parameter annotated with a dataclass of options, or Annotated with it and Only, becomes an
    option for each field. The command gets the object; what that refuses is a usage error.
    """
    signature = inspect.signature(command, eval_str=True)
    groups = {name: _group(each.annotation) for name, each in signature.parameters.items()}

    @functools.wraps(command)
    def call(**given: Any) -> None:
        for name, (kind, options) in groups.items():
            if kind:
                values = {each.name: given.pop(each.name) for each in options}
                given[name] = _made(kind, values)
        command(**given)

    parameters = []
    for name, each in signature.parameters.items():
        kind, options = groups[name]
        parameters += [_parameter(option) for option in options] if kind else [each]
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call


def _group(annotation: Any) -> tuple[type[Any] | None, list[Declared]]:
    """The dataclass of options that an annotation names, and those wanted of it."""
    kind, *marks = get_args(annotation) or (annotation,)
    if not is_dataclass(kind) or not isinstance(kind, type):
        return None, []
    only = next((mark for mark in marks if isinstance(mark, Only)), None)
    return kind, [each for each in declared(kind) if only is None or each.name in only.names]


def _made(kind: type[Any], values: dict[str, Any]) -> Any:
    try:
        return kind(**values)
    except LatefusionError as error:
        raise typer.BadParameter(str(error)) from None


def _parameter(declared: Declared) -> inspect.Parameter:
    """A parameter as typer reads it."""
    name, type_, default, option = declared
    shown = typer.Option(
        f"--{name.replace('_', '-')}",  # and no --no-NAME
        help=option.help,
        rich_help_panel=option.panel,
        min=option.least,
        max=option.most,
        show_default=option.default or True,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[type_, shown]
    )


def with_background(look: Look) -> Look:
    """The look with its background's image read, once for many photos. Raises ImageError."""
    if look.transparent or not isinstance(look.background, str):
        return look
    return replace(look, background=as_background(look.background))
