"""The certificate that every runtime gives the same matte: golden pictures, from file to alpha."""

import hashlib
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
from latefusion.images.reading import read_photo
from latefusion.inference.predictor import predict
from latefusion.runtime.model_file import ModelFile, read_model
from latefusion.runtime.planes import OUTPUTS, Planes
from latefusion.runtime.runtimes import Network, OnnxNetwork, in_opencv

LEVEL = 1 / 255
GREATEST = LEVEL  # of alpha, anywhere
MEAN = 0.1 * LEVEL
BORDER = 8  # pixels from the edge that are looked at by themselves
PROGRAM = "latefusion-cpp"

Alpha: TypeAlias = NDArray[np.float32]  # (H, W) in [0, 1]
Way: TypeAlias = Callable[[Path], Alpha]  # from a photo's file to its alpha


@dataclass(frozen=True)
class Difference:
    """How far two runtimes are apart in alpha over all pictures; all figures in [0, 1].

    `greatest` anywhere, `border` within 8 pixels of an edge, `mean` of the picture where it is
    greatest, and `picture` the name of the one with the greatest difference.
    """

    one: str
    other: str
    greatest: float = 0.0
    border: float = 0.0
    mean: float = 0.0
    picture: str = ""

    @property
    def holds(self) -> bool:
        """Within one level everywhere, and a tenth of one on average."""
        return self.greatest <= GREATEST and self.mean <= MEAN

    def worst_with(self, picture: str, one: Alpha, other: Alpha) -> "Difference":
        """With one more picture; what is no number differs from everything."""
        if one.shape != other.shape:
            raise LatefusionError(
                f"{picture}: {self.one} gives {one.shape}, {self.other} {other.shape}; they have to"
                " be of the photo's size"
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


def ways(path: Path, checkpoint: Path | None = None, builds: Iterable[Path] = ()) -> dict[str, Way]:
    """Every runtime that can take the file here, by a name with its version.

    `checkpoint` is what the file was exported from; without one PyTorch takes the .safetensors of
    the same name, if it is that. `builds` are folders where cpp/ was built. Raises WeightsError.
    """
    model = read_model(path)
    found: dict[str, Way] = {}
    origin = _origin(model, checkpoint)
    if origin is not None:
        import torch

        found[f"PyTorch {torch.__version__}"] = _in_python(model, in_pytorch(origin))
    if path.suffix == ".onnx":
        import onnxruntime

        name = f"ONNX Runtime {onnxruntime.__version__}"
        found[name] = _in_python(model, OnnxNetwork(model, epsilon=0))
    if model.size is not None:
        import cv2

        found[f"OpenCV {cv2.__version__} Python"] = _in_python(model, in_opencv(model))
    for build in builds:
        program = _program(build)
        name = f"OpenCV {_opencv_of(program)} C++"
        found[f"{name} {build}" if name in found else name] = _in_cpp(model, program)
    return found


def compare(ways: dict[str, Way], pictures: Iterable[Path]) -> list[Difference]:
    """All pairs of runtimes over all pictures. Raises what reading and running them raises."""
    pairs = [Difference(one, other) for one, other in combinations(ways, 2)]
    for picture in pictures:
        alphas = {name: way(picture) for name, way in ways.items()}
        pairs = [
            pair.worst_with(picture.name, alphas[pair.one], alphas[pair.other]) for pair in pairs
        ]
    return pairs


def certificate(pairs: list[Difference]) -> list[str]:
    """The comparison as lines of a table, and the verdict."""
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
    """The checkpoint of an exported file, where there is one and PyTorch is installed."""
    path = checkpoint or model.path.with_suffix(".safetensors")
    if checkpoint is None and not path.is_file():
        return None
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        return None
    try:
        same = hashlib.sha256(path.read_bytes()).hexdigest() == model.card.get("checkpoint")
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from None
    if same:
        return path
    if checkpoint is None:
        return None
    raise WeightsError(f"{path} is not what {model.path} was exported from (sha256)")


def _in_python(model: ModelFile, network: Network) -> Way:
    def alpha(picture: Path) -> Alpha:
        photo = read_photo(picture)
        height, width = photo.image.shape[:2]
        return predict(network, photo, model.frame((height, width))).alpha

    return alpha


def _in_cpp(model: ModelFile, program: Path) -> Way:
    def alpha(picture: Path) -> Alpha:
        with TemporaryDirectory(prefix="latefusion-") as folder:
            out = Path(folder) / "alpha.png"
            words = ("--model", model.path, "--image", picture, "--save", "alpha16", "--out", out)
            _run(program, *words)
            if not out.is_file():
                raise LatefusionError(f"{program} wrote no alpha of {picture}; build cpp/ anew")
            with Image.open(out) as levels:
                return np.asarray(levels).astype(np.float32) / np.float32(65535)

    return alpha


def _program(build: Path) -> Path:
    """The C++ program itself, or in the folder where it was built or installed."""
    places = (build, build / PROGRAM, build / "bin" / PROGRAM)
    for place in places:
        if place.is_file():
            return place.resolve()
    raise LatefusionError(f"{build} holds no {PROGRAM}; build cpp/ with CMake first")


def _opencv_of(program: Path) -> str:
    found = re.search(r"OpenCV (\d+\.\d+\.\d+)", _run(program, "--version"))
    if found is None:
        raise LatefusionError(f"{program} is no {PROGRAM}: it does not name its OpenCV")
    return found[1]


def _run(program: Path, *words: str | Path) -> str:
    try:
        done = subprocess.run([program, *words], capture_output=True, check=False)
    except OSError as error:
        raise LatefusionError(f"{program} does not run: {error.strerror}") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise LatefusionError(f"{program}: {said}")
    return done.stdout.decode(errors="replace")


def in_pytorch(checkpoint: Path) -> Network:
    """A checkpoint, run as its stage runs it. Raises WeightsError."""
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
