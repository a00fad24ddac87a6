"""The write-up's C++ program on exports of both presets, against PyTorch's plain network.

    python benchmarks/write_up.py BUILD/lfm [PRESET HEIGHT WIDTH]...

The photo has the size of the network's input, so that nothing is resized. Alpha is compared in
16 bits. `lite` has the shipped weights, `densenet201` those of benchmarks/parity.py. The last
column is what a program finds that subtracts the mean from the input of a graph with its own.
"""

import argparse
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from parity import random_densenet
from PIL import Image

from latefusion.export.files import ExportOptions, export
from latefusion.images.reading import read_photo
from latefusion.inference.golden import SAMPLE
from latefusion.model.checkpoint import load_network
from latefusion.runtime.model_file import PACKAGED, WRITE_UP
from latefusion.runtime.planes import WRITE_UP_MEAN

CASES = ("lite", "640", "960", "lite", "128", "192", "densenet201", "128", "192")


def alpha_of(checkpoint: Path, image: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        found = load_network(checkpoint)(torch.from_numpy(image).permute(2, 0, 1)[None])
    return found.alpha[0, 0].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("cases", nargs="*", default=CASES)
    args = parser.parse_args()
    print(
        "preset, size, greatest and mean difference in levels of 1/255; the mean subtracted twice"
    )
    for case in range(0, len(args.cases), 3):
        preset, height, width = args.cases[case], *map(int, args.cases[case + 1 : case + 3])
        with TemporaryDirectory() as name:
            folder = Path(name)
            checkpoint = PACKAGED.with_suffix(".safetensors")
            if preset != "lite":
                checkpoint = random_densenet(folder / "random.safetensors")
            export(checkpoint, folder / "lfm.pb", ExportOptions(WRITE_UP, (height, width)))
            photo = cv2.resize(read_photo(SAMPLE).image, (width, height))
            Image.fromarray(photo).save(folder / "photo.png")
            words = [f"--model={folder / 'lfm.pb'}", f"--image={folder / 'photo.png'}"]
            words += [f"--out={folder}", f"--width={width}", f"--height={height}"]
            said = subprocess.run(
                [args.program, *words], capture_output=True, text=True, check=True
            )
            with Image.open(folder / "alpha.png") as picture:
                found = np.asarray(picture, np.float64) / 65535
            pixels = photo.astype(np.float32)
            off = 255 * np.abs(found - alpha_of(checkpoint, pixels))
            twice = alpha_of(checkpoint, pixels - np.array(WRITE_UP_MEAN, np.float32))
            wrong = 255 * np.abs(twice - alpha_of(checkpoint, pixels)).max()
            print(
                f"{preset}, {height} x {width}: {off.max():.4f}, {off.mean():.4f}; {wrong:.0f}"
                f" ({said.stdout.strip()})",
                flush=True,
            )


if __name__ == "__main__":
    main()
