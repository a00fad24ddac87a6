"""The command line: parse, call one function, print."""

import logging
import sys
import unicodedata
import warnings
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from latefusion import __version__
from latefusion.cli_evaluate import evaluation
from latefusion.cli_export import deployment
from latefusion.cli_training import training
from latefusion.devices import AUTO, DEVICES, MOST_THREADS
from latefusion.errors import ImageError, LatefusionError, OutputError
from latefusion.lazy import EPSILON
from latefusion.matte import KINDS
from latefusion.predictor import Matter
from latefusion.terminal import check_size, complain, progress_bar
from latefusion.writing import Picture, make_folder, write_picture

OTHER_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".avif")


class Commands(TyperGroup):
    """All commands; here, and only here, an error becomes one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; LatefusionError exits with 1, Ctrl-C with 130, a bug with a traceback."""
        logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it logs what it raises
        warnings.showwarning = lambda message, *_: complain(f"warning: {message}")
        if hasattr(sys.stdout, "reconfigure"):  # a file name need not be valid text
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except LatefusionError as error:
            complain(f"error: {error}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            complain("interrupted")
            raise typer.Exit(130) from None


app = typer.Typer(
    name="latefusion",
    cls=Commands,
    help="Portrait matting: cut people out of photos, and train the network that does it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The `latefusion` command."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"latefusion {__version__}")
        raise typer.Exit


@app.callback()
def latefusion(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Portrait matting: cut people out of photos, and train the network that does it."""


def _parse_kinds(text: str) -> list[str]:
    kinds = list(dict.fromkeys(kind.strip() for kind in text.split(",")))
    for kind in kinds:
        if kind not in KINDS:
            raise typer.BadParameter(f"{kind!r} is not one of {', '.join(KINDS)}")
    return kinds


@app.command()
def matte(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO", show_default=False, help="Photos of people.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help="The folder of the results; with one photo and one kind also a name like me.png.",
        ),
    ] = Path(),
    save: Annotated[
        str, typer.Option(help=f"What to save, separated by commas: {', '.join(KINDS)}.")
    ] = "cutout",
    model: Annotated[
        Path | None, typer.Option(help="An exported .onnx file in place of the built-in network.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(callback=check_size, help="Longer side of the network's input."),
    ] = None,
    device: Annotated[
        str, typer.Option(help=f"Where the network runs: {', '.join(DEVICES)}.")
    ] = AUTO,
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_THREADS, help="Threads on the CPU. Default: one a core."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where the device is not there.")
    ] = False,
    epsilon: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="The fusion network runs where the branches disagree by that much; alpha is then"
            " no further than that from the whole network's. 0 runs it everywhere.",
        ),
    ] = EPSILON,
) -> None:
    """Cut people out of photos: writes PHOTO-cutout.png, or what --save names.

    A photo that cannot be read is reported and left out; the exit code is then 1.
    """
    files = plan(photos, _parse_kinds(save), out)
    predictor = Matter(model, size, threads, device, strict=strict, epsilon=epsilon)
    predictor.load()  # a bad model ends the run here, not once per photo
    make_folder(next(iter(files.values()))[0][1].parent)
    start = perf_counter()
    with progress_bar(len(files)) as progress:
        jobs = progress.track(files.items(), description="Matting")
        shares = [_matte_one(predictor, photo, results) for photo, results in jobs]
    done = [share for share in shares if share is not None]
    if done:
        each, share = (perf_counter() - start) / len(shares), sum(done) / len(done)
        complain(f"{predictor.device}: {each:.2f} s a photo, fusion in {share:.0%} of the tiles")
    if len(done) < len(shares):
        raise typer.Exit(1)


Results = list[tuple[str, Path]]  # kind and file


def plan(photos: Iterable[Path], kinds: list[str], out: Path) -> dict[Path, Results]:
    """The files to write for each photo, so that none replaces another one or a photo.

    Raises typer.BadParameter.
    """
    unique = list({photo.resolve(): photo for photo in photos}.values())
    names_a_file = not out.is_dir() and out.suffix.lower() == ".png"
    if names_a_file and len(unique) * len(kinds) > 1:
        raise typer.BadParameter(f"{out} is one file, but there are several results; give a folder")
    if not out.is_dir() and out.suffix.lower() in OTHER_IMAGE_SUFFIXES:
        raise typer.BadParameter(f"results are PNG files; name it {out.with_suffix('.png')}")
    files = {
        photo: [(kind, out if names_a_file else out / f"{photo.stem}-{kind}.png") for kind in kinds]
        for photo in unique
    }
    _refuse_overwriting(files)
    return files


def _refuse_overwriting(files: dict[Path, Results]) -> None:
    photos = {photo.resolve() for photo in files}
    owners: dict[str, Path] = {}
    for photo, results in files.items():
        for _, path in results:
            if path.resolve() in photos:
                raise typer.BadParameter(f"{path} is one of the photos; choose another -o")
            # The same name in another case or another spelling of an accent is one file elsewhere.
            key = unicodedata.normalize("NFC", str(path)).casefold()
            if key in owners:
                raise typer.BadParameter(
                    f"{owners[key]} and {photo} would both become {path};"
                    " run them apart, each with its own -o"
                )
            owners[key] = photo


def _matte_one(predictor: Matter, photo: Path, results: Results) -> float | None:
    """Write the results of one photo, print their names and give its share of tiles that fused.

    None if that failed.
    """
    try:
        found = predictor(photo)
        for kind, path in results:
            write_picture(path, Picture(KINDS[kind](found), found.icc, found.dpi))
            typer.echo(path)
    except (ImageError, OutputError) as error:
        complain(f"error: {error}")
        return None
    return found.fused


app.add_typer(evaluation)
app.add_typer(training)
app.add_typer(deployment)
