"""The docs' parity tables: both presets, exported for OpenCV, in every installed runtime.

    python benchmarks/parity.py [--cpp BUILD]...

`lite` has the shipped weights. `densenet201` is not trained; it gets random weights, statistics
from one pass over the sample photo, and heads that make an alpha from almost 0 to almost 1.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from latefusion.export.files import ExportOptions, export
from latefusion.export.parity import certificate, compare, usable_runtimes
from latefusion.images.reading import read_photo
from latefusion.inference.golden import SAMPLE, write_pictures
from latefusion.model.checkpoint import save_network
from latefusion.model.matting import PRESETS, MattingNetwork
from latefusion.runtime.model_file import PACKAGED

SIZES = {"lite": (512, 512), "densenet201": (256, 320)}
CONTRAST = 4.0  # standard deviation of the logits of F and B


def random_densenet(path: Path) -> Path:
    """A checkpoint with random weights whose alpha covers [0, 1] on the sample photo."""
    torch.manual_seed(0)
    network = MattingNetwork(PRESETS["densenet201"])
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the statistics of the one pass
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)
    photo = read_photo(SAMPLE).image[:384, :320].astype(np.float32)
    image = torch.from_numpy(photo).permute(2, 0, 1)[None]
    with torch.no_grad():
        network.train()(image)
        network.eval()
        stretch(network, image)
    save_network(path, network, stage="joint")
    return path


def stretch(network: MattingNetwork, image: torch.Tensor) -> None:
    """Heads of F and B with logits of mean 0 and deviation CONTRAST on the image."""
    found = network(image)
    for branch, plane in ((network.fg, found.fg), (network.bg, found.bg)):
        logits = plane.double().logit(1e-9)
        factor = CONTRAST / float(logits.std())
        head = branch.side0.conv3
        assert head.bias is not None
        head.weight.mul_(factor)
        head.bias.sub_(float(logits.mean())).mul_(factor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpp", type=Path, action="append", default=[], metavar="BUILD")
    args = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        pictures = write_pictures(folder)
        shipped = PACKAGED.with_suffix(".safetensors")
        checkpoints = {
            "lite": shipped,
            "densenet201": random_densenet(folder / "random.safetensors"),
        }
        for preset, size in SIZES.items():
            options = ExportOptions("opencv", size)
            model = export(checkpoints[preset], folder / f"{preset}.onnx", options)
            print(f"{preset}, {size[0]} x {size[1]}")
            pairs = compare(usable_runtimes(model, checkpoints[preset], args.cpp), pictures)
            print("\n".join(certificate(pairs)), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
