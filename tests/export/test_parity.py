"""The certificate: equal runtimes pass, and a small difference anywhere is found."""

import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from latefusion.cli import app
from latefusion.errors import LatefusionError, WeightsError
from latefusion.export.files import ExportOptions
from latefusion.export.parity import Difference, compare, usable_runtimes
from latefusion.images.reading import read_photo
from latefusion.inference.golden import write_pictures
from latefusion.model.checkpoint import save_network
from latefusion.runtime.model_file import PACKAGED
from tests.helpers.toy_network import add_toy_preset, export_toy, toy_network

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy network, exported for OpenCV and for any size, with its checkpoint beside them."""
    exports = {"toy.onnx": ExportOptions("opencv", (64, 96)), "any.onnx": ExportOptions(side=96)}
    return export_toy(tmp_path_factory.mktemp("parity"), toy_network, exports)


@pytest.fixture
def model(exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the export for OpenCV, which a test may change."""
    add_toy_preset(monkeypatch)
    shutil.copytree(exports, tmp_path, dirs_exist_ok=True)
    return tmp_path / "toy.onnx"


def program(folder: Path, body: str) -> Path:
    """A stand-in for the C++ program that says its version, or runs the Python of `body`."""
    file = folder / "latefusion-cpp"
    file.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "if sys.argv[1] == '--version': sys.exit(print('latefusion-cpp 1, OpenCV 4.6.0'))\n" + body
    )
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def test_golden_pictures_are_of_many_kinds(tmp_path: Path) -> None:
    photos = {path.name: read_photo(path) for path in write_pictures(tmp_path)}
    sizes = {name: photo.image.shape[:2] for name, photo in photos.items()}
    assert sizes["turned.jpg"] == (300, 240)  # upright, as its EXIF says
    assert any(height % 2 and width % 2 for height, width in sizes.values())
    assert any(height > 4 * width for height, width in sizes.values())
    assert any(width > 4 * height for height, width in sizes.values())
    assert photos["clear.png"].opacity is not None
    with Image.open(tmp_path / "grey.png") as grey:
        assert grey.mode == "L"


def test_all_runtimes_that_are_here_agree(model: Path, tmp_path: Path) -> None:
    found = usable_runtimes(model)
    assert [name.split()[0] for name in found] == ["PyTorch", "ONNX", "OpenCV"]
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    pairs = compare(found, write_pictures(pictures))
    assert len(pairs) == 3
    assert all(pair.holds for pair in pairs)
    assert all(0 < pair.greatest < 1e-4 for pair in pairs)  # different sums, so not quite equal
    assert all(pair.picture for pair in pairs)


def test_a_network_of_any_size_runs_in_pytorch_and_onnx_runtime(model: Path) -> None:
    checkpoint = model.with_suffix(".safetensors")
    found = usable_runtimes(model.with_name("any.onnx"), checkpoint)
    assert [name.split()[0] for name in found] == ["PyTorch", "ONNX"]


def test_the_network_that_ships_holds_in_pytorch_and_onnx_runtime(tmp_path: Path) -> None:
    found = usable_runtimes(PACKAGED)
    assert [name.split()[0] for name in found] == ["PyTorch", "ONNX"]
    pairs = compare(found, write_pictures(tmp_path)[:2])
    assert pairs[0].holds
    assert pairs[0].greatest < 0.01 / 255


def test_a_difference_says_where_it_is() -> None:
    one = np.zeros((40, 60), np.float32)
    border, middle = one.copy(), one.copy()
    border[3, 30] = 0.01
    middle[20, 30] = 0.02
    pair = Difference("a", "b").worst_with("first", one, border)
    assert (pair.greatest, pair.border, pair.picture) == pytest.approx((0.01, 0.01, "first"))
    pair = pair.worst_with("second", middle, one)
    assert (pair.greatest, pair.border, pair.picture) == pytest.approx((0.02, 0.01, "second"))
    assert pair.mean == pytest.approx(0.02 / 2400)
    assert not pair.holds


@pytest.mark.parametrize(
    ("greatest", "mean", "holds"),
    [(0.0039, 0.00039, True), (0.0040, 0.0001, False), (0.0039, 0.0004, False)],
)
def test_parity_is_one_level_and_a_tenth_on_average(
    greatest: float, mean: float, holds: bool
) -> None:
    assert Difference("a", "b", greatest=greatest, mean=mean).holds is holds


def test_a_tiny_picture_is_border_throughout() -> None:
    tiny = np.zeros((3, 5), np.float32)
    pair = Difference("a", "b").worst_with("tiny", tiny, tiny + np.float32(0.5))
    assert (pair.greatest, pair.border, pair.mean) == (0.5, 0.5, 0.5)


def test_the_certificate_is_printed_and_broken_parity_fails(model: Path, tmp_path: Path) -> None:
    half = """
from PIL import Image
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert words['--save'] == 'alpha16'
from PIL import ImageOps
size = ImageOps.exif_transpose(Image.open(words['--image'])).size
Image.new('I;16', size, 32768).save(words['--out'])
"""
    runner = CliRunner()
    good = runner.invoke(app, ["parity", str(model)])
    assert good.exit_code == 0, good.output
    assert "parity holds" in good.stdout
    broken = runner.invoke(app, ["parity", str(model), "--cpp", str(program(tmp_path, half))])
    assert broken.exit_code == 1
    assert "OpenCV 4.6.0 C++" in broken.stdout
    assert "parity is broken" in broken.stdout


def test_a_program_that_fails_is_quoted(model: Path, tmp_path: Path) -> None:
    found = usable_runtimes(model, builds=[program(tmp_path, "sys.exit('error: no luck')").parent])
    with pytest.raises(LatefusionError, match="latefusion-cpp: error: no luck"):
        compare(found, write_pictures(tmp_path))


def test_a_folder_without_the_program_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        LatefusionError, match="does not contain latefusion-cpp; build cpp/ with CMake"
    ):
        usable_runtimes(model, builds=[tmp_path])


def test_a_checkpoint_of_another_network_is_refused(model: Path, tmp_path: Path) -> None:
    save_network(tmp_path / "other.safetensors", toy_network(seed=1), stage="joint")
    with pytest.raises(WeightsError, match=r"toy\.onnx was not exported from .*other\.safetensors"):
        usable_runtimes(model, tmp_path / "other.safetensors")


def test_a_checkpoint_of_the_same_name_that_is_another_is_left_out(model: Path) -> None:
    save_network(model.with_suffix(".safetensors"), toy_network(seed=1), stage="joint")
    assert [name.split()[0] for name in usable_runtimes(model)] == ["ONNX", "OpenCV"]


def test_one_runtime_alone_proves_nothing(toy_model: Path) -> None:
    result = CliRunner().invoke(app, ["parity", str(toy_model)])
    assert result.exit_code == 1
    assert "give --checkpoint or --cpp" in result.stderr


def test_what_is_no_number_breaks_parity() -> None:
    whole = np.zeros((40, 60), np.float32)
    spoilt = whole.copy()
    spoilt[20, 30] = np.nan
    pair = Difference("a", "b").worst_with("first", whole, spoilt)
    assert not pair.holds
    assert not pair.worst_with("second", spoilt, spoilt).holds


def test_alphas_of_two_sizes_are_not_compared() -> None:
    one, other = np.zeros((1, 3), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(LatefusionError, match=r"wide: a gives \(1, 3\), b \(2, 3\)"):
        Difference("a", "b").worst_with("wide", one, other)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "wrote no alpha of"),
        ("sys.stderr.buffer.write(b'\\xff\\xfe'); sys.exit(3)", "latefusion-cpp: "),
    ],
)
def test_a_program_that_does_something_else_is_one_line(
    model: Path, tmp_path: Path, body: str, said: str
) -> None:
    found = usable_runtimes(model, builds=[program(tmp_path, body)])
    with pytest.raises(LatefusionError, match=said):
        compare(found, write_pictures(tmp_path)[:1])
