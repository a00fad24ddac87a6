"""The evaluation page: one HTML file with scores, charts and the worst photos first."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from latefusion.evaluation.charts import Point, histogram, linear_axis, log_axis, scatter
from latefusion.evaluation.gallery import Picture
from latefusion.evaluation.scores import TOTAL, Bad, Evaluation, Row, badness, ranking
from latefusion.evaluation.summary import Group, Interval
from latefusion.evaluation.tables import bounds, conventions, decimal, shown_groups
from latefusion.folder.page_style import STYLE
from latefusion.metrics import Measure

About = Mapping[str, str | int]  # facts about what was evaluated
Pictures = Mapping[str, Sequence[Picture]]  # by the key of the photo


def as_html(
    evaluation: Evaluation, summary: Mapping[str, Group], about: About, pictures: Pictures
) -> str:
    """A self-contained HTML page: mean scores, charts, and the photos, worst first."""
    measure = ranking(evaluation.measures)
    worst = sorted(evaluation.rows, key=lambda row: _worst_first(row, measure))
    measures = list(evaluation.measures.values())
    return PAGE.format(
        style=STYLE,
        head=_head(evaluation, about),
        bad=_bad(evaluation.bad),
        summary=_summary(shown_groups(summary), measures),
        conventions="".join(f"<li>{escape(text)}</li>" for text in conventions(evaluation)),
        charts=_charts(evaluation.rows, measure, summary),
        order=escape(f"{measure.label}, {measure.region}"),
        photos="".join(
            _card(row, pictures[row.key], measures) for row in worst if row.key in pictures
        ),
        rest=_rest([row for row in worst if row.key not in pictures], measures),
    )


def _worst_first(row: Row, measure: Measure) -> tuple[bool, float]:
    bad = badness(row, measure)
    return math.isnan(bad), -bad if not math.isnan(bad) else 0.0


def _head(evaluation: Evaluation, about: About) -> str:
    facts = {"photos": str(len(evaluation.rows))} | {k: str(value) for k, value in about.items()}
    return "".join(
        f'<div><dt>{escape(name)}</dt><dd title="{escape(value)}">{escape(value)}</dd></div>'
        for name, value in facts.items()
    )


def _bad(bad: Sequence[Bad]) -> str:
    if not bad:
        return ""
    lines = "".join(f"<li>{escape(each.reason)}</li>" for each in bad)
    return f'<section class="bad"><h2>{len(bad)} not scored</h2><ul>{lines}</ul></section>'


def _summary(groups: Mapping[str, Group], measures: Sequence[Measure]) -> str:
    doubt = any(group.spearman is not None for group in groups.values())
    heads = ["photos", *(f"{m.label} {'↓' if m.better == 'lower' else '↑'}" for m in measures)]
    heads += ["Spearman of doubt ↑", "error in doubtful 10 % ↑"] if doubt else []
    lines = []
    for name, group in groups.items():
        cells = [str(group.photos), *(_mean_cell(group.scores[m.key], m.digits) for m in measures)]
        if doubt:
            cells += [decimal(group.spearman, 2), decimal(group.doubt_share, 2)]
        lines.append(_table_line(escape(name), cells))
    return _table("", heads, lines)


def _mean_cell(interval: Interval, digits: int) -> str:
    mean = decimal(interval.mean, digits)
    return f"<b>{mean}</b><small>{bounds(interval, digits, '{} … {}')}</small>"


def _rest(rows: Sequence[Row], measures: Sequence[Measure]) -> str:
    if not rows:
        return ""
    lines = [_table_line(escape(row.key), _score_cells(row, measures)) for row in rows]
    table = _table("photo", [*(measure.label for measure in measures), "confidence"], lines)
    return f"<section><h2>The other {len(rows)}, worst first</h2>{table}</section>"


def _score_cells(row: Row, measures: Sequence[Measure]) -> list[str]:
    scores = [decimal(row.scores[measure.key], measure.digits) for measure in measures]
    return [*scores, decimal(row.confidence, 3)]


def _table(corner: str, heads: Iterable[str], lines: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in (corner, *heads))
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _table_line(name: str, cells: Iterable[str]) -> str:
    return f"<tr><th>{name}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _card(row: Row, pictures: Sequence[Picture], measures: Sequence[Measure]) -> str:
    scores = {m.label: decimal(row.scores[m.key], m.digits) for m in measures}
    if row.confidence is not None:
        scores["confidence"] = decimal(row.confidence, 3)
    numbers = "".join(f"<span>{escape(k)} <b>{value}</b></span>" for k, value in scores.items())
    figures = "".join(
        f'<figure><img src="{picture.url}" alt="{picture.caption}" loading="lazy">'
        f"<figcaption>{picture.caption}</figcaption></figure>"
        for picture in pictures
    )
    size = f"{row.width} x {row.height}"
    return (
        f'<article><h3>{escape(row.key)} <small>{size}</small></h3><p class="scores">{numbers}</p>'
        f'<div class="views">{figures}</div></article>'
    )


def _charts(rows: Sequence[Row], measure: Measure, summary: Mapping[str, Group]) -> str:
    rows = [row for row in rows if not math.isnan(row.scores[measure.key])]
    if not rows:
        return ""
    values = [row.scores[measure.key] for row in rows]
    shown = shown_groups(summary)
    groups = [row.source if row.source in shown else TOTAL for row in rows]
    axis = (log_axis if measure.better == "lower" else linear_axis)(values)
    charts = [(f"{measure.label} per photo", histogram(values, groups, axis, measure.label))]
    points = [
        Point(row.confidence, row.scores[measure.key], group, row.key)
        for row, group in zip(rows, groups, strict=True)
        if row.confidence is not None
    ]
    if points:
        x = linear_axis([point.x for point in points])
        rho = decimal(summary[TOTAL].spearman, 2)
        chart = scatter(points, x, axis, "confidence", measure.label)
        charts.append((f"{measure.label} against confidence (Spearman of doubt {rho})", chart))
    return "".join(f"<figure><h2>{escape(t)}</h2>{chart}</figure>" for t, chart in charts)


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>latefusion evaluation</title>
<style>{style}</style>
</head>
<body>
<header><h1>Evaluation</h1><dl>{head}</dl></header>
{bad}
<section>{summary}<details open><summary>What the numbers mean</summary><ul>{conventions}</ul>
</details></section>
<section class="charts">{charts}</section>
<section><h2>Worst first, by {order}</h2>
<p class="key">difference: <i class="red"></i> too much, <i class="blue"></i> missing,
white is right</p>
{photos}</section>
{rest}
</body>
</html>
"""
