"""The options of a matte, each declared once: Python, the commands, the server and the digest."""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias, get_args, get_origin

import numpy as np

from latefusion.errors import LatefusionError
from latefusion.images.framing import check_side
from latefusion.inference.subject import ALL, Point, parse_subject
from latefusion.runtime.lazy import EPSILON

# The panels of `--help`.
IN_AND_OUT, QUALITY, SUBJECT = "In and out", "Quality", "Subject"
FOLDER, MACHINE = "Folder", "Machine"

WHOLE: Final = "whole"
CLOSED_FORM: Final = "closed-form"
OFF: Final = "off"
Framing: TypeAlias = Literal["auto", "whole"]
Refinement: TypeAlias = Literal["closed-form", "off"]


@dataclass(frozen=True)
class Option:
    """An option's help and limits, in the annotation of its field.

    `least` and `most` limit a number. `default` is the default in words, for a value that says
    little. With `text`, commands and forms take a string, which the dataclass parses. `clips` is
    False for options of photos only, `clients` for those that a server does not offer.
    """

    help: str
    panel: str
    least: float | None = None
    most: float | None = None
    default: str | None = None
    text: bool = False
    clips: bool = True
    clients: bool = True


class Declared(NamedTuple):
    """A field of a dataclass of options: its name, its type in commands and forms, its default."""

    name: str
    type: Any
    default: Any
    option: Option

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a Literal; empty for any other type."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()


def declared(kind: type[Any]) -> list[Declared]:
    """The options that a dataclass declares, in their order."""
    found = []
    for field in fields(kind):
        type_, option = get_args(field.type)  # of Annotated
        found.append(Declared(field.name, str if option.text else type_, field.default, option))
    return found


def check_declared(options: Any) -> None:
    """Raise LatefusionError for a value that is not among the choices or in the range."""
    for each in declared(type(options)):
        name, value = each.name, getattr(options, each.name)
        least, most = each.option.least, each.option.most
        if each.choices and value not in each.choices:
            raise LatefusionError(
                f"unknown {name} {value!r}; choose {' or '.join(map(str, each.choices))}"
            )
        if each.type is bool and not isinstance(value, bool | np.bool_):
            raise LatefusionError(f"{name} {value!r} is neither True nor False")
        if each.type == int | None and not isinstance(value, int | np.integer | None):
            raise LatefusionError(f"{name} {value!r} is not a whole number")
        if value is None and each.default is None:
            continue
        if least is not None and most is not None and not _within(value, least, most):
            raise LatefusionError(f"{name} {value!r} is not a number from {least:g} to {most:g}")


def _within(value: object, least: float, most: float) -> bool:
    return isinstance(value, int | float | np.number) and bool(least <= value <= most)


@dataclass(frozen=True)
class MattingOptions:
    """The options that change a matte; raises LatefusionError for a value out of range.

    `epsilon` bounds an error: where |fg + bg - 1| is no more, the fusion network does not run, and
    alpha stays within epsilon / 2 of the whole network's at the network's size, and within 0.95
    epsilon at the photo's, before refining. `subject` is `all`, `largest`, or a point as (x, y) or
    "X,Y". `tiles` goes along the outline of a photo larger than the network's input, down to the
    photo's own pixels.
    """

    size: Annotated[
        int | None,
        Option(
            "Longer side of the network's input, a multiple of 32.",
            QUALITY,
            default="the model's",
            clients=False,
        ),
    ] = None
    framing: Annotated[
        Framing,
        Option("auto looks a second time, closer, at a small subject; whole looks once.", QUALITY),
    ] = "auto"
    tiles: Annotated[
        bool,
        Option(
            "See the outline of a large photo in its own pixels; takes longer.",
            QUALITY,
            clips=False,
        ),
    ] = False
    refine: Annotated[
        Refinement,
        Option("closed-form solves the outline anew from the photo's colours.", QUALITY),
    ] = "closed-form"
    epsilon: Annotated[
        float,
        Option(
            "Run the fusion network only where the branches disagree by more; before refining,"
            " alpha is no further than that from the whole network's. 0 runs it everywhere.",
            QUALITY,
            least=0,
            most=1,
            default="1/255",
            clients=False,
        ),
    ] = EPSILON
    rotate_search: Annotated[
        bool,
        Option(
            "Try quarter turns of a photo with an uncertain matte; the result lies as the photo.",
            QUALITY,
            clips=False,
        ),
    ] = False
    subject: Annotated[
        str | Point,
        Option("Keep all, the largest, or the one at X,Y in pixels.", SUBJECT, text=True),
    ] = ALL
    fill_holes: Annotated[bool, Option("Close small gaps that the subject encloses.", SUBJECT)] = (
        False
    )

    def __post_init__(self) -> None:
        check_declared(self)
        if self.size is not None:
            check_side(self.size)
        object.__setattr__(self, "subject", parse_subject(self.subject))

    @property
    def photos_only(self) -> tuple[str, ...]:
        """Names of the options in use that clips do not have."""
        return tuple(
            each.name
            for each in declared(type(self))
            if not each.option.clips and getattr(self, each.name) != each.default
        )


DEFAULTS = MattingOptions()
