"""Helpers of the commands: messages and progress on stderr, sizes, and missing extras."""

import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

import typer

from latefusion.errors import LatefusionError, install_hint, one_line
from latefusion.images.framing import Size, check_side
from latefusion.parallel import cores_for, too_many

if TYPE_CHECKING:
    from rich.progress import Progress


def complain(message: str) -> None:
    """Print one line on stderr."""
    typer.echo(one_line(message), err=True)


def threads_here(threads: int | None) -> int:
    """The threads to use on this machine where --threads has this value; says if they are fewer."""
    if warning := too_many(threads):
        complain(f"warning: {warning}")
    return cores_for(threads)


def progress_bar(items: int | None) -> "Progress":
    """A progress bar for that many items; None for an unknown number.

    Hidden for fewer than two items, and if stderr is no terminal.
    """
    from rich.console import Console  # only for a run, to keep --help quick
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(
        console=console,
        transient=True,
        # The console must not take the lines of a pipe; a closed stdout is None.
        redirect_stdout=bool(sys.stdout and sys.stdout.isatty()),
        disable=(items is not None and items < 2) or not console.is_terminal,
    )


@contextmanager
def item_bar(items: int | None, name: str) -> Iterator[Callable[[], None]]:
    """A bar with items done, items a second and the time left; yields a function to count one."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    start = perf_counter()
    with progress_bar(items) as bar:
        bar.columns = (
            *(BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}")),
            TimeRemainingColumn(),
        )
        task = bar.add_task("Matting", total=items, rate="")
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            rate = done / (perf_counter() - start)
            bar.update(task, advance=1, rate=f"{rate:.1f} {name}/s")

        yield step


@contextmanager
def pass_counter(name: str) -> Iterator[Callable[[], None]]:
    """A line for one photo: its name, passes of the network, time; yields a function to count one.

    Hidden if stderr is no terminal.
    """
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    with progress_bar(None) as bar:
        text = TextColumn("{task.description}", markup=False)
        bar.columns = SpinnerColumn(), text, TimeElapsedColumn()
        task = bar.add_task(f"{one_line(name)}: reading", total=None)
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            bar.update(task, description=f"{one_line(name)}: matting, pass {done}")

        yield step


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Treat SIGTERM, and SIGHUP of a terminal that closes, as Ctrl-C: what is begun is finished."""

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # A signal that the caller ignores, as nohup does, stays ignored.
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def working(message: str) -> Iterator[None]:
    """A spinner with a message during work without steps; hidden if stderr is no terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(Text(one_line(message))):  # no markup
        yield


def check_size(size: int | None) -> int | None:
    """Check the value of --size. Raises typer.BadParameter."""
    if size is None:
        return None
    try:
        return check_side(size)
    except LatefusionError as error:
        raise typer.BadParameter(str(error)) from None


def parse_size(text: str) -> Size:
    """Parse 'H,W' as two numbers. Raises typer.BadParameter."""
    parts = text.split(",")
    if len(parts) != 2 or not all(re.fullmatch(r"\s*\d{1,6}\s*", part) for part in parts):
        raise typer.BadParameter(f"{text!r} is not H,W; for example 256,256")
    return int(parts[0]), int(parts[1])


@contextmanager
def extra_packages(extra: str) -> Iterator[None]:
    """Turn a missing package of an extra into an error that names the command to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "latefusion":
            raise
        raise LatefusionError(
            f"the package {error.name} is not installed; {install_hint(extra)}"
        ) from None
