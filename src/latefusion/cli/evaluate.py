"""The command for people who measure: evaluate."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latefusion.cli.options import Only, with_options
from latefusion.cli.terminal import complain, progress_bar
from latefusion.images.writing import make_folder
from latefusion.inference.options import DEFAULTS, WHOLE, MattingOptions
from latefusion.inference.predictor import Predictor
from latefusion.metrics import MEASURES, Measure, measures_in_band

if TYPE_CHECKING:  # only for a run, to keep the other commands quick
    from latefusion.evaluation.scores import Case, Evaluation, Watch

evaluation = typer.Typer()

PIPED = (160, 24)  # columns and lines where the output is no terminal
EITHER = "give --data PATH to score a model, or --pred DIR with --true DIR to score ready alphas"


def parse_measures(text: str) -> dict[str, Measure]:
    """Measures by their keys, separated by commas. Raises typer.BadParameter."""
    known = MEASURES | measures_in_band()
    keys = list(dict.fromkeys(key.strip() for key in text.split(",")))
    for key in keys:
        if key not in known:
            raise typer.BadParameter(f"{key!r} is not one of {', '.join(known)}")
    return {key: known[key] for key in keys}


@evaluation.command()
@with_options
def evaluate(
    *,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Pairs: list files, folders or tar shards; repeatable."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="lite (default), the built-in network, or an .onnx file.")
    ] = None,
    matting: Annotated[MattingOptions, Only(("size", "tiles", "refine"))],
    pred: Annotated[
        Path | None, typer.Option(help="A folder of ready alphas of any tool, in place of a model.")
    ] = None,
    true: Annotated[
        Path | None, typer.Option(help="With --pred: the folder of the true alphas, named alike.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="With --pred: the folder of the photos, for the report.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder for evaluation.json, .csv and report.html."),
    ] = None,
    measures: Annotated[str, typer.Option(help="Which measures, separated by commas.")] = ",".join(
        MEASURES
    ),
) -> None:
    """Score a model on pairs, or ready alphas against truths, with 95 % intervals.

    A photo that cannot be scored is named and left out; the exit code is then 1.
    """
    from latefusion.data.sources import VAL_LIST, read_pairs
    from latefusion.evaluation.gallery import Gallery
    from latefusion.evaluation.report import write_report
    from latefusion.evaluation.scores import evaluate_folders, evaluate_model, ranking

    chosen = parse_measures(measures)
    if out:
        make_folder(out)  # what cannot be written ends the run here, not after all photos
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
    _tell(found)  # after writing: what reads the output may close it
    for path in written:
        typer.echo(path)
    if found.bad:
        raise typer.Exit(1)


def _track(cases: "list[Case]") -> "Iterator[Case]":
    with progress_bar(len(cases)) as progress:
        yield from progress.track(cases, description="Scoring")


def _about_model(predictor: Predictor, name: str) -> dict[str, str | int]:
    found = predictor.model  # a bad model ends the run here, not once per photo
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
    """The table and its conventions on stdout, what could not be scored on stderr."""
    from latefusion.evaluation.scores import summarise
    from latefusion.evaluation.tables import conventions, text_table

    if found.rows:
        width = shutil.get_terminal_size(PIPED).columns
        typer.echo(text_table(found, summarise(found.rows, found.measures), width))
        typer.echo("\n" + "\n".join(conventions(found)))
    for bad in found.bad:
        complain(f"error: {bad.reason}")
    if found.bad:
        complain(f"{len(found.bad)} of {len(found.bad) + len(found.rows)} photos not scored")
