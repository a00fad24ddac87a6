"""The C++ program finds what Python finds, and ends in one clear line where it cannot."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from tests.helpers.toy_network import perturb_norms

ROOT = Path(__file__).parents[1]
ASTRONAUT = ROOT / "examples" / "astronaut.jpg"
SIZE = (64, 96)  # of the toy network's input
ORIENTATION = 0x0112

CONSUMER = {
    "CMakeLists.txt": """
cmake_minimum_required(VERSION 3.16)
project(consumer CXX)
find_package(latefusion REQUIRED)
add_executable(consumer main.cpp)
target_link_libraries(consumer PRIVATE latefusion::latefusion)
""",
    "main.cpp": """
#include <cstdio>
#include <latefusion/matting.hpp>
int main(int, char** words) try {
  latefusion::Network network(words[1]);
  const cv::Mat image(60, 40, CV_8UC3, cv::Scalar(20, 60, 220));
  const latefusion::Matte matte = network.matte(image);
  const cv::Mat alpha = latefusion::blend(matte.fg, matte.bg, matte.blend);
  std::printf("%d %d %.1f", alpha.rows, alpha.cols, cv::norm(alpha, matte.alpha, cv::NORM_INF));
  network.matte(cv::Mat1f(60, 40));
} catch (const latefusion::Error& error) {
  std::fputs(error.what(), stderr);
}
""",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where cpp/ is installed."""
    folder = tmp_path_factory.mktemp("cpp")
    if shutil.which("cmake") is None:
        absent("cmake is not installed")
    found = cmake("-S", ROOT / "cpp", "-B", folder / "build")
    if "OpenCV with its CMake files was not found" in found.stderr:
        absent("OpenCV's CMake files are not installed")
    assert found.returncode == 0, found.stderr
    built = cmake("--build", folder / "build", "-j2")
    assert built.returncode == 0, built.stdout + built.stderr
    done = cmake("--install", folder / "build", "--prefix", folder / "installed")
    assert done.returncode == 0, done.stderr
    return folder / "installed"


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
    path = folder / ("photo.jpg" if kind.startswith("orientation") else "photo.png")
    if "x" in kind:
        height, width = map(int, kind.split("x"))
        Image.fromarray(made_up(height, width)).save(path)
    elif kind == "RGBA":
        opacity = np.tile(np.linspace(0, 255, 90).astype(np.uint8), (70, 1))
        Image.fromarray(np.dstack([made_up(70, 90), opacity])).save(path)
    elif kind == "16-bit grey":
        grey = np.asarray(Image.fromarray(made_up(70, 90)).convert("L"), np.uint16)
        Image.fromarray(grey * 256 + np.arange(90, dtype=np.uint16) * 2).save(path)
    elif kind == "grey":
        Image.fromarray(made_up(70, 90)).convert("L").save(path)
    else:
        exif = Image.Exif()
        exif[ORIENTATION] = int(kind.split()[1])
        Image.fromarray(made_up(50, 120)).save(path, exif=exif, quality=95)
    return path


PHOTOS = ["64x96", "97x411", "411x97", "83x501", "501x83", "1x1", "3x5", "1x300", "RGBA", "grey"]
PHOTOS += ["16-bit grey", "orientation 6", "orientation 3", "orientation 5"]


def in_both(run: Run, model: Path, photo: Path, *words: object) -> tuple[Path, Matte]:
    """The folder that the program wrote to, and Python's matte of the same photo."""
    out = photo.parent / "out"
    done = run("--model", model, "--image", photo, "--out", out, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return out, Predictor(model, MattingOptions(framing="whole", refine="off"))(photo)


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


def test_other_projects_find_the_library(installed: Path, model: Path, tmp_path: Path) -> None:
    for name, text in CONSUMER.items():
        (tmp_path / name).write_text(text)
    found = cmake("-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={installed}")
    assert found.returncode == 0, found.stderr
    built = cmake("--build", tmp_path / "build")
    assert built.returncode == 0, built.stdout + built.stderr
    program = tmp_path / "build" / "consumer"
    done = subprocess.run([program, model], capture_output=True, text=True, check=True)
    assert done.stdout == "60 40 0.0"
    assert done.stderr.startswith("the image is empty or not 8-bit BGR")


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
        "toy.onnx is for ONNX Runtime; `latefusion export CHECKPOINT --target opencv --size H,W`",
    ),
    "no bytes": (without("bytes"), 'is a damaged sidecar (without a right "bytes")'),
    "no input": (without("input"), 'is a damaged sidecar (without a right "input")'),
    "cut model": (cut, "toy.onnx is cut short, or does not match its sidecar"),
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


def grey_with_a_transparent_level(folder: Path) -> Path:
    path = folder / "photo.png"
    Image.fromarray(made_up(40, 60)).convert("L").save(path, transparency=100)
    return path


SHORT = "is damaged or cut short; get a whole copy of it"
BAD_PHOTOS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "none.jpg", "none.jpg does not exist"),
    "a folder": (lambda folder: folder, "is a folder; give the path of a photo"),
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
    "unknown option": (("--size", "512"), "unknown option --size; --help lists"),
    "stray word": (("photo.jpg",), "unknown option photo.jpg"),
    "no value": (("--save",), "--save needs a value"),
    "empty value": (("--out", ""), "--out needs a value"),
    "unknown kind": (("--save", "alpha,trimap"), "unknown kind 'trimap'; --save takes alpha,"),
    "no kind": (("--save", ","), "unknown kind ''"),
    "composite on nothing": (("--save", "composite"), "composite needs --background"),
    "two kinds, one file": (("--save", "fg,bg", "--out", "a.png"), "a.png is one file"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_is_one_line(run: Run, model: Path, case: str) -> None:
    words, expected = USAGE[case]
    done = run("--model", model, "--image", ASTRONAUT, *words)
    assert expected in complaint(done, 2)


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


@pytest.mark.parametrize("suffix", [".onnx", ".pb"])
@pytest.mark.parametrize("preset", ["lite", "densenet201"])
def test_every_runtime_gives_the_same_matte_from_file_to_alpha(
    installed: Path, tmp_path: Path, preset: str, suffix: str
) -> None:
    checkpoint = PACKAGED.with_suffix(".safetensors")
    if preset == "densenet201":
        checkpoint = tmp_path / "dense.safetensors"
        save_network(checkpoint, contrasty_densenet(), stage="joint")
    target = "opencv" if suffix == ".onnx" else "tensorflow"
    exported = export(checkpoint, tmp_path / f"{preset}{suffix}", ExportOptions(target, (224, 320)))
    runtimes = usable_runtimes(exported, checkpoint, [installed])
    kinds = [name.split()[0] + name.split()[-1] for name in runtimes]
    assert kinds[-2:] == ["OpenCVPython", "OpenCVC++"]
    assert len(kinds) == (4 if suffix == ".onnx" else 3)
    pairs = compare(runtimes, write_pictures(tmp_path))
    assert all(pair.holds for pair in pairs), certificate(pairs)
