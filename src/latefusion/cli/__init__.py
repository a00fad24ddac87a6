"""The command line: each command parses its options, calls one function and prints the result."""

import logging
import math
import multiprocessing
import signal
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from latefusion import __version__
from latefusion.cli.evaluate import evaluation
from latefusion.cli.export import deployment
from latefusion.cli.matte import photos_app
from latefusion.cli.old_names import new_names
from latefusion.cli.serve import serving
from latefusion.cli.streams import Streams, flush_stdout
from latefusion.cli.terminal import complain
from latefusion.cli.training import training_app
from latefusion.cli.video import video_app
from latefusion.errors import LatefusionError, one_line

UsageError: Any = typer.BadParameter.__base__  # typer gives it no name of its own


def finite(ctx: Any, option: Any, value: Any) -> Any:
    """Refuse NaN and infinity, which no range of an option excludes. Raises typer.BadParameter."""
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, float) and not math.isfinite(number):
            raise typer.BadParameter(f"{number} is not a finite number.", ctx, option)
    return value


class Commands(TyperGroup):
    """All commands; the only place where an error becomes one line and an exit code."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command with the paragraphs of its help unwrapped, so that they fill any terminal."""
        command = super().get_command(ctx, cmd_name)
        for option in command.params if command else ():
            option.callback = option.callback or finite
        if command and command.help:
            paragraphs = command.help.split("\n\n")
            command.help = "\n\n".join(" ".join(each.split()) for each in paragraphs)
        return command

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what comes before the command, and keep all words for messages."""
        ctx.obj = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command: LatefusionError exits with 1, a bug with a traceback.

        Ctrl-C exits with 130. A command that another signal ends exits with 128 plus the signal's
        number, as in shells.
        """
        logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it logs the errors that it raises,
        warnings.filterwarnings("ignore", module="PIL")  # and warns about files that it can read
        warnings.showwarning = lambda message, *_: complain(f"warning: {message}")
        if hasattr(sys.stdout, "reconfigure"):  # file names may be invalid UTF-8
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except LatefusionError as error:
            complain(f"error: {error}")
            raise typer.Exit(1) from None
        except UsageError as error:
            if renamed := new_names(ctx.obj, error.message):
                wrong = error.message.partition(" Did you mean ")[0].rstrip(".")
                error.message, error.possibilities = f"{wrong}; {renamed}", None
            error.message = one_line(error.message)  # it may name a file
            raise
        except KeyboardInterrupt as stopped:
            complain("interrupted")
            number = stopped.args[0] if stopped.args else signal.SIGINT
            raise typer.Exit(128 + number) from None


app = typer.Typer(
    name="latefusion",
    cls=Commands,
    help="Portrait matting: cut people out of photos, and train the network that does it.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the `latefusion` command. A stdout that cannot be written exits with 1."""
    multiprocessing.freeze_support()  # for processes that a frozen program starts
    streams = Streams()
    try:
        try:
            app()
        finally:
            flush_stdout()
    except OSError as error:
        message = streams.failure(error)
        if message is None:
            raise
        if message:
            complain(f"error: {message}")
        sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"latefusion {__version__}")
        raise typer.Exit


@app.callback()
def latefusion(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Portrait matting: cut people out of photos, and train the network that does it."""


app.add_typer(photos_app)
app.add_typer(serving)
app.add_typer(video_app)
app.add_typer(evaluation)
app.add_typer(training_app)
app.add_typer(deployment)
