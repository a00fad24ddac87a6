"""Share of a photo's detail that is left in training views, by the size of the canvases.

    python benchmarks/view_detail.py DATA/dev.tar [--size 640,960] [--canvas 448 640 960 1216]

Detail is the mean absolute Laplacian of a view's luminance. All canvases of a photo give the same
view, which is compared with the one from a canvas of twice the longest side of the view. Colour,
blur, noise and JPEG are left out. `band` counts the pixels where alpha is soft.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latefusion.cli.terminal import parse_size
from latefusion.data.augment import Recipe, sample, view_transforms
from latefusion.data.dataset import channels_first
from latefusion.data.sources import decode_pair, read_pairs
from latefusion.images.framing import resize

SOFT = (0.05, 0.95)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=parse_size, default=(640, 960), metavar="H,W")
    parser.add_argument("--canvas", type=int, nargs="+", default=[448, 640, 960, 1216])
    parser.add_argument("--every", type=int, default=4, help="take each Nth photo")
    args = parser.parse_args()
    torch.manual_seed(0)
    whole: list[list[float]] = []
    soft: list[list[float]] = []
    for pair in read_pairs([args.data])[:: args.every]:
        image, alpha = decode_pair(pair)
        pixels = np.dstack([image, alpha])
        best = on_canvas(pixels, 2 * max(args.size))
        aspect = torch.tensor([alpha.shape[1] / alpha.shape[0]])
        composited = torch.tensor([False])
        theta = view_transforms(best[:, 3], aspect, args.size, composited, Recipe())
        true = sample(best, theta, args.size)
        band = (true[0, 3] > SOFT[0]) & (true[0, 3] < SOFT[1])
        detail = laplacian(true)
        views = [
            laplacian(sample(on_canvas(pixels, side), theta, args.size)) for side in args.canvas
        ]
        whole.append([float(view.mean() / detail.mean()) for view in views])
        soft.append([float(view[band].mean() / detail[band].mean()) for view in views])
    print(f"{len(whole)} views of {args.size[0]} x {args.size[1]}, share of detail left")
    for side, view, band in zip(args.canvas, np.mean(whole, 0), np.nanmean(soft, 0), strict=True):
        print(f"canvas {side}: {view:.3f}, in the band {band:.3f}")


def on_canvas(pixels: NDArray[np.uint8], side: int) -> Tensor:
    """(1, 4, S, S) uint8: the photo and its alpha stretched to a square."""
    return channels_first(resize(pixels, (side, side)))[None]


def laplacian(view: Tensor) -> NDArray[np.float32]:
    """The absolute Laplacian of a view's luminance, (H, W)."""
    grey = cv2.cvtColor(view[0, :3].movedim(0, 2).contiguous().numpy(), cv2.COLOR_RGB2GRAY)
    return np.abs(cv2.Laplacian(grey, cv2.CV_32F))


if __name__ == "__main__":
    main()
