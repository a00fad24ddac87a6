"""The command that measures quality: evaluate."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latefusion.cli.options import Only, with_options
from latefusion.cli.streams import print_name
from latefusion.cli.terminal import complain, progress_bar
from latefusion.images.writing import make_folder
from latefusion.inference.options import DEFAULTS, WHOLE, MattingOptions
from latefusion.inference.predictor import Predictor
from latefusion.metrics import MEASURES, Measure, measures_in_band

if TYPE_CHECKING:  # only for a run, to keep the other commands quick
    from latefusion.evaluation.scores import Case, Evaluation, Watch

evaluation = typer.Typer()

PIPED = (160, 24)  # columns and lines assumed when the output is not a terminal
EITHER = (
    "give either --data PATH (and --model, --size, --tiles, --refine) to score a model, or"
    " --pred DIR with --true DIR to score ready alphas"
)
MODEL, ALPHAS, RESULTS = "Score a model", "Score ready alphas", "Results"  # panels of --help


def parse_measures(text: str) -> dict[str, Measure]:
    """Measures by their keys, separated by commas. Raises typer.BadParameter."""
    known = MEASURES | measures_in_band()
    keys = list(dict.fromkeys(key.strip() for key in text.split(",")))
    for key in keys:
        if key not in known:
            raise typer.BadParameter(f"unknown measure {key!r}; choose from {', '.join(known)}")
    return {key: known[key] for key in keys}


@evaluation.command()
@with_options
def evaluate(
    *,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Photos with true alphas: a list file, a folder or a tar shard. Repeatable."
            " Required to score a model.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="lite|FILE",
            show_default="lite",
            help="The built-in network (lite) or an exported .onnx file.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    matting: Annotated[MattingOptions, Only(("size", "tiles", "refine"))],
    pred: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of alphas made by any tool, scored in place of a model.",
            rich_help_panel=ALPHAS,
        ),
    ] = None,
    true: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the true alphas, with the same names. Required with --pred.",
            rich_help_panel=ALPHAS,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the photos, with the same names, to show them in the report.",
            rich_help_panel=ALPHAS,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="DIR",
            help="Folder for evaluation.json, evaluation.csv and report.html.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    measures: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help=f"Measures, separated by commas: {', '.join(MEASURES | measures_in_band())}.",
            rich_help_panel=RESULTS,
        ),
    ] = ",".join(MEASURES),
) -> None:
    """Score a model, or alphas made by any tool, against true alphas.

    Prints the mean of each measure with its 95 % interval. A photo that cannot be scored is
    reported and left out; the exit code is then 1.
    """
    from latefusion.data.sources import VAL_LIST, read_pairs
    from latefusion.evaluation.gallery import Gallery
    from latefusion.evaluation.report import write_report
    from latefusion.evaluation.scores import evaluate_folders, evaluate_model, ranking

    chosen = parse_measures(measures)
    if out:
        make_folder(out)  # fail here, not after all photos, if it cannot be written
    gallery = Gallery(ranking(chosen))
    watch: Watch = gallery.add if out else lambda *_: None
    if data and not (pred or true or images):
        built_in = model in (None, "lite")
        predictor = Predictor(None if built_in else model, replace(matting, framing=WHOLE))
        about = _about_model(predictor, model or "lite")
        pairs = read_pairs(data, VAL_LIST)
        found = evaluate_model(predictor, pairs, chosen, _track, watch)
    elif pred and true and not (data or model or matting != DEFAULTS):
        about = {"predictions": str(pred), "truths": str(true)}
        found = evaluate_folders(pred, true, chosen, _track, watch, images if out else None)
    else:
        raise typer.BadParameter(EITHER)
    written = write_report(out, found, about, gallery.pictures()) if out else []
    _tell(found)  # after writing, because the reader of a pipe may close it
    for path in written:
        print_name(path)
    if found.bad:
        raise typer.Exit(1)


def _track(cases: "list[Case]") -> "Iterator[Case]":
    with progress_bar(len(cases)) as progress:
        yield from progress.track(cases, description="Scoring")


def _about_model(predictor: Predictor, name: str) -> dict[str, str | int]:
    found = predictor.model  # a bad model file fails here, not once per photo
    sha256 = hashlib.sha256(found.data).hexdigest()
    options = predictor.options
    return {
        "model": name,
        "longer side": options.size or found.side,
        "framing": options.framing,
        "sha256": sha256,
        "tiles": "yes" if options.tiles else "no",
        "refine": options.refine,
    }


def _tell(found: "Evaluation") -> None:
    """Print the table and its definitions on stdout, photos that were not scored on stderr."""
    from latefusion.evaluation.summary import summarise
    from latefusion.evaluation.tables import conventions, text_table

    if found.rows:
        width = shutil.get_terminal_size(PIPED).columns
        typer.echo(text_table(found, summarise(found.rows, found.measures), width))
        typer.echo("\n" + "\n".join(conventions(found)))
    for bad in found.bad:
        complain(f"error: {bad.reason}")
    if found.bad:
        complain(f"{len(found.bad)} of {len(found.bad) + len(found.rows)} photos not scored")
