"""The write-up's C++ program, in cpp/examples, takes an export as it stands and finds our matte."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from latefusion.export.files import ExportOptions
from latefusion.images.framing import Size
from latefusion.inference.golden import made_up
from latefusion.model.matting import MattingNetwork, NetworkConfig
from latefusion.runtime.model_file import WRITE_UP
from latefusion.runtime.planes import Planes
from tests.helpers.shared import once
from tests.helpers.toy_network import TOY, add_toy_preset, export_toy, perturbed

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "cpp" / "examples"
LEVEL = 1 / 255


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cpp/examples, built by itself."""
    if shutil.which("cmake") is None:
        absent("cmake is not installed")
    return once(tmp_path_factory, "cpp-examples", build_examples) / "lfm"


def build_examples(build: Path) -> None:
    strict = "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"
    found = call("cmake", "-S", EXAMPLES, "-B", build, strict)
    if "OpenCVConfig.cmake" in found.stderr:
        absent("OpenCV's CMake files are not installed")
    assert found.returncode == 0, found.stderr
    built = call("cmake", "--build", build)
    assert built.returncode == 0, built.stdout + built.stderr


def absent(reason: str) -> None:
    """Skip, but never in CI, where it would stay unseen."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", autouse=True)
def toy_preset() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_toy_preset(monkeypatch)
        yield


def small_densenet() -> MattingNetwork:
    """The paper's encoder and its mirrored borders in small."""
    small: dict[str, int | tuple[int, ...]] = {"blocks": (2, 1, 1, 1), "growth": 4}
    return perturbed(NetworkConfig("densenet201", 8, (4, 4, 4, 4, 4), small))


class Exported(NamedTuple):
    """lfm.pb, with lfm.pbtxt beside it, what it was made from, and the size of its input."""

    path: Path
    network: MattingNetwork
    size: Size


@pytest.fixture(scope="module", params=["full", "small"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A tiny network at the size of the write-up, or one of the paper's kind below it."""
    folder = tmp_path_factory.mktemp("model")
    if request.param == "full":
        network, size, options = perturbed(TOY), (640, 960), ExportOptions(WRITE_UP)
    else:
        network, size, options = small_densenet(), (64, 96), ExportOptions(WRITE_UP, (64, 96))
    export_toy(folder, lambda: network, {"lfm.pb": options})
    assert (folder / "lfm.pbtxt").is_file()
    return Exported(folder / "lfm.pb", network, size)


def run(program: Path, model: Exported, photo: NDArray[np.uint8], folder: Path) -> Planes:
    """What the program writes for a photo, in [0, 1]."""
    Image.fromarray(photo).save(folder / "photo.png")
    height, width = model.size
    words = [f"--model={model.path}", f"--image={folder / 'photo.png'}", f"--out={folder / 'out'}"]
    done = call(program, *words, f"--width={width}", f"--height={height}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("forward: ")
    out = folder / "out"
    fg, bg, blend = (read(out / f"{name}.png", 255) for name in ("fg", "bg", "beta"))
    return Planes(read(out / "alpha.png", 65535), fg, bg, blend)


def read(path: Path, most: int) -> NDArray[np.float32]:
    """A picture's levels, of which `most` is the highest, in [0, 1]."""
    with Image.open(path) as picture:
        return np.asarray(picture).astype(np.float32) / np.float32(most)


def in_python(network: MattingNetwork, image: NDArray[np.uint8]) -> Planes:
    """The planes of the plain network for an image of its input's size."""
    with torch.inference_mode():
        found = network(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    alpha, fg, bg, blend = (plane[0, 0].numpy() for plane in found[:4])
    return Planes(alpha, fg, bg, blend)


def test_the_program_finds_the_planes_of_the_plain_network(
    program: Path, model: Exported, tmp_path: Path
) -> None:
    photo = made_up(model.size)
    found, expected = run(program, model, photo, tmp_path), in_python(model.network, photo)
    for name in ("alpha", "fg", "bg", "blend"):
        plane = getattr(expected, name)
        assert plane.std() > 0.02, f"{name} is flat and proves nothing"
        assert np.abs(getattr(found, name) - plane).max() < LEVEL, name
    assert np.abs(found.alpha - expected.alpha).max() < LEVEL / 50  # 16 bits show it


def test_the_program_stretches_a_photo_and_enlarges_before_it_blends(
    program: Path, model: Exported, tmp_path: Path
) -> None:
    photo = made_up((211, 148))
    found = run(program, model, photo, tmp_path)
    height, width = model.size
    small = in_python(model.network, np.asarray(cv2.resize(photo, (width, height)), np.uint8))
    fg, bg, blend = (cv2.resize(plane, (148, 211)) for plane in small[1:4])
    alpha = blend * fg + (1 - blend) * (1 - bg)
    assert found.alpha.shape == alpha.shape
    # Builds of OpenCV round resized levels differently, and one level in moves alpha by several.
    assert np.abs(found.alpha - alpha).mean() < LEVEL / 4
    composite = 255 * read(tmp_path / "out" / "composite.png", 255)
    share = found.alpha[:, :, None]
    np.testing.assert_allclose(composite, share * photo + (1 - share) * (0, 177, 64), atol=1)


def test_the_program_ends_in_one_line_where_it_cannot_work(
    program: Path, model: Exported, tmp_path: Path
) -> None:
    done = call(program, f"--model={model.path}", f"--image={tmp_path / 'none.jpg'}")
    assert done.returncode == 1
    assert "none.jpg' is not a photo that OpenCV reads; give --image=FILE" in done.stderr
    Image.fromarray(made_up((80, 50))).save(tmp_path / "photo.png")
    size = ("--width=128", "--height=160")
    done = call(program, f"--model={model.path}", f"--image={tmp_path / 'photo.png'}", *size)
    assert done.returncode == 1
    assert "lfm.pb does not run at this size; give the --width and --height" in done.stderr
    for words, expected in (
        ((*size, "--model=none.pb"), "'none.pb' does not load with its .pbtxt; give --model="),
        (("--width=wide",), "--width and --height are not numbers of pixels"),
        (("--height=0",), "--width and --height are not numbers of pixels"),
    ):
        done = call(program, f"--image={tmp_path / 'photo.png'}", *words)
        assert done.returncode == 1
        assert expected in done.stderr
