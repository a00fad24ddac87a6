"""An evaluation as files: evaluation.json, evaluation.csv and the page report.html."""

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latefusion.evaluation.page import About, Pictures, as_html
from latefusion.evaluation.scores import Evaluation, Row, ranking
from latefusion.evaluation.summary import Group, Interval, summarise
from latefusion.evaluation.tables import DOUBT_CONVENTION, INTERVAL_CONVENTION
from latefusion.images.writing import make_folder, whole_file
from latefusion.metrics import Measure

FORMAT = "latefusion-evaluation/1"


def write_report(out: Path, evaluation: Evaluation, about: About, pictures: Pictures) -> list[Path]:
    """Write the three files into a folder and return their paths.

    Each file is written completely or not at all. `about` holds facts about what was evaluated,
    `pictures` comes from `Gallery.pictures`. Raises OutputError.
    """
    make_folder(out)
    summary = summarise(evaluation.rows, evaluation.measures)
    texts = {
        "evaluation.json": json.dumps(as_json(evaluation, summary, about), indent=1) + "\n",
        "evaluation.csv": as_csv(evaluation),
        "report.html": as_html(evaluation, summary, about, pictures),
    }
    for name, text in texts.items():
        with whole_file(out / name) as file:
            file.write(text.encode("utf-8", "backslashreplace"))  # file names may be invalid UTF-8
    return [out / name for name in texts]


def as_json(evaluation: Evaluation, summary: Mapping[str, Group], about: About) -> dict[str, Any]:
    """The whole evaluation as a JSON object; a missing number is null."""
    measures = evaluation.measures.values()
    return {
        "format": FORMAT,
        "about": dict(about),
        "conventions": {
            **{measure.key: _convention(measure) for measure in measures},
            "intervals": INTERVAL_CONVENTION,
            "doubt": DOUBT_CONVENTION,
            "error": ranking(evaluation.measures).key,
        },
        "summary": {name: _group(group) for name, group in summary.items()},
        "photos": [_row(row) for row in evaluation.rows],
        "bad": [bad._asdict() for bad in evaluation.bad],
    }


def as_csv(evaluation: Evaluation) -> str:
    """The evaluation as CSV, one line per photo; a missing number is an empty field."""
    measures = list(evaluation.measures)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["key", "source", "height", "width", *measures, "confidence", "doubt_share"])
    for row in evaluation.rows:
        numbers = [*row.scores.values(), row.confidence, row.doubt_share]
        writer.writerow([row.key, row.source, row.height, row.width, *map(_number, numbers)])
    return text.getvalue()


def _convention(measure: Measure) -> dict[str, str]:
    names = ("label", "region", "convention", "better")
    return {name: getattr(measure, name) for name in names}


def _group(group: Group) -> dict[str, Any]:
    scores = {key: _interval(interval) for key, interval in group.scores.items()}
    doubt = {"spearman": _number(group.spearman), "doubt_share": _number(group.doubt_share)}
    return {"photos": group.photos, **scores, **doubt}


def _interval(interval: Interval) -> dict[str, float | None]:
    return {name: _number(value) for name, value in interval._asdict().items()}


def _row(row: Row) -> dict[str, Any]:
    scores = {key: _number(value) for key, value in row.scores.items()}
    doubt = {"confidence": _number(row.confidence), "doubt_share": _number(row.doubt_share)}
    place = {"key": row.key, "source": row.source, "height": row.height, "width": row.width}
    return {**place, **scores, **doubt}


def _number(value: float | None) -> float | None:
    """The number, or None for nan, which JSON does not have."""
    return None if value is None or math.isnan(value) else value
