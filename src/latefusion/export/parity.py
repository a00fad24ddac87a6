"""A comparison of the alphas of all runtimes on golden pictures, from file to alpha."""

import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latefusion.errors import LatefusionError, WeightsError
from latefusion.export.sidecar import sha256_of
from latefusion.images.reading import read_photo
from latefusion.images.regular import read_regular
from latefusion.inference.predictor import predict
from latefusion.metrics import Alpha
from latefusion.runtime.model_file import OPENCV, ModelFile, read_model, refuse_keras
from latefusion.runtime.planes import OUTPUTS, Planes
from latefusion.runtime.runtimes import Network, OnnxNetwork, in_opencv

LEVEL = 1 / 255
GREATEST = LEVEL  # accepted difference in alpha at any pixel
MEAN = 0.1 * LEVEL  # accepted mean difference of a picture
BORDER = 8  # width in pixels of the border whose difference is reported separately
PROGRAM = "latefusion-cpp"
PLAIN = ("--framing", "whole", "--refine", "off", "--epsilon", "0")  # the plain network's alpha

PhotoToAlpha: TypeAlias = Callable[[Path], Alpha]  # from a photo's file to alpha (H, W) in [0, 1]


@dataclass(frozen=True)
class Difference:
    """The largest differences in alpha between two runtimes over all pictures, in [0, 1].

    `greatest` is that of any pixel, `border` that of pixels within 8 of an edge, `mean` that of a
    picture's mean. `picture` names the picture of `greatest`.
    """

    one: str
    other: str
    greatest: float = 0.0
    border: float = 0.0
    mean: float = 0.0
    picture: str = ""

    @property
    def holds(self) -> bool:
        """True if alpha differs by at most 1/255 at any pixel and 0.1/255 on average."""
        return self.greatest <= GREATEST and self.mean <= MEAN

    def worst_with(self, picture: str, one: Alpha, other: Alpha) -> "Difference":
        """The difference with one more picture included; nan counts as an infinite difference."""
        if one.shape != other.shape:
            raise LatefusionError(
                f"{picture}: {self.one} gives {one.shape}, {self.other} {other.shape}; both must"
                " have the photo's size"
            )
        off = np.nan_to_num(np.abs(one - other), nan=np.inf)
        inside = off[BORDER:-BORDER, BORDER:-BORDER]
        at_border = off.copy()
        at_border[BORDER:-BORDER, BORDER:-BORDER] = 0
        greatest = float(off.max())
        return replace(
            self,
            greatest=max(self.greatest, greatest),
            border=max(self.border, float(at_border.max() if inside.size else greatest)),
            mean=max(self.mean, float(off.mean())),
            picture=picture if greatest > self.greatest else self.picture or picture,
        )


def usable_runtimes(
    path: Path, checkpoint: Path | None = None, builds: Iterable[Path] = ()
) -> dict[str, PhotoToAlpha]:
    """Every installed runtime that can run the file, by its name and version.

    PyTorch runs `checkpoint`, which the file must have been exported from. Without one it runs the
    .safetensors of the same name, if the file was exported from that. `builds` are folders where
    cpp/ was built. Raises WeightsError, and LatefusionError for a build without the program.
    """
    model = read_model(path)
    found: dict[str, PhotoToAlpha] = {}
    origin = _origin(model, checkpoint)
    if origin is not None:
        import torch

        found[f"PyTorch {torch.__version__}"] = _in_python(model, in_pytorch(origin))
    only_opencv = model.target == OPENCV and model.fusion is not None
    if path.suffix == ".onnx" and not only_opencv:
        import onnxruntime

        name = f"ONNX Runtime {onnxruntime.__version__}"
        found[name] = _in_python(model, OnnxNetwork(model, epsilon=0))
    if model.size is not None or only_opencv:
        import cv2

        found[f"OpenCV {cv2.__version__} Python"] = _in_python(model, in_opencv(model))
    for build in builds:
        program = _program(build)
        name = f"OpenCV {_opencv_of(program)} C++"
        found[f"{name} {build}" if name in found else name] = _in_cpp(model, program)
    return found


def compare(runtimes: dict[str, PhotoToAlpha], pictures: Iterable[Path]) -> list[Difference]:
    """Compare each pair of runtimes over all pictures. Raises the errors of reading and running."""
    pairs = [Difference(one, other) for one, other in combinations(runtimes, 2)]
    for picture in pictures:
        alphas = {name: run(picture) for name, run in runtimes.items()}
        pairs = [
            pair.worst_with(picture.name, alphas[pair.one], alphas[pair.other]) for pair in pairs
        ]
    return pairs


def certificate(pairs: list[Difference]) -> list[str]:
    """The comparison as the lines of a table, followed by the result."""
    rows: list[tuple[str, ...]] = [
        ("alpha in levels of 1/255", "greatest", "at borders", "mean", "greatest in")
    ]
    for pair in pairs:
        levels = (f"{255 * part:.4f}" for part in (pair.greatest, pair.border, pair.mean))
        rows.append((f"{pair.one} - {pair.other}", *levels, pair.picture))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    held = all(pair.holds for pair in pairs)
    return [
        *(
            "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ),
        "parity holds" if held else "parity is broken: more than 1 level, or 0.1 on average",
    ]


def _origin(model: ModelFile, checkpoint: Path | None) -> Path | None:
    """The checkpoint of an exported file, or None if there is none or PyTorch is not installed."""
    path = checkpoint or model.path.with_suffix(".safetensors")
    refuse_keras(path)
    if checkpoint is None and not path.is_file():
        return None
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        return None
    try:
        same = sha256_of(read_regular(path)) == model.card.get("checkpoint")
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from None
    if same:
        return path
    if checkpoint is None:
        return None
    raise WeightsError(
        f"{model.path} was not exported from {path} (sha256); give the checkpoint it was made from"
    )


def _in_python(model: ModelFile, network: Network) -> PhotoToAlpha:
    def alpha(picture: Path) -> Alpha:
        photo = read_photo(picture)
        height, width = photo.image.shape[:2]
        return predict(network, photo, model.frame((height, width))).alpha

    return alpha


def _in_cpp(model: ModelFile, program: Path) -> PhotoToAlpha:
    def alpha(picture: Path) -> Alpha:
        with TemporaryDirectory(prefix="latefusion-") as folder:
            out = Path(folder) / "alpha.png"
            words = ("--model", model.path, "--image", picture, "--save", "alpha16", "--out", out)
            _run(program, *words, *PLAIN)
            if not out.is_file():
                raise LatefusionError(f"{program} wrote no alpha of {picture}; build cpp/ again")
            with Image.open(out) as levels:
                return np.asarray(levels).astype(np.float32) / np.float32(65535)

    return alpha


def _program(build: Path) -> Path:
    """The C++ program: `build` itself, or in the folder `build` or its bin."""
    places = (build, build / PROGRAM, build / "bin" / PROGRAM)
    for place in places:
        if place.is_file():
            return place.resolve()
    raise LatefusionError(f"{build} does not contain {PROGRAM}; build cpp/ with CMake first")


def _opencv_of(program: Path) -> str:
    found = re.search(r"OpenCV (\d+\.\d+\.\d+)", _run(program, "--version"))
    if found is None:
        raise LatefusionError(
            f"{program} is not {PROGRAM}: --version prints no OpenCV version; build cpp/ again"
        )
    return found[1]


def _run(program: Path, *words: str | Path) -> str:
    try:
        done = subprocess.run([program, *words], capture_output=True, check=False)
    except OSError as error:
        raise LatefusionError(
            f"{program} cannot be run: {error.strerror}; build cpp/ again"
        ) from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise LatefusionError(f"{program}: {said}")
    return done.stdout.decode(errors="replace")


def in_pytorch(checkpoint: Path) -> Network:
    """The network of a checkpoint in PyTorch, run as in its stage. Raises WeightsError."""
    import torch

    from latefusion.model.checkpoint import load_network, read_notes
    from latefusion.training.stages import stage_of

    network = load_network(checkpoint)
    stage = stage_of(read_notes(checkpoint), checkpoint)

    def run(image: NDArray[np.float32]) -> Planes:
        with torch.inference_mode():
            found = stage.forward(network, torch.from_numpy(image))
        return Planes(*(getattr(found, name)[0, 0].numpy() for name in OUTPUTS))

    return run
