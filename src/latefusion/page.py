"""The evaluation page: one HTML file with figures, charts and the worst photos first."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from latefusion.charts import Point, histogram, linear_axis, log_axis, scatter
from latefusion.evaluate import TOTAL, Bad, Evaluation, Group, Interval, Row, badness, ranking
from latefusion.gallery import Picture
from latefusion.metrics import Measure
from latefusion.tables import conventions, decimal, shown_groups

About = Mapping[str, str | int]
Gallery = Mapping[str, Sequence[Picture]]


def as_html(
    evaluation: Evaluation, summary: Mapping[str, Group], about: About, pictures: Gallery
) -> str:
    """One page that needs no other file: figures, charts, the worst photos first."""
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
    mean, low, high = (decimal(value, digits) for value in interval[:3])
    return f"<b>{mean}</b><small>{low} … {high}</small>"


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
        f'<figure><img src="{picture.address}" alt="{picture.caption}" loading="lazy">'
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


STYLE = """
:root { --ink: #1d2430; --soft: #667080; --line: #e3e6eb; --card: #fff; --ground: #f4f5f7;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7eaf0; --soft: #98a2b3; --line: #323945; --card: #1e232c; --ground: #14171d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1280px; padding: 24px 16px 64px; color: var(--ink);
  background: var(--ground); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { margin: 0 0 8px; font-size: 28px; }
h2 { margin: 0 0 12px; font-size: 18px; }
h3 { margin: 0; font-size: 15px; overflow-wrap: anywhere; }
section, header { margin-bottom: 28px; }
dl { display: flex; flex-wrap: wrap; gap: 4px 28px; margin: 0; }
dt { color: var(--soft); font-size: 12px; }
dd { margin: 0; max-width: 30ch; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
small, figcaption, .key, summary, details li { color: var(--soft); font-size: 12.5px; }
.wide, article, .charts figure, .bad { background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; padding: 14px 16px; }
.wide { overflow-x: auto; padding: 4px 8px; margin-bottom: 10px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 8px; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; }
tr + tr { border-top: 1px solid var(--line); }
tr:first-child th { white-space: normal; color: var(--soft); font-size: 12.5px; font-weight: 500; }
td small { display: block; }
details ul { margin: 6px 0; padding-left: 20px; }
.bad { border-color: #c9504c; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  gap: 16px; }
figure { margin: 0; }
.charts figure { max-width: 640px; }
.charts h2 { font-size: 15px; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg path { fill: none; stroke: var(--line); }
svg .axis { stroke: var(--soft); }
article { margin-bottom: 14px; }
.scores { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 2px 0 10px; color: var(--soft);
  font-size: 13px; font-variant-numeric: tabular-nums; }
.scores b { color: var(--ink); font-weight: 600; }
.views { display: flex; flex-wrap: wrap; gap: 10px; }
.views img { display: block; max-width: 100%; border-radius: 4px; border: 1px solid var(--line); }
.key i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; }
.red { background: #d62728; }
.blue { background: #1f5ac8; }
@media (max-width: 600px) { svg text { font-size: 16px; }
  .views img { height: 150px; width: auto; } }
"""

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
