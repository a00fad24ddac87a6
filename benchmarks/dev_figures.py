"""IoU and MAD of an exported model on pairs, at the photos' own size, per source.

    python benchmarks/dev_figures.py dev.tar [--model FILE.onnx] [--size 512] [--sheet OUT.png]

A source is what stands before the first '-' of a pair's name. Convention: whole image, the
photo's own size, alpha in [0, 1] after 8-bit rounding of the truth only; IoU at threshold 0.5;
both are means over the photos. `--sheet` draws photo, truth, alpha and the cut-out over green
and over white for a spread of photos; `--worst` draws the worst ones in place of those.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion import Matte, Predictor
from latefusion.data.sources import Pair, decode_pair, read_pairs
from latefusion.framing import resize
from latefusion.metrics import iou, mad

Picture = NDArray[np.uint8]
TILE = 360  # height of a picture on the contact sheet


def main() -> None:
    args = arguments()
    predictor = Predictor(args.model, args.size)
    pairs = read_pairs(args.pairs)
    rows, seconds = [], 0.0
    for pair in pairs:
        image, truth = decode_pair(pair)
        started = time.perf_counter()
        found = predictor(image)
        seconds += time.perf_counter() - started
        true = truth.astype(np.float32) / np.float32(255)
        rows.append((pair.key, mad(found.alpha, true), iou(found.alpha, true)))
    figures = per_source(rows)
    report(figures, seconds / len(pairs), args.size)
    if args.json:
        args.json.write_text(json.dumps({"figures": figures, "photos": rows}, indent=1))
    if args.sheet:
        order = sorted(range(len(rows)), key=lambda i: -rows[i][1])
        chosen = order[: args.count] if args.worst else spread(len(rows), args.count)
        sheet(predictor, [pairs[i] for i in chosen], args.sheet)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", type=Path, help="tar shards, folders or lists of pairs")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--size", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--worst", action="store_true")
    return parser.parse_args()


def source_of(key: str) -> str:
    return Path(key).name.partition("-")[0]


def per_source(rows: list[tuple[str, float, float]]) -> dict[str, dict[str, float]]:
    """Mean MAD and IoU of each source and of all photos."""
    groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for key, difference, overlap in rows:
        groups[source_of(key)].append((difference, overlap))
        groups["all"].append((difference, overlap))
    return {
        name: {
            "photos": len(scores),
            "mad": round(float(np.mean([s[0] for s in scores])), 5),
            "iou": round(float(np.mean([s[1] for s in scores])), 5),
        }
        for name, scores in sorted(groups.items())
    }


def report(figures: dict[str, dict[str, float]], seconds: float, size: int | None) -> None:
    box = size or "the sidecar's size"
    print(f"whole image, photos' own size, network at {box}, {seconds:.2f} s a photo")
    for name, row in figures.items():
        print(f"{name:8} {row['photos']:4d} photos   MAD {row['mad']:.4f}   IoU {row['iou']:.4f}")


def spread(total: int, count: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(0, total - 1, min(count, total))})


def sheet(predictor: Predictor, pairs: list[Pair], path: Path) -> None:
    rows = []
    for pair in pairs:
        image, truth = decode_pair(pair)
        rows.append(np.hstack([tile(x) for x in (image, truth, *views(predictor(image)))]))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows]
    half = -(-len(padded) // 2)
    columns = [np.vstack(padded[:half]), np.vstack(padded[half:] or padded[:1])]
    height = max(column.shape[0] for column in columns)
    columns = [np.pad(c, ((0, height - c.shape[0]), (0, 8), (0, 0))) for c in columns]
    cv2.imwrite(str(path), np.hstack(columns)[:, :, ::-1])


def views(found: Matte) -> list[Picture]:
    alpha = (found.alpha * 255).round().astype(np.uint8)
    return [alpha, found.over("#00b140"), found.over("white")]


def tile(picture: Picture) -> Picture:
    colour = np.dstack([picture] * 3) if picture.ndim == 2 else picture
    return resize(colour, (TILE, max(1, round(colour.shape[1] * TILE / colour.shape[0]))))


if __name__ == "__main__":
    main()
