"""The C++ program beside Python: the default alpha and cut-out, and the time of the forward pass.

    python benchmarks/cpp.py --cpp BUILD [--cpp BUILD]... [--photos FOLDER_OR_TAR] [--count 20]

BUILD is a folder where cpp/ was built with -DLATEFUSION_TESTS=ON. The photos are JPEGs, evenly
spread over their names.
"""

import argparse
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from latefusion.export.files import ExportOptions, export
from latefusion.export.parity import Difference
from latefusion.inference.golden import SAMPLE, write_pictures
from latefusion.inference.predictor import Predictor
from latefusion.runtime.model_file import PACKAGED

ROUNDS = 7


def jpegs(source: Path, count: int, folder: Path) -> list[Path]:
    """`count` photos of a folder or a tar, evenly spread."""
    if source.is_dir():
        paths = sorted(source.glob("*.jpg"))
    else:
        with tarfile.open(source) as tar:
            names = sorted(name for name in tar.getnames() if name.endswith(".jpg"))
            names = names[:: max(1, len(names) // count)][:count]
            tar.extractall(folder, [tar.getmember(name) for name in names], filter="data")
        paths = [folder / name for name in names]
    return paths[:: max(1, len(paths) // count)][:count]


def compare(build: Path, model: Path, pictures: list[Path], folder: Path) -> Iterator[str]:
    """Lines about the default outputs of Python and of one build."""
    program = build / "latefusion-cpp"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    name = version.stdout.strip()
    alpha, worst_cutout = Difference("Python", name), 0.0
    predictor = Predictor()
    for picture in pictures:
        words = ("--model", model, "--image", picture, "--save", "alpha16,cutout", "--out", folder)
        subprocess.run([program, *words], capture_output=True, check=True)
        matte = predictor(picture)
        with Image.open(folder / f"{picture.stem}-alpha16.png") as levels:
            found = np.asarray(levels).astype(np.float32) / np.float32(65535)
        alpha = alpha.worst_with(picture.name, matte.alpha, found)
        with Image.open(folder / f"{picture.stem}-cutout.png") as levels:
            off = np.abs(np.asarray(levels).astype(int) - matte.cutout()).max(axis=2)
        worst_cutout = max(worst_cutout, float((off > 2).mean()))
        print(f"  {picture.name}: {255 * np.abs(matte.alpha - found).max():.4f}", flush=True)
    yield f"Python - {name}, default alpha over {len(pictures)} pictures, in levels of 1/255:"
    yield f"  greatest {255 * alpha.greatest:.4f} in {alpha.picture}"
    yield f"  mean of the worst picture {255 * alpha.mean:.4f}"
    yield f"  cut-outs: at most {worst_cutout:.4%} of a picture's pixels are off by more than 2"


def time(build: Path, models: dict[str, Path], photo: Path) -> Iterator[str]:
    """Lines about the forward pass of each model, in turns."""
    words: list[Path | str] = [build / "tests" / "latefusion-speed"]
    words += [photo, str(ROUNDS), *models.values()]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    for name, line in zip(models, done.stdout.splitlines(), strict=True):
        first, median = line.split()
        yield f"  {name}: {median} ms, the first {first} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpp", type=Path, action="append", required=True, metavar="BUILD")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--count", type=int, default=20)
    args = parser.parse_args()
    checkpoint = PACKAGED.with_suffix(".safetensors")
    with TemporaryDirectory() as name:
        folder = Path(name)
        models = {
            "one file, 512 x 512": export(
                checkpoint, folder / "one.onnx", ExportOptions("opencv", (512, 512))
            ),
            "two files": export(checkpoint, folder / "two.onnx", ExportOptions("opencv")),
        }
        pictures = write_pictures(folder)
        if args.photos:
            pictures += jpegs(args.photos, args.count, folder)
        for build in args.cpp:
            print("\n".join(compare(build, models["two files"], pictures, folder)))
            for photo in (SAMPLE, *pictures[-2:]):
                with Image.open(photo) as opened:
                    print(f"forward pass for {photo.name}, {opened.width} x {opened.height}")
                print("\n".join(time(build, models, photo)), flush=True)


if __name__ == "__main__":
    main()
