"""Charts of the report as inline SVG: a histogram and a scatter plot, coloured by group."""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 58, 546, 14, 268  # the plot area inside the axes
BINS = 24
DECADES = 4  # a logarithmic axis is at most this long; smaller values are drawn at its edge
# (high / low below this, tick factors per decade) of a logarithmic axis.
LOG_TICKS = ((12, (1, 2, 3, 5, 7)), (200, (1, 2, 5)), (2000, (1, 3)), (math.inf, (1,)))
COLOURS = ("#3b7dd8", "#e0893b", "#3aa374", "#b65fb8", "#c9504c", "#7a8794", "#b59b2a", "#2aa5b5")


class Point(NamedTuple):
    """A photo in a scatter plot."""

    x: float
    y: float
    group: str
    label: str


class Axis(NamedTuple):
    """A scale: `place` maps a value to [0, 1] along the axis, `ticks` are the labelled values."""

    place: Callable[[float], float]
    ticks: list[float]


def linear_axis(values: Sequence[float]) -> Axis:
    """A linear axis whose ends are the nearest round numbers outside the range of the values."""
    least, most = min(values), max(values)
    span = most - least
    if span <= 1e-9 * max(abs(least), abs(most)):  # equal up to rounding
        span = abs(most) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 3))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
    first, last = math.floor(least / step), math.ceil(most / step)
    low, high = first * step, max(last, first + 1) * step
    ticks = [float(f"{i * step:.10g}") for i in range(first, max(last, first + 1) + 1)]
    return Axis(lambda value: (value - low) / (high - low), ticks)


def log_axis(values: Sequence[float]) -> Axis:
    """A logarithmic axis of at most DECADES; smaller values and zeros are placed at its edge."""
    high = max(values) if max(values) > 0 else 1.0
    low = max(min([v for v in values if v > 0], default=high / 10), high / 10**DECADES)
    low, high = min(low, high / 3) / 1.1, high * 1.1
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = next(factors for ratio, factors in LOG_TICKS if high / low < ratio)
    marks = [float(f"{factor}e{decade}") for decade in decades for factor in factors]
    span = math.log(high / low)
    return Axis(
        lambda value: math.log(max(value, low) / low) / span,
        [mark for mark in marks if low <= mark <= high],
    )


def histogram(values: Sequence[float], groups: Sequence[str], axis: Axis, title: str) -> str:
    """An SVG histogram of photos by value, with the groups stacked in each bar."""
    names = list(dict.fromkeys(groups))
    counts = np.zeros((len(names), BINS), int)
    for value, group in zip(values, groups, strict=True):
        place = min(max(axis.place(value), 0), 1)
        counts[names.index(group), min(BINS - 1, int(place * BINS))] += 1
    height = linear_axis([0, int(counts.sum(axis=0).max())])
    whole = [tick for tick in height.ticks if tick == int(tick)]
    bars, wide = [], (RIGHT - LEFT) / BINS
    for bin_ in range(BINS):
        below = 0
        for name, count in zip(names, counts[:, bin_], strict=True):
            if count:
                low, high = _y(height.place(below)), _y(height.place(below + count))
                bars.append(
                    f'<rect x="{LEFT + bin_ * wide + 1:.1f}" y="{high:.1f}" width="{wide - 2:.1f}"'
                    f' height="{low - high:.1f}" rx="1.5" fill="{_colour(names, name)}">'
                    f"<title>{escape(name)}: {count}</title></rect>"
                )
                below += count
    frame = _frame(axis, Axis(height.place, whole), title, "photos")
    return _svg([*frame, *bars, *_legend(names)], f"Histogram: {title}")


def scatter(points: Sequence[Point], x: Axis, y: Axis, x_title: str, y_title: str) -> str:
    """An SVG scatter plot with one dot per photo; the photo's label is the dot's tooltip."""
    names = list(dict.fromkeys(point.group for point in points))
    dots = [
        f'<circle cx="{_x(x.place(p.x)):.1f}" cy="{_y(y.place(p.y)):.1f}" r="3.6"'
        f' fill="{_colour(names, p.group)}" fill-opacity="0.75"><title>{escape(p.label)}: '
        f"{x_title} {p.x:.4g}, {y_title} {p.y:.4g}</title></circle>"
        for p in points
    ]
    frame = _frame(x, y, x_title, y_title)
    return _svg([*frame, *dots, *_legend(names)], f"{y_title} against {x_title}")


def _frame(x: Axis, y: Axis, x_title: str, y_title: str) -> Iterable[str]:
    for tick in y.ticks:
        at = _y(y.place(tick))
        yield f'<path class="grid" d="M{LEFT} {at:.1f}H{RIGHT}"/>'
        yield f'<text x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>'
    for tick in x.ticks:
        at = _x(x.place(tick))
        yield f'<path class="grid" d="M{at:.1f} {TOP}V{BOTTOM}"/>'
        yield f'<text x="{at:.1f}" y="{BOTTOM + 16}" text-anchor="middle">{tick:g}</text>'
    yield f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>'
    middle = (TOP + BOTTOM) / 2
    yield f'<text x="{RIGHT}" y="{BOTTOM + 34}" text-anchor="end">{escape(x_title)}</text>'
    turned = f'transform="rotate(-90 14 {middle})"'
    yield f'<text x="14" y="{middle}" text-anchor="middle" {turned}>{escape(y_title)}</text>'


def _legend(names: Sequence[str]) -> Iterable[str]:
    """The names that fit below the axis, in their colours; a single group needs no legend."""
    at = float(LEFT)
    for name in names[: len(COLOURS)] if len(names) > 1 else ():
        if at > RIGHT - 180:
            return
        short = name if len(name) <= 14 else name[:13] + "…"
        colour = _colour(names, name)
        yield f'<circle cx="{at + 5:.0f}" cy="{BOTTOM + 46}" r="4.5" fill="{colour}"/>'
        yield f'<text x="{at + 14:.0f}" y="{BOTTOM + 50}">{escape(short)}</text>'
        at += 28 + 7.2 * len(short)


def _svg(parts: Iterable[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 8}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def _colour(names: Sequence[str], name: str) -> str:
    return COLOURS[min(names.index(name), len(COLOURS) - 1)]


def _x(place: float) -> float:
    return LEFT + place * (RIGHT - LEFT)


def _y(place: float) -> float:
    return BOTTOM - place * (BOTTOM - TOP)
