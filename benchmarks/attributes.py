"""Error of a model by attributes computed from each photo and its true alpha.

    latefusion evaluate --model lite --data dev.tar -o out
    python benchmarks/attributes.py dev.tar out/evaluation.json

Each attribute divides the photos into thirds (border contact: by the number of sides touched). MAD,
band MAD and IoU are those of evaluation.json, means with 95 % intervals (percentile bootstrap over
photos).
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.data.sources import VAL_LIST, decode_pair, read_pairs
from latefusion.evaluation.summary import interval
from latefusion.metrics import outline_band

Picture = NDArray[np.uint8]
Alpha = NDArray[np.float32]
SHOWN = ("mad", "mad_band10", "iou")
EDGE = 0.02  # a side counts as touched if more than this fraction of it shows the subject


def area(image: Picture, true: Alpha) -> float:
    """Fraction of the photo covered by the subject."""
    return float(true.mean(dtype=np.float64))


def sides(image: Picture, true: Alpha) -> float:
    """Number of the photo's four sides that the subject touches."""
    edges = (true[0], true[-1], true[:, 0], true[:, -1])
    return float(sum((edge > 0.5).mean() > EDGE for edge in edges))


def contrast(image: Picture, true: Alpha) -> float:
    """Distance in Lab between the mean colours just inside and just outside the outline."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    band = outline_band(true, 20)
    inside, outside = band & (true > 0.95), band & (true < 0.05)
    if not inside.any() or not outside.any():
        return float("nan")
    return float(np.linalg.norm(lab[inside].mean(axis=0) - lab[outside].mean(axis=0)))


def softness(image: Picture, true: Alpha) -> float:
    """Fraction of the photo in which the true alpha is between 0.05 and 0.95."""
    return float(((true > 0.05) & (true < 0.95)).mean())


def busyness(image: Picture, true: Alpha) -> float:
    """Mean absolute Laplacian of the background: high for leaves and crowds, low for walls."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    detail = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    behind = true < 0.05
    return float(detail[behind].mean()) if behind.any() else float("nan")


def darkness(image: Picture, true: Alpha) -> float:
    """Mean brightness (0 to 255) of the whole photo."""
    return float(image.mean())


ATTRIBUTES: dict[str, Callable[[Picture, Alpha], float]] = {
    "subject, share of the photo": area,
    "sides of the photo touched": sides,
    "colour step at the outline, Lab": contrast,
    "soft pixels, share of the photo": softness,
    "detail in the background": busyness,
    "brightness of the photo": darkness,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("evaluation", type=Path, help="evaluation.json of latefusion evaluate")
    args = parser.parse_args()
    rows = {row["key"]: row for row in json.loads(args.evaluation.read_text())["photos"]}
    found: dict[str, list[float]] = {name: [] for name in ATTRIBUTES}
    kept = []
    for pair in read_pairs([args.pairs], VAL_LIST):
        if pair.key not in rows:
            continue
        image, truth = decode_pair(pair)
        kept.append(rows[pair.key])
        for name, attribute in ATTRIBUTES.items():
            found[name].append(attribute(image, np.divide(truth, 255, dtype=np.float32)))
    if not kept:
        parser.error("no photo of the evaluation is among the pairs")
    print("| attribute | range | photos | MAD | MAD (band10) | IoU |\n|" + " --- |" * 6)
    for name, values in found.items():
        for label, chosen in groups(np.array(values), whole=name.startswith("sides")):
            cells = [cell([kept[i][key] for i in chosen], key) for key in SHOWN]
            print(f"| {name} | {label} | {len(chosen)} | {' | '.join(cells)} |")


def groups(values: NDArray[np.float64], whole: bool) -> list[tuple[str, NDArray[np.int64]]]:
    """Photos grouped by value if `whole`, otherwise by thirds; nan is in no group."""
    known = np.flatnonzero(np.isfinite(values))
    if whole:
        return [(f"{v:g}", known[values[known] == v]) for v in np.unique(values[known])]
    thirds = np.array_split(known[np.argsort(values[known], kind="stable")], 3)
    return [(f"{values[t[0]]:.3g} to {values[t[-1]]:.3g}", t) for t in thirds if t.size]


def cell(values: list[float | None], key: str) -> str:
    mean, low, high, _ = interval([np.nan if v is None else v for v in values])
    digits = 3 if key == "iou" else 4
    return f"{mean:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


if __name__ == "__main__":
    main()
