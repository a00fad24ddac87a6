"""The measures once more, pixel by pixel from their definitions and with nothing of latefusion."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Pixel = tuple[int, int]


def slow_sad(pred: Plane, true: Plane, region: set[Pixel]) -> float:
    return math.fsum(abs(float(pred[at]) - float(true[at])) for at in region) / 1000


def slow_mse(pred: Plane, true: Plane, region: set[Pixel]) -> float:
    return math.fsum((float(pred[at]) - float(true[at])) ** 2 for at in region) / len(region)


def slow_mad(pred: Plane, true: Plane, region: set[Pixel]) -> float:
    return math.fsum(abs(float(pred[at]) - float(true[at])) for at in region) / len(region)


def slow_iou(pred: Plane, true: Plane, region: set[Pixel]) -> float:
    p, t = ({at for at in region if plane[at] > 0.5} for plane in (pred, true))
    return len(p & t) / len(p | t) if p | t else 1.0


def slow_grad(pred: Plane, true: Plane, region: set[Pixel]) -> float:
    p, t = slow_amplitude(pred), slow_amplitude(true)
    return math.fsum((p[at] - t[at]) ** 2 for at in region) / 1000


def slow_amplitude(alpha: Plane) -> dict[Pixel, float]:
    """The 81 products at every pixel, with the two-dimensional kernel normalised as a whole."""
    sigma, half = 1.4, 4

    def gauss(x: float) -> float:
        return math.exp(-(x**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))

    steps = range(-half, half + 1)
    kernel = np.array([[-x * gauss(x) / sigma**2 * gauss(y) for x in steps] for y in steps])
    kernel /= math.sqrt((kernel**2).sum())
    padded = np.pad(alpha.astype(np.float64), half, mode="edge")
    amplitude = {}
    for row, column in pixels(alpha):
        window = padded[row : row + 2 * half + 1, column : column + 2 * half + 1]
        amplitude[row, column] = math.hypot((window * kernel).sum(), (window * kernel.T).sum())
    return amplitude


def slow_conn(pred: Plane, true: Plane, region: set[Pixel]) -> float:
    """Flood fill; the tenths are rounded to single precision, as the mattes are."""
    level: dict[Pixel, int] = {}
    for step in range(1, 11):
        tenth = np.float32(step) / np.float32(10)
        parts = components({at for at in pixels(pred) if pred[at] >= tenth and true[at] >= tenth})
        size = max((len(part) for part in parts), default=0)
        omega = {at for part in parts if len(part) == size for at in part}
        for at in pixels(pred):
            if at not in omega:
                level.setdefault(at, step - 1)

    def phi(value: float, reached: float) -> float:
        d = value - reached
        return 1 - d if d >= 0.15 else 1.0

    reached = {at: level.get(at, 10) / 10 for at in region}
    return (
        math.fsum(
            abs(phi(float(pred[at]), reached[at]) - phi(float(true[at]), reached[at]))
            for at in region
        )
        / 1000
    )


def components(left: set[Pixel]) -> list[set[Pixel]]:
    """The 4-connected parts of a set of pixels."""
    left, parts = set(left), []
    while left:
        front = [left.pop()]
        part = set(front)
        while front:
            row, column = front.pop()
            near = {(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)}
            found = near & left
            left -= found
            part |= found
            front.extend(found)
        parts.append(part)
    return parts


def slow_band(true: Plane, radius: float) -> NDArray[np.bool_]:
    """Every pixel against every pixel of the other side."""
    inside = true > 0.5
    band = np.zeros(true.shape, np.bool_)
    for row, column in pixels(true):
        others = np.argwhere(inside != inside[row, column]) - (row, column)
        band[row, column] = len(others) > 0 and (others**2).sum(axis=1).min() <= radius**2
    return band


def pixels(plane: Plane) -> Iterator[Pixel]:
    return ((row, column) for row in range(plane.shape[0]) for column in range(plane.shape[1]))
