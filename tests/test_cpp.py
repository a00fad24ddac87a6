"""The C++ program finds what Python finds, and ends in one clear line where it cannot."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import latefusion
from latefusion.export.files import ExportOptions, export
from latefusion.export.parity import certificate, compare, usable_runtimes
from latefusion.inference.golden import write_pictures
from latefusion.inference.matte import Matte
from latefusion.inference.options import MattingOptions
from latefusion.inference.predictor import Predictor
from latefusion.model.checkpoint import save_network
from latefusion.model.matting import MattingNetwork, NetworkConfig
from latefusion.runtime.model_file import PACKAGED
from tests.helpers.shared import once
from tests.helpers.toy_network import perturb_norms

ROOT = Path(__file__).parents[1]
ASTRONAUT = ROOT / "examples" / "astronaut.jpg"
SIZE = (64, 96)  # of the toy network's input
ORIENTATION = 0x0112


CONSUMER = """
#include <cstdio>
#include <latefusion/matting.hpp>
#ifdef OPENCV_DNN_DNN_HPP
#error the public header includes cv::dnn
#endif
int main(int, char** words) {
  const cv::Mat image(60, 40, CV_8UC3, cv::Scalar(20, 60, 220)), grey = cv::Mat1f(60, 40);
  latefusion::Options options;
  options.refine = latefusion::Refine::off;
  latefusion::Model model = latefusion::read_model(words[1]);
  model.name = "in memory.onnx";
  latefusion::Predictor predictor(model, options), copy = predictor;
  const latefusion::Matte matte = predictor.matte(image);
  predictor = latefusion::Predictor(words[1]);
  const cv::Mat alpha = latefusion::blend(matte.fg(), matte.bg(), matte.blend());
  std::printf("%d %d %.1f ", alpha.rows, alpha.cols, cv::norm(alpha, matte.alpha, cv::NORM_INF));
  const auto mattes = copy.mattes({image, image(cv::Rect(0, 0, 40, 20))});
  std::printf("%zu %d %.1f", mattes.size(), mattes[1].alpha.rows,
              cv::norm(mattes[0].alpha, matte.alpha, cv::NORM_INF));
  try {
    copy.mattes({image, grey});
  } catch (const latefusion::Error& error) {
    std::fprintf(stderr, "%d %s", static_cast<int>(error.code()), error.what());
  }
}
"""
DOCS = [ROOT / "cpp" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where cpp/ is installed, built with Clang if there is one; the rest with GCC."""
    if shutil.which("cmake") is None:
        absent("cmake is not installed")
    return once(tmp_path_factory, "cpp-installed", build_and_install) / "installed"


def build_and_install(folder: Path) -> None:
    words = ["-DLATEFUSION_WERROR=ON"]
    if shutil.which("clang++"):
        words += ["-DCMAKE_CXX_COMPILER=clang++"]
    elif os.environ.get("CI"):
        absent("clang is not installed")
    found = cmake("-S", ROOT / "cpp", "-B", folder / "build", *words)
    if "OpenCV with its CMake files was not found" in found.stderr:
        absent("OpenCV's CMake files are not installed")
    assert found.returncode == 0, found.stderr
    built = cmake("--build", folder / "build", "-j2")
    assert built.returncode == 0, built.stdout + built.stderr
    done = cmake("--install", folder / "build", "--prefix", folder / "installed")
    assert done.returncode == 0, done.stderr


def absent(reason: str) -> None:
    """Skip, but never in CI, where it would stay unseen."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def cmake(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["cmake", *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of three convolutions at one size, in operations that OpenCV 4.6 reads."""
    return write_model(tmp_path_factory.mktemp("model") / "toy.onnx")


def write_model(path: Path, outputs: tuple[str, ...] = ("alpha", "fg", "bg", "blend")) -> Path:
    """fg follows red, bg green and blend blue, each with a pull of its own to the right or down."""
    planes = ("fg", "bg", "blend")
    nodes = []
    for name in planes:
        nodes += [
            convolution(name, 1),
            helper.make_node("Sigmoid", [f"{name}.sum"], [name]),
            convolution(name, -1),
            helper.make_node("Sigmoid", [f"{name}.less"], [f"{name}.rest"]),
        ]
    nodes += [
        helper.make_node("Mul", ["blend", "fg"], ["from_fg"]),
        helper.make_node("Mul", ["blend.rest", "bg.rest"], ["from_bg"]),
        helper.make_node("Add", ["from_fg", "from_bg"], ["mix"]),
        helper.make_node("Reshape", ["mix", "shape"], ["alpha"]),  # so that the size is fixed
    ]
    if outputs[0] not in ("alpha", *planes):
        nodes.append(helper.make_node("Sigmoid", ["alpha"], [outputs[0]]))
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, *SIZE]) for name in outputs],
        constants(planes),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=5)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.SerializeToString())
    write_sidecar(path)
    return path


def convolution(name: str, sign: int) -> Any:
    end, out = ("", "sum") if sign > 0 else ("-", "less")
    inputs = ["image", f"{name}.kernel{end}", f"{name}.shift{end}"]
    outputs = [f"{name}.{out}"]
    return helper.make_node("Conv", inputs, outputs, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def constants(planes: tuple[str, ...]) -> list[Any]:
    found = [numpy_helper.from_array(np.array([1, 1, *SIZE]), "shape")]
    for channel, name in enumerate(planes):
        kernel = np.full((1, 3, 3, 3), -0.0005, np.float32)
        kernel[0, channel] = np.linspace(0.001, 0.008, 9, dtype=np.float32).reshape(3, 3)
        for end, sign in (("", 1), ("-", -1)):
            found += [
                numpy_helper.from_array(np.float32(sign) * kernel, f"{name}.kernel{end}"),
                numpy_helper.from_array(np.array([-3 * sign], np.float32), f"{name}.shift{end}"),
            ]
    return found


def write_sidecar(model: Path, **changes: Any) -> None:
    """The sidecar of a file, with entries changed; None leaves one out."""
    data = model.read_bytes()
    card = {
        "format": "latefusion/2",
        "target": "opencv",
        "preset": "toy",
        "terms": "mine alone, äöü",
        "input": {"name": "image", "layout": "NCHW", "channels": "RGB", "range": [0, 255],
                  "multiple": 32, "size": list(SIZE)},
        "outputs": ["alpha", "fg", "bg", "blend"],
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    } | changes  # fmt: skip
    kept = {key: value for key, value in card.items() if value is not None}
    text = json.dumps(kept, indent=2, ensure_ascii=False)
    model.with_suffix(".json").write_text(text, encoding="utf-8")


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """The program in an empty folder."""
    program = installed / "bin" / "latefusion-cpp"
    folder = tmp_path / "work"
    folder.mkdir()

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [str(program), *map(str, words)]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    return run


def pixels(path: Path) -> NDArray[np.float64]:
    with Image.open(path) as encoded:
        return np.asarray(encoded).astype(np.float64)


def made_up(height: int, width: int) -> NDArray[np.uint8]:
    """A lopsided picture: red grows to the right and green downwards; a blue patch at the left."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    picture = np.dstack([255 * (x + 1) / width, 255 * (y + 1) / height, 90 + 0 * x])
    picture[: (height + 1) // 2, : (width + 2) // 3, 2] = 240
    grain = np.random.default_rng(1).normal(0, 12, picture.shape)
    return (picture + grain).clip(0, 255).astype(np.uint8)


def write_photo(folder: Path, kind: str) -> Path:
    """A photo of one of the kinds below: a size, or a form that takes care to decode."""
    suffix = {"orientation": ".jpg", "TIFF": ".tiff"}.get(kind.split()[0], ".png")
    path = folder / f"photo{suffix}"
    if "x" in kind:
        height, width = map(int, kind.split("x"))
        Image.fromarray(made_up(height, width)).save(path)
    elif kind == "RGBA":
        opacity = np.tile(np.linspace(0, 255, 90).astype(np.uint8), (70, 1))
        Image.fromarray(np.dstack([made_up(70, 90), opacity])).save(path)
    elif kind == "16-bit grey":
        grey = np.asarray(Image.fromarray(made_up(70, 90)).convert("L"), np.uint16)
        Image.fromarray(grey * 256 + np.arange(90, dtype=np.uint16) * 2).save(path)
    elif kind.endswith("16-bit colour"):
        levels = 256 * made_up(70, 90)[:, :, ::-1].astype(np.uint16) + 200  # not to be rounded
        assert cv2.imwrite(str(path), levels)
    elif kind == "16-bit RGBA":
        levels = 256 * made_up(70, 90)[:, :, ::-1].astype(np.uint16) + 200
        assert cv2.imwrite(str(path), np.dstack([levels, levels[:, ::-1, 2]]))
    elif kind == "grey":
        Image.fromarray(made_up(70, 90)).convert("L").save(path)
    else:
        exif = Image.Exif()
        exif[ORIENTATION] = int(kind.split()[1])
        Image.fromarray(made_up(50, 120)).save(path, exif=exif, quality=95)
    return path


PHOTOS = ["64x96", "97x411", "411x97", "83x501", "501x83", "1x1", "3x5", "1x300", "RGBA", "grey"]
PHOTOS += ["16-bit grey", "16-bit colour", "TIFF 16-bit colour", "16-bit RGBA"]
PHOTOS += ["orientation 6", "orientation 3", "orientation 5"]


def in_both(run: Run, model: Path, photo: Path, *words: object) -> tuple[Path, Matte]:
    """The folder that the program wrote to, and Python's matte of the same photo."""
    out = photo.parent / "out"
    done = run("--model", model, "--image", photo, "--out", out, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return out, Predictor(model)(photo)


@pytest.mark.parametrize("kind", PHOTOS)
def test_the_program_finds_the_alpha_that_python_finds(
    run: Run, model: Path, tmp_path: Path, kind: str
) -> None:
    out, matte = in_both(run, model, write_photo(tmp_path, kind), "--save", "alpha16")
    found = pixels(out / "photo-alpha16.png") / 65535
    assert found.shape == matte.alpha.shape
    assert np.abs(found - matte.alpha).max() < 1 / 255
    assert np.abs(found - matte.alpha).mean() < 0.1 / 255
    assert kind.startswith(("1x", "3x")) or matte.alpha.std() > 0.1


def test_every_plane_is_saved_under_its_name(run: Run, model: Path, tmp_path: Path) -> None:
    photo = write_photo(tmp_path, "120x70")
    out, matte = in_both(run, model, photo, "--save", "alpha,fg,bg,blend")
    for kind in ("alpha", "fg", "bg", "blend"):
        true = 255 * getattr(matte, kind)
        assert np.abs(pixels(out / f"photo-{kind}.png") - true).max() < 0.6, kind
    assert len(list(out.iterdir())) == 4


@pytest.mark.parametrize("kind", ["97x411", "40000x1", "RGBA", "sample"])
def test_a_cutout_is_that_of_python(run: Run, model: Path, tmp_path: Path, kind: str) -> None:
    photo = tmp_path / "photo.jpg"
    if kind == "sample":
        shutil.copy(ASTRONAUT, photo)
    else:
        photo = write_photo(tmp_path, kind)
    out, matte = in_both(run, model, photo)
    found = pixels(out / "photo-cutout.png")
    assert found.shape == (*matte.alpha.shape, 4)
    assert (np.abs(found - matte.cutout()).max(axis=2) > 2).mean() < 0.001


@pytest.mark.parametrize("background", ["#1e90ff", "30,144,255", "orange", "Green", "tall.png"])
def test_a_composite_is_that_of_python(
    run: Run, model: Path, tmp_path: Path, background: str
) -> None:
    behind: str | tuple[int, int, int] = background
    if background == "tall.png":
        behind = background = str(tmp_path / background)
        Image.fromarray(made_up(301, 80)[:, ::-1]).save(background)
    if "," in background:
        behind = (30, 144, 255)
    photo = write_photo(tmp_path, "120x70")
    out, matte = in_both(run, model, photo, "--background", background)
    off = np.abs(pixels(out / "photo-composite.png") - matte.over(behind))
    assert (off.max(axis=2) > 2).mean() < 0.001


def test_what_is_transparent_stays_so(run: Run, model: Path, tmp_path: Path) -> None:
    out, _ = in_both(run, model, write_photo(tmp_path, "RGBA"), "--save", "alpha")
    alpha = pixels(out / "photo-alpha.png")
    assert alpha[:, 0].max() == 0
    assert alpha[:, -1].max() > 100


def test_the_program_says_what_it_wrote(run: Run, model: Path, tmp_path: Path) -> None:
    photo = tmp_path / "Ältere Fotos" / "mein Bild.png"
    photo.parent.mkdir()
    shutil.copy(write_photo(tmp_path, "40x60"), photo)
    words = ("--image", photo, "--save", "alpha", "--out", photo.parent / "neue Maske.png")
    shutil.copytree(model.parent, tmp_path / "mein Modell ä")
    done = run("--model", tmp_path / "mein Modell ä" / model.name, *words)
    written, time = done.stdout.splitlines()
    assert written == str(photo.parent / "neue Maske.png")
    assert time.split()[0] == "forward"
    assert time.split()[2] == "ms"
    assert float(time.split()[1]) > 0
    assert pixels(photo.parent / "neue Maske.png").shape == (40, 60)
    names = sorted(path.name for path in photo.parent.iterdir())
    assert names == ["mein Bild.png", "neue Maske.png"]  # no temporary file is left


def test_the_program_has_the_version_of_the_package(run: Run) -> None:
    assert run("--version").stdout.split()[:2] == ["latefusion-cpp", latefusion.__version__]
    assert "--background COLOR" in run("--help").stdout


def blocks(language: str) -> dict[str, str]:
    """The code blocks of a language in the docs of C++, by file and number."""
    found: dict[str, str] = {}
    for page in DOCS:
        texts = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)
        found |= {f"{page.name} {number}": text for number, text in enumerate(texts)}
    return found


def build(installed: Path, folder: Path, main: str, lists: str) -> Path:
    """A program of another project that uses the installed library."""
    folder.mkdir(exist_ok=True)
    (folder / "CMakeLists.txt").write_text(lists)
    (folder / "main.cpp").write_text(main)
    found = cmake("-S", folder, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={installed}")
    assert found.returncode == 0, found.stderr
    built = cmake("--build", folder / "build")
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "build" / "mine"


def test_other_projects_find_the_library(installed: Path, model: Path, tmp_path: Path) -> None:
    program = build(installed, tmp_path / "mine", CONSUMER, blocks("cmake")["README.md 0"])
    done = subprocess.run([program, model], capture_output=True, text=True, check=True)
    assert done.stdout == "60 40 0.0 2 20 0.0"
    assert done.stderr.startswith("1 image 1: the image is empty or not 8-bit BGR")


def build_by_pkg_config(installed: Path, folder: Path, main: str) -> Path:
    """A program that uses the installed library, built by the command in the docs."""
    if shutil.which("pkg-config") is None:
        absent("pkg-config is not installed")
    folder.mkdir(exist_ok=True)
    (folder / "main.cpp").write_text(main)
    [at] = installed.glob("lib*/**/pkgconfig")
    [text] = [text for text in blocks("sh").values() if "pkg-config" in text]
    built = subprocess.run(
        text.replace("FOLDER/lib/pkgconfig", str(at)),
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return folder / "mine"


def test_pkg_config_finds_the_library(installed: Path, model: Path, tmp_path: Path) -> None:
    program = build_by_pkg_config(installed, tmp_path, CONSUMER)
    done = subprocess.run([program, model], capture_output=True, text=True, check=True)
    assert done.stdout == "60 40 0.0 2 20 0.0"


@pytest.mark.parametrize("name", blocks("cpp"))
def test_every_program_in_the_docs_links_by_pkg_config(
    installed: Path, tmp_path: Path, name: str
) -> None:
    assert build_by_pkg_config(installed, tmp_path / "mine", blocks("cpp")[name]).exists()


@pytest.mark.parametrize("name", blocks("cpp"))
def test_every_program_in_the_docs_builds_and_runs(
    installed: Path, lite: Path, tmp_path: Path, name: str
) -> None:
    program = build(
        installed, tmp_path / "mine", blocks("cpp")[name], blocks("cmake")["README.md 0"]
    )
    shutil.copy(ASTRONAUT, tmp_path / "me.jpg")
    for file in lite.parent.iterdir():
        shutil.copy(file, tmp_path / file.name.replace("lite.", "lite-cv."))
    done = subprocess.run([program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    if "imwrite" in blocks("cpp")[name]:
        assert pixels(tmp_path / "me.png").shape == (512, 512, 4)


# Of OpenCV, which is not built for them, some checks say too much.
CHECKED = {"ASAN_OPTIONS": "detect_leaks=0:detect_container_overflow=0"}


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared library, program and unit tests with sanitizers, as a part of another project."""
    if shutil.which("cmake") is None:
        absent("cmake is not installed")
    return once(tmp_path_factory, "cpp-sanitized", build_sanitized)


def build_sanitized(folder: Path) -> None:
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(parent CXX)\nenable_testing()\n"
        f'add_subdirectory("{ROOT / "cpp"}" cpp)\n'
    )
    asked = ("PROGRAM", "TESTS", "INSTALL", "WERROR", "SANITIZE", "PRECOMPILE")
    words = [f"-DLATEFUSION_{word}=ON" for word in asked] + ["-DBUILD_SHARED_LIBS=ON"]
    words += ["-DCMAKE_CXX_FLAGS=-O0"]  # compiles in half of the time, and leaves no access out
    found = cmake("-S", folder, "-B", folder / "build", *words)
    assert found.returncode == 0, found.stderr
    built = cmake("--build", folder / "build", "-j2", "-t", "latefusion-cpp", "latefusion-tests")
    assert built.returncode == 0, built.stdout + built.stderr
    done = cmake("--install", folder / "build" / "cpp", "--prefix", folder / "installed")
    assert done.returncode == 0, done.stderr


def test_the_unit_tests_pass_under_sanitizers(sanitized: Path) -> None:
    command, environment = ["ctest", "--output-on-failure"], os.environ | CHECKED
    done = subprocess.run(
        command, cwd=sanitized / "build", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "100% tests passed, 0 tests failed out of 7" in done.stdout


def test_a_photo_passes_under_sanitizers_by_the_installed_program_and_its_shared_library(
    sanitized: Path, lite: Path, tmp_path: Path
) -> None:
    photo = small_subject(tmp_path)
    with Image.open(photo) as whole:
        whole.resize((650, 350)).save(photo)  # sanitizers are slow
    program = sanitized / "installed" / "bin" / "latefusion-cpp"
    assert list((sanitized / "installed").glob("lib*/**/liblatefusion.so.*.*.*"))
    words = ("--model", lite, "--image", photo, "--save", "cutout,sheet", "--out", tmp_path)
    environment = os.environ | CHECKED
    done = subprocess.run([program, *words], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_in_another_project_only_the_library_is_made(tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        absent("cmake is not installed")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(parent CXX)\n"
        f'add_subdirectory("{ROOT / "cpp"}" cpp)\n'
    )
    found = cmake("-S", tmp_path, "-B", tmp_path / "build", "-DBUILD_SHARED_LIBS=ON")
    assert found.returncode == 0, found.stderr
    targets = cmake("--build", tmp_path / "build", "--target", "help").stdout
    assert "latefusion" in targets
    assert not re.search(r"latefusion-(cpp|parts|tests)", targets)
    rules = (tmp_path / "build" / "cpp" / "cmake_install.cmake").read_text()
    assert "matting.hpp" not in rules
    assert "latefusionTargets" not in rules


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged network in two files of any size for OpenCV."""
    return once(tmp_path_factory, "cpp-lite", export_lite) / "lite.onnx"


def export_lite(folder: Path) -> None:
    export(PACKAGED.with_suffix(".safetensors"), folder / "lite.onnx", ExportOptions("opencv"))


def small_subject(folder: Path) -> Path:
    """The sample photo on one side of a wide picture, so that a closer look is worth it."""
    with Image.open(ASTRONAUT) as photo:
        picture = Image.new("RGB", (1300, 700), (70, 90, 60))
        picture.paste(photo.resize((400, 400)), (120, 270))
    picture.save(folder / "small.png")
    return folder / "small.png"


def test_the_default_alpha_is_that_of_python(run: Run, lite: Path, tmp_path: Path) -> None:
    pictures = [*write_pictures(tmp_path), ASTRONAUT, small_subject(tmp_path)]
    predictor = Predictor()
    looks = 0
    for picture in pictures:
        done = run("--model", lite, "--image", picture, "--save", "alpha16,cutout")
        assert (done.returncode, done.stderr) == (0, ""), picture.name
        matte = predictor(picture)
        looks += len(matte.details)
        found = pixels(tmp_path / "work" / f"{picture.stem}-alpha16.png") / 65535
        off = np.abs(found - matte.alpha)
        assert off.max() < 1 / 255, (picture.name, off.max() * 255)
        cutout = pixels(tmp_path / "work" / f"{picture.stem}-cutout.png")
        worst = np.abs(cutout - matte.cutout()).max(axis=2)
        assert (worst > 2).mean() < 0.001, picture.name
    assert looks  # a closer look is among them


@pytest.mark.parametrize("words", [("--framing", "whole"), ("--refine", "off"), ("--size", "320")])
def test_an_option_changes_alpha_as_in_python(
    run: Run, lite: Path, tmp_path: Path, words: tuple[str, str]
) -> None:
    photo = small_subject(tmp_path)
    assert run("--model", lite, "--image", photo, "--save", "alpha16", *words).returncode == 0
    found = pixels(tmp_path / "work" / "small-alpha16.png") / 65535
    value: str | int = int(words[1]) if words[0] == "--size" else words[1]
    options = MattingOptions(**{words[0][2:]: value})  # type: ignore[arg-type]
    matte = Predictor(options=options)(photo)
    assert np.abs(found - matte.alpha).max() < 1 / 255
    assert np.abs(matte.alpha - Predictor()(photo).alpha).max() > 0.1


def test_the_sheet_shows_photo_branches_alpha_and_composite(
    run: Run, model: Path, tmp_path: Path
) -> None:
    photo = write_photo(tmp_path, "64x96")
    words = ("--background", "#1e90ff", "--save", "sheet,fg,alpha", "--out", tmp_path / "out")
    assert run("--model", model, "--image", photo, *words).returncode == 0
    sheet = pixels(tmp_path / "out" / "photo-sheet.png")
    assert sheet.shape == (2 * (64 + 28 + 8) + 8, 3 * (96 + 8) + 8, 3)
    shown = [
        sheet[8 + row * 100 :, 8 + column * 104 :][:64, :96]
        for row in (0, 1)
        for column in range(3)
    ]
    assert np.array_equal(shown[0], made_up(64, 96))
    assert np.array_equal(shown[1][:, :, 0], pixels(tmp_path / "out" / "photo-fg.png"))
    assert np.array_equal(shown[4][:, :, 0], pixels(tmp_path / "out" / "photo-alpha.png"))
    assert shown[5].std() > 10


def complaint(done: subprocess.CompletedProcess[str], exit_code: int = 1) -> str:
    """The one line on stderr of a run that failed."""
    assert done.returncode == exit_code, done
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def cut(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-200])


def cut_with_sidecar(model: Path) -> None:
    cut(model)
    write_sidecar(model)


def another_tools(model: Path) -> None:
    write_model(model, ("mask",))


def sized(*size: int) -> Callable[[Path], None]:
    entry = {"name": "image", "multiple": 32, "size": list(size)}
    return lambda model: write_sidecar(model, input=entry)


def for_onnxruntime(model: Path) -> None:
    entry = {"name": "image", "multiple": 32, "size": "dynamic", "side": 512}
    write_sidecar(model, target="onnx", input=entry)


def in_two(**changes: Any) -> Callable[[Path], None]:
    """A sidecar of two files, with the entry `fusion` changed."""
    entry = {"name": "image", "multiple": 32, "size": "dynamic", "side": 64}
    fusion = {"reach": [4, 6], "sha256": hashlib.sha256(b"abc").hexdigest()} | changes
    return lambda model: write_sidecar(model, input=entry, fusion=fusion)


def cut_fusion(model: Path) -> None:
    in_two()(model)
    model.with_suffix(".fusion.onnx").write_bytes(b"ab")


def other_fusion(model: Path) -> None:
    in_two()(model)
    model.with_suffix(".fusion.onnx").write_bytes(b"abd")  # as long as the one that was exported


def piped(model: Path) -> None:
    model.unlink()
    os.mkfifo(model)


def no_fusion_network(model: Path) -> None:
    in_two()(model)
    model.with_suffix(".fusion.onnx").write_bytes(b"abc")


def without(entry: str) -> Callable[[Path], object]:
    return lambda model: write_sidecar(model, **{entry: None})


def text(content: str) -> Callable[[Path], object]:
    return lambda model: model.with_suffix(".json").write_text(content)


BAD_MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing model": (Path.unlink, "toy.onnx does not exist; give the path of an exported"),
    "missing sidecar": (
        lambda model: model.with_suffix(".json").unlink(),
        "toy.json does not exist; an exported file needs its sidecar",
    ),
    "empty sidecar": (text(""), "toy.json is "),
    "no JSON": (text("{ format: ["), "toy.json is not JSON"),
    "a list": (text("[1, 2]"), "toy.json is not JSON that OpenCV can read"),
    "no object of ours": (text('{"a": 1}'), "toy.json is not a sidecar of latefusion"),
    "escape": (text('{"format": "\\u00e4"}'), "toy.json is not JSON that OpenCV can read"),
    "no format": (without("format"), "toy.json is not a sidecar of latefusion; export again"),
    "old format": (
        lambda model: write_sidecar(model, format="latefusion/1"),
        "toy.json has the format latefusion/1; this version reads latefusion/2",
    ),
    "ONNX Runtime": (
        for_onnxruntime,
        "toy.onnx is for ONNX Runtime; `latefusion export CHECKPOINT --target opencv` makes",
    ),
    "no sum": (without("sha256"), 'is a damaged sidecar (without a right "sha256")'),
    "no input": (without("input"), 'is a damaged sidecar (without a right "input")'),
    "cut model": (cut, "toy.onnx is damaged, or does not match its sidecar"),
    "cut model, sidecar made right": (cut_with_sidecar, "toy.onnx does not load"),
    "another tool's": (another_tools, "toy.onnx does not give alpha, fg, bg and blend"),
    "turned size": (sized(96, 64), "toy.onnx gives planes of another size than its image of 96"),
    "another size": (sized(64, 64), "does not give alpha, fg, bg and blend for an image of 64"),
    "another input": (
        lambda model: write_sidecar(model, input={"name": "photo", "size": list(SIZE)}),
        "toy.onnx does not give alpha, fg, bg and blend",
    ),
    "size of no multiple": (sized(64, 100), "size is not in multiples of 32"),
    "negative size": (sized(-32, 64), "size is not in multiples of 32"),
    "one of two files": (in_two(), "toy.fusion.onnx does not exist; it is the second half of"),
    "cut fusion": (cut_fusion, "toy.fusion.onnx is damaged, or does not match"),
    "another fusion network": (other_fusion, "toy.fusion.onnx is damaged, or does not match"),
    "a pipe": (piped, "toy.onnx is a pipe or a device, not a file"),
    "no fusion network": (no_fusion_network, "toy.fusion.onnx does not load"),
    "odd reach": (in_two(reach=[4, 7]), "is a damaged sidecar (with an invalid reach)"),
    "three lengths": (sized(64, 96, 3), "size is not [H, W]"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_MODELS)
def test_a_model_that_does_not_serve_is_one_line(
    run: Run, model: Path, tmp_path: Path, case: str
) -> None:
    spoil, expected = BAD_MODELS[case]
    shutil.copytree(model.parent, tmp_path / "model")
    spoil(tmp_path / "model" / model.name)
    done = run("--model", tmp_path / "model" / model.name, "--image", ASTRONAUT)
    assert expected in complaint(done)


def test_nothing_is_left_behind_for_a_model_that_does_not_load(
    run: Run, model: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(model.parent, tmp_path / "model") / model.name
    cut(copy)
    complaint(run("--model", copy, "--image", ASTRONAUT, "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def shortened(folder: Path, suffix: str, part: float = 0.6) -> Path:
    """A photo that ends early, with a whole thumbnail inside where the format has one."""
    path = folder / f"photo{suffix}"
    Image.fromarray(made_up(200, 160)).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    return path


def with_thumbnail(folder: Path) -> Path:
    """A JPEG without its pixels whose EXIF data hold a thumbnail, end mark included."""
    path = folder / "photo.jpg"
    Image.fromarray(made_up(20, 16)).save(path)
    thumbnail = b"Exif\0\0" + path.read_bytes()
    Image.fromarray(made_up(200, 160)).save(path, exif=thumbnail)
    path.write_bytes(path.read_bytes()[:-3000])
    return path


def of_bytes(content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "photo.jpg").write_bytes(content)
        return folder / "photo.jpg"

    return write


def spoilt_png(folder: Path) -> Path:
    path = folder / "photo.png"
    Image.fromarray(made_up(200, 160)).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    return path


def turned_rgba(folder: Path) -> Path:
    path = folder / "photo.png"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    opacity = np.full((40, 60), 90, np.uint8)
    Image.fromarray(np.dstack([made_up(40, 60), opacity])).save(path, exif=exif)
    return path


def piped_photo(folder: Path) -> Path:
    os.mkfifo(folder / "photo.jpg")
    return folder / "photo.jpg"


def grey_with_a_transparent_level(folder: Path) -> Path:
    path = folder / "photo.png"
    Image.fromarray(made_up(40, 60)).convert("L").save(path, transparency=100)
    return path


SHORT = "is damaged or cut short; get a whole copy of it"
BAD_PHOTOS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "none.jpg", "none.jpg does not exist"),
    "a folder": (lambda folder: folder, "is a folder; give the path of a photo"),
    "a pipe": (piped_photo, "photo.jpg is a pipe or a device, not a file"),
    "empty": (of_bytes(b""), "photo.jpg is empty; use JPEG"),
    "no image": (of_bytes(b"hello\n" * 50), "not an image that OpenCV reads; use JPEG"),
    "two bytes": (of_bytes(b"\xff\xd8"), "not an image that OpenCV reads; use JPEG"),
    "JPEG's first bytes": (of_bytes(b"\xff\xd8\xff\xe0" + b"\xff" * 30), SHORT),
    "cut JPEG": (lambda folder: shortened(folder, ".jpg"), SHORT),
    "JPEG cut in its last byte": (lambda folder: shortened(folder, ".jpg", 0.9999), SHORT),
    "cut JPEG with a thumbnail": (with_thumbnail, SHORT),
    "cut PNG": (lambda folder: shortened(folder, ".png"), SHORT),
    "cut WebP": (lambda folder: shortened(folder, ".webp"), SHORT),
    "cut BMP": (lambda folder: shortened(folder, ".bmp"), "photo.bmp is damaged, or not"),
    "cut TIFF": (lambda folder: shortened(folder, ".tiff"), "photo.tiff is damaged, or not"),
    "spoilt PNG": (spoilt_png, "photo.png is damaged, or not"),
    "turned RGBA": (turned_rgba, "has transparency, or CMYK, that OpenCV does not"),
    "transparent level": (
        grey_with_a_transparent_level,
        "has transparency, or CMYK, that OpenCV does not",
    ),
}


@pytest.mark.parametrize("case", BAD_PHOTOS)
def test_a_photo_that_cannot_be_read_is_one_line(
    run: Run, model: Path, tmp_path: Path, case: str
) -> None:
    write, expected = BAD_PHOTOS[case]
    folder = tmp_path / "photos"
    folder.mkdir()
    done = run("--model", model, "--image", write(folder), "--out", tmp_path / "out")
    assert expected in complaint(done)
    assert not (tmp_path / "out").exists()


USAGE: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown option": (("--tiles", "512"), "unknown option --tiles; --help lists"),
    "unknown framing": (("--framing", "face"), "unknown --framing 'face'; choose auto or whole"),
    "unknown refinement": (("--refine", "on"), "unknown --refine 'on'; choose closed-form or off"),
    "no size": (("--size", "big"), "--size 'big' is not a number"),
    "no epsilon": (("--epsilon", "1/255"), "--epsilon '1/255' is not a number"),
    "stray word": (("photo.jpg",), "unknown option photo.jpg"),
    "no value": (("--save",), "--save needs a value"),
    "empty value": (("--out", ""), "--out needs a value"),
    "unknown kind": (("--save", "alpha,trimap"), "unknown kind 'trimap'; --save takes alpha,"),
    "no kind": (("--save", ","), "unknown kind ''"),
    "composite on nothing": (("--save", "composite"), "composite needs --background"),
    "two kinds, one file": (("--save", "fg,bg", "--out", "a.png"), "a.png is one file"),
    "another format": (("--out", "a.JPG"), "a.JPG is no PNG, and nothing else is written"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_is_one_line(run: Run, model: Path, case: str) -> None:
    words, expected = USAGE[case]
    done = run("--model", model, "--image", ASTRONAUT, *words)
    assert expected in complaint(done, 2)


WRONG_FOR_THE_MODEL = {
    "--size": ("512", "toy.onnx takes one size only, not a longer side of 512"),
    "--epsilon": ("2", "epsilon is not a number from 0 to 1"),
    "--target": ("cuda", "this build of OpenCV has no such backend with this target"),
}


@pytest.mark.parametrize("option", WRONG_FOR_THE_MODEL)
def test_an_option_that_the_model_cannot_follow_is_one_line(
    run: Run, model: Path, option: str
) -> None:
    value, expected = WRONG_FOR_THE_MODEL[option]
    assert expected in complaint(run("--model", model, "--image", ASTRONAUT, option, value))


def test_a_photo_and_a_model_have_to_be_named(run: Run, model: Path) -> None:
    assert "give --model M.onnx and --image PHOTO" in complaint(run("--model", model), 2)
    assert "give --model M.onnx and --image PHOTO" in complaint(run(), 2)


@pytest.mark.parametrize("suffix", [".safetensors", ""])
def test_a_model_of_another_kind_is_one_line(run: Run, suffix: str) -> None:
    done = run("--model", f"lite{suffix}", "--image", ASTRONAUT)
    assert f"lite{suffix} is not an .onnx or .pb file" in complaint(done)


@pytest.mark.parametrize("display", [None, ":987"])
def test_a_window_without_a_display_is_one_line(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch, display: str | None
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    found = complaint(run("--model", model, "--image", ASTRONAUT, "--show"))
    assert "--show finds no display" in found or "--show is not built in" in found


@pytest.mark.parametrize("background", ["reddish", "#12345", "300,0,0", "1,2", "none.jpg"])
def test_an_invalid_background_is_one_line(run: Run, model: Path, background: str) -> None:
    done = run("--model", model, "--image", ASTRONAUT, "--background", background)
    assert f"'{background}' is neither a colour nor a file" in complaint(done)


def test_a_folder_that_cannot_be_made_is_one_line(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out, expected in {"file": "cannot be made", "file/a.png": "cannot be made"}.items():
        done = run("--model", model, "--image", ASTRONAUT, "--save", "fg", "--out", tmp_path / out)
        assert expected in complaint(done)
    (tmp_path / "a.png").mkdir()
    done = run("--model", model, "--image", ASTRONAUT, "--out", tmp_path / "a.png")
    assert "a.png is a folder" in complaint(done)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc, where nothing is written")
def test_a_folder_that_takes_no_file_is_one_line(run: Run, model: Path) -> None:
    done = run("--model", model, "--image", ASTRONAUT, "--out", "/proc/self")
    assert "/proc/self/astronaut-cutout.png cannot be written" in complaint(done)


def test_no_photo_is_overwritten(run: Run, model: Path, tmp_path: Path) -> None:
    photo = write_photo(tmp_path, "40x60")
    before = photo.read_bytes()
    for words in ((), ("--background", photo)):
        image = photo if not words else ASTRONAUT
        done = run("--model", model, "--image", image, *words, "--out", tmp_path / "." / photo.name)
        assert "is what is read" in complaint(done)
    assert photo.read_bytes() == before


def test_a_result_takes_the_place_of_an_older_one(run: Run, model: Path, tmp_path: Path) -> None:
    photo = write_photo(tmp_path, "40x60")
    out = tmp_path / "out"
    out.mkdir()
    (out / "photo-cutout.png").write_text("old")
    assert run("--model", model, "--image", photo, "--out", out).returncode == 0
    assert [path.name for path in out.iterdir()] == ["photo-cutout.png"]
    assert pixels(out / "photo-cutout.png").shape == (40, 60, 4)


@torch.no_grad()
def contrasty_densenet() -> MattingNetwork:
    """The paper's encoder and its mirrored padding in small, with an alpha from 0 to 1."""
    torch.manual_seed(0)
    small: dict[str, int | tuple[int, ...]] = {"blocks": (2, 1, 1, 1), "growth": 4}
    network = MattingNetwork(NetworkConfig("densenet201", 8, (4, 4, 4, 4, 4), small)).eval()
    perturb_norms(network)
    found = network(torch.rand(1, 3, 64, 96) * 255)
    for plane, branch in ((found.fg, network.fg), (found.bg, network.bg)):
        branch.side0.conv3.weight.mul_(2 / plane.logit().std())
    return network


@pytest.mark.parametrize(
    ("preset", "form"),
    [
        ("lite", "any size"),
        *(
            (preset, form)
            for preset in ("lite", "densenet201")
            for form in ("one size", "TensorFlow")
        ),
    ],
)
def test_every_runtime_gives_the_same_matte_from_file_to_alpha(
    installed: Path, tmp_path: Path, preset: str, form: str
) -> None:
    checkpoint = PACKAGED.with_suffix(".safetensors")
    if preset == "densenet201":
        checkpoint = tmp_path / "dense.safetensors"
        save_network(checkpoint, contrasty_densenet(), stage="joint")
    target, suffix = ("tensorflow", ".pb") if form == "TensorFlow" else ("opencv", ".onnx")
    size = None if form == "any size" else (224, 320)
    options = ExportOptions(target, size, side=None if size else 320)
    exported = export(checkpoint, tmp_path / f"{preset}{suffix}", options)
    runtimes = usable_runtimes(exported, checkpoint, [installed])
    kinds = [name.split()[0] + name.split()[-1] for name in runtimes]
    assert kinds[-2:] == ["OpenCVPython", "OpenCVC++"]
    assert len(kinds) == (4 if form == "one size" else 3)
    pairs = compare(runtimes, write_pictures(tmp_path))
    assert all(pair.holds for pair in pairs), certificate(pairs)
