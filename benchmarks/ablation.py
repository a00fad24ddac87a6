"""Contribution of each part of the method: F alone, B alone, their mean and the fused alpha.

    python benchmarks/ablation.py dev.tar NAME=FILE.onnx ... [--size 512] [--out ablation.json]

Each file is one state of the training (a stage, or a run with something left out), made by
`latefusion export`. Measures are those of `latefusion evaluate`, means over photos.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from latefusion import Matte, MattingOptions, Predictor
from latefusion.data.sources import VAL_LIST, Pair, decode_pair, read_pairs
from latefusion.evaluation.scores import Row, score
from latefusion.evaluation.summary import summarise
from latefusion.metrics import MEASURES

Figures: TypeAlias = dict[str, dict[str, dict[str, float]]]

SHOWN = ("mad", "mse", "sad", "grad", "mad_band10", "iou")
PARTS: dict[str, Callable[[Matte], NDArray[np.float32]]] = {
    "F alone": lambda matte: matte.fg,
    "1 - B alone": lambda matte: 1 - matte.bg,
    "mean of both": lambda matte: np.asarray((matte.fg + 1 - matte.bg) / 2, np.float32),
    "fused": lambda matte: matte.alpha,
}


def main() -> None:
    args = arguments()
    pairs = read_pairs([args.pairs], VAL_LIST)[:: args.every]
    states = [state.partition("=") for state in args.states]
    if len({name for name, _, _ in states}) < len(states):
        raise SystemExit("two states have the same name; use different ones, as NAME=FILE.onnx")
    figures = {name: measure(pairs, file or name, args.size) for name, _, file in states}
    print(table(figures))
    if args.out:
        args.out.write_text(json.dumps(figures, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("states", nargs="+", help="NAME=FILE.onnx, or lite for the package's own")
    parser.add_argument("--size", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--every", type=int, default=1, help="score every n-th photo only")
    return parser.parse_args()


def measure(pairs: Sequence[Pair], file: str, size: int | None) -> Figures:
    """Mean scores of one state: part -> source -> measure."""
    measures = {key: MEASURES[key] for key in SHOWN}
    predictor = Predictor(
        None if file == "lite" else file, MattingOptions(size=size, framing="whole", refine="off")
    )
    rows: dict[str, list[Row]] = {part: [] for part in PARTS}
    for pair in pairs:
        image, truth = decode_pair(pair)
        matte, true = predictor(image), np.divide(truth, 255, dtype=np.float32)
        for part, alpha_of in PARTS.items():
            rows[part].append(score(pair.key, alpha_of(matte), true, measures))
    return {
        part: {
            source: {key: group.scores[key].mean for key in SHOWN}
            for source, group in summarise(scored, measures, resamples=1).items()
        }
        for part, scored in rows.items()
    }


def table(figures: Mapping[str, Figures]) -> str:
    heads = ["source", "state", "alpha", *(MEASURES[key].label for key in SHOWN)]
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    sources = next(iter(next(iter(figures.values())).values()))
    for source, (name, parts) in product(sources, figures.items()):
        for part, by_source in parts.items():
            means = by_source[source]
            cells = [f"{means[key]:.{MEASURES[key].digits}f}" for key in SHOWN]
            lines.append(f"| {' | '.join([source, name, part, *cells])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
