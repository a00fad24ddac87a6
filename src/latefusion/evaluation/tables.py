"""An evaluation as a plain-text table, and the definitions of its figures in words."""

import math
from collections.abc import Mapping, Sequence

from latefusion.errors import shown
from latefusion.evaluation.scores import TOTAL, Evaluation
from latefusion.evaluation.summary import COVERAGE, RESAMPLES, Group, Interval
from latefusion.metrics import Measure

MAX_SOURCES = 20  # with more sources than this, tables show only the group of all photos
INTERVAL_CONVENTION = (
    f"means over photos, with {COVERAGE} % intervals: percentile bootstrap over photos, "
    f"{RESAMPLES} resamples; none for one photo"
)
DOUBT_CONVENTION = (
    "Spearman: rank correlation of a photo's doubt (1 - confidence) with its error; share: of the "
    "absolute error in the 10 % of the pixels with the greatest expected error, mean over photos"
)


def shown_groups(summary: Mapping[str, Group]) -> dict[str, Group]:
    """The groups for a table: all photos first, then up to MAX_SOURCES sources, or none."""
    sources = {name: group for name, group in summary.items() if name != TOTAL}
    return {TOTAL: summary[TOTAL]} | (sources if len(sources) <= MAX_SOURCES else {})


def conventions(evaluation: Evaluation) -> list[str]:
    """The definitions needed to compare the figures with those of others, one line each."""
    lines = [str(measure) for measure in evaluation.measures.values()]
    doubt = [DOUBT_CONVENTION] if any(r.confidence is not None for r in evaluation.rows) else []
    return [*lines, INTERVAL_CONVENTION, *doubt]


def decimal(value: float | None, digits: int) -> str:
    """A number with a fixed count of decimals; "-" where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def bounds(interval: Interval, digits: int, form: str) -> str:
    """The interval's ends in `form`, such as "[{}, {}]"; "-" where there is none."""
    low, high = (decimal(end, digits) for end in (interval.low, interval.high))
    return "-" if math.isnan(interval.low) else form.format(low, high)


def text_table(evaluation: Evaluation, summary: Mapping[str, Group], width: int) -> str:
    """A table with a line per measure and a column per group.

    Groups that do not fit in `width` characters continue in a further block below.
    """
    measures = list(evaluation.measures.values())
    columns = [_column(name, group, measures) for name, group in shown_groups(summary).items()]
    heads = ["", *(f"{m.label} {'↓' if m.better == 'lower' else '↑'}" for m in measures)]
    if summary[TOTAL].spearman is not None:
        heads += ["Spearman of doubt ↑", "error in doubtful 10 % ↑"]
    wide = max(len(cell) for column in columns for cell in column) + 3
    first = max(map(len, heads))
    each = max(1, (width - first) // wide)
    blocks = [columns[at : at + each] for at in range(0, len(columns), each)]
    return "\n\n".join(_block(heads, block, first, wide) for block in blocks)


def _block(heads: Sequence[str], columns: Sequence[Sequence[str]], first: int, wide: int) -> str:
    lines = zip(heads, *columns, strict=False)  # without doubt, the heads end before the columns
    return "\n".join(
        f"{head:{first}}" + "".join(f"{cell:>{wide}}" for cell in cells) for head, *cells in lines
    )


def _column(name: str, group: Group, measures: Sequence[Measure]) -> list[str]:
    cells = [f"{shown(name)} ({group.photos})"]
    for measure in measures:
        found = group.scores[measure.key]
        mean = decimal(found.mean, measure.digits)
        cells.append(f"{mean} {bounds(found, measure.digits, '[{}, {}]')}")
    return [*cells, decimal(group.spearman, 2), decimal(group.doubt_share, 2)]
