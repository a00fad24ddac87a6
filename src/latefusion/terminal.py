"""What the commands share: complaints and a progress bar on stderr, and the check of --size."""

import re
import sys
from typing import TYPE_CHECKING

import typer

from latefusion.errors import LatefusionError
from latefusion.framing import check_side

if TYPE_CHECKING:
    from rich.progress import Progress


def complain(message: str) -> None:
    """Print one line on stderr."""
    typer.echo(one_line(message), err=True)


def one_line(message: str) -> str:
    """The message without control characters, which a file name may hold."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", message)


def progress_bar(items: int) -> "Progress":
    """A bar for that many items; silent for fewer than two and where stderr is no terminal."""
    from rich.console import Console  # only for a run, to keep --help quick
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(
        console=console,
        transient=True,
        # A pipe must not lose its lines to the console; a closed stdout is None.
        redirect_stdout=bool(sys.stdout and sys.stdout.isatty()),
        disable=items < 2 or not console.is_terminal,
    )


def check_size(size: int | None) -> int | None:
    """The callback of --size. Raises typer.BadParameter."""
    if size is None:
        return None
    try:
        return check_side(size)
    except LatefusionError as error:
        raise typer.BadParameter(str(error)) from None
