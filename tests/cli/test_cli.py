import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageCms
from typer.testing import CliRunner

import latefusion
from latefusion.cli import app


class Outcome(NamedTuple):
    code: int
    out: list[str]
    err: list[str]


Run = Callable[..., Outcome]
SUMMARY = re.compile(
    r"(\d+ (cut out|failed|done before), )+\d+\.\d\d s a photo on cpu$|\d+ failed$"
)


@pytest.fixture
def run(toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`latefusion matte` with the toy model, in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run_matte(*arguments: str | Path) -> Outcome:
        outcome = call("matte", "--model", str(toy_model), *map(str, arguments))
        return outcome._replace(err=[line for line in outcome.err if not SUMMARY.match(line)])

    return run_matte


def call(*arguments: str) -> Outcome:
    result = CliRunner().invoke(app, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout.splitlines(), result.stderr.splitlines())


def photo(path: Path | str, colour: Sequence[int] = (255, 255, 30)) -> Path:
    """A photo, wider than high, its subject at the left."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((30, 50, 3), (10, 0, 90), np.uint8)
    pixels[:, :20] = colour
    Image.fromarray(pixels).save(path)
    return path


def names(folder: Path | str = ".") -> list[str]:
    return sorted(file.name for file in Path(folder).iterdir())


def test_the_default_is_a_cutout_in_the_current_folder(run: Run) -> None:
    outcome = run(photo("../photos/me.png"))
    assert outcome == (0, ["me-cutout.png"], [])
    assert names() == ["me-cutout.png"]
    with Image.open("me-cutout.png") as cutout:
        assert (cutout.mode, cutout.size) == ("RGBA", (50, 30))
        assert cutout.getpixel((5, 15)) == (255, 255, 30, 255)
        assert cutout.getpixel((45, 15))[3] < 5  # type: ignore[index]


def test_save_names_the_kinds_and_out_a_new_folder(run: Run) -> None:
    kinds = ["cutout", "alpha", "foreground", "trimap", "doubt", "fg", "bg", "blend"]
    kinds += ["branches", "preview"]
    outcome = run(photo("me.png"), "--save", ",".join(kinds), "-o", "new/results")
    assert outcome.code == 0
    assert names("new/results") == sorted(f"me-{kind}.png" for kind in kinds)
    with Image.open("new/results/me-branches.png") as branches:
        assert branches.getpixel((55, 15)) == 0  # the background branch, at the subject


def test_one_photo_and_one_kind_may_name_the_file(run: Run) -> None:
    assert run(photo("me.png"), "--save", "alpha", "-o", "deep/mask.png").code == 0
    assert names("deep") == ["mask.png"]


@pytest.mark.parametrize(
    "name", ["my photo.png", "größe 写真.png", "-x.png", "a.b.c.png", "n\nl.png"]
)
def test_any_file_name_works(run: Run, name: str) -> None:
    photo(name)
    assert run("--", name).code == 0
    assert f"{name[:-4]}-cutout.png" in names()


def test_a_name_that_is_not_text_works(run: Run) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    photo("me.png").rename(name)
    assert run(name).code == 0
    assert run(os.fsdecode(b"n\xf6.png")).code == 1


def test_a_bad_photo_costs_one_line_and_the_rest_is_done(run: Run) -> None:
    Path("text.jpg").write_text("no photo")
    outcome = run("text.jpg", photo("me.png"), "missing.jpg", "-o", "out")
    assert outcome.code == 1
    assert names("out") == ["me-cutout.png"]
    assert outcome.out == ["out/me-cutout.png"]
    starts = ["error: missing.jpg does not", "error: text.jpg is not an image"]
    assert len(outcome.err) == 2
    for line, start in zip(sorted(outcome.err), starts, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["a.png", "b.png", "-o", "one.png"], "is one file"),
        (["a.png", "-o", "one.png", "--save", "alpha,doubt"], "is one file"),
        (["a.png", "-o", "one.jpg"], "JPEG cannot be"),
        (["a.png", "--format", "gif"], "'gif' is not one of 'png', 'webp'"),
        (["a.png", "--bits", "12"], "'12' is not one of '8', '16'"),
        (["a.png", "--bits", "16", "--format", "webp"], "16 bits need"),
        (["b", "-o", "b"], "is both source and target"),
        (["a.png", "-o", "a.png"], "is one of the files that are read"),
        (["b.png", "-o", "a.png", "--background", "a.png"], "is one of the files that are read"),
        (["a.png", "b/a.png"], "would both become a-cutout.png"),
        (["a.png", "-o", "me.heic"], "has no suffix of a supported format"),
        (["a.png", "-o", "me.png", "--format", "webp"], "contradict each other"),
        (["a.png", "--save", "alpha,beta"], "'beta' is not one of cutout, alpha,"),
        (["a.png", "--save", ""], "'' is not one of"),
        (["a.png", "--size", "500"], "use 512"),
        (["a.png", "--subject", "me"], "unknown subject 'me'; use all, largest or X,Y"),
        (["a.png", "--refine", "guided"], "'guided' is not one of 'closed-form', 'off'"),
        (["a.png", "--framing", "near"], "'near' is not one of 'auto', 'whole'"),
        (["a.png", "--no-such-option"], "No such option"),
        ([], "Missing argument"),
    ],
)
def test_a_usage_error_exits_with_2_and_writes_nothing(
    run: Run, arguments: list[str], problem: str
) -> None:
    for name in ("a.png", "b.png", "b/a.png", "b/A.PNG", "a-alpha.png"):
        photo(name)
    before = {path: path.read_bytes() for path in Path().rglob("*.*")}
    outcome = run(*arguments)
    assert outcome.code == 2
    assert problem in " ".join(" ".join(outcome.err).replace("│", " ").split())
    assert {path: path.read_bytes() for path in Path().rglob("*.*")} == before


def test_the_same_photo_twice_is_done_once(run: Run) -> None:
    photo("me.png")
    assert run("me.png", "./me.png", Path("me.png").resolve()).out == ["me-cutout.png"]


def test_a_photo_is_not_overwritten_through_a_link(run: Run) -> None:
    photo("me.png")
    Path("link").symlink_to(".")
    assert run("me.png", "-o", "link/me.png").code == 2


def test_results_of_the_last_run_are_replaced(run: Run) -> None:
    photo("me.png")
    run("me.png")
    photo("me.png", (255, 255, 120))
    run("me.png")
    with Image.open("me-cutout.png") as cutout:
        assert cutout.getpixel((5, 15))[:3] == (255, 255, 120)  # type: ignore[index]


def test_a_folder_that_cannot_be_made_is_one_line(run: Run) -> None:
    Path("file").write_text("")
    outcome = run(photo("me.png"), "-o", "file/out")
    assert outcome == (1, [], ["error: the folder file/out cannot be made: Not a directory"])


def test_a_result_that_cannot_be_written_is_one_line_and_the_rest_is_done(run: Run) -> None:
    Path("a-cutout.png").mkdir()
    outcome = run(photo("a.png"), photo("b.png"))
    assert outcome == (
        1, ["b-cutout.png"], ["error: a-cutout.png cannot be written: Is a directory"])  # fmt: skip
    assert names() == ["a-cutout.png", "a.png", "b-cutout.png", "b.png"]


def test_a_missing_model_is_one_line_not_one_a_photo(run: Run) -> None:
    outcome = run(photo("a.png"), photo("b.png"), "--model", "none.onnx")
    assert outcome.code == 1
    assert len(outcome.err) == 1
    assert outcome.err[0].startswith("error: none.onnx cannot be read: No such file")


def test_the_photos_colour_profile_stays_with_the_cutout(run: Run) -> None:
    path = photo("me.png")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with Image.open(path) as picture:
        picture.save(path, icc_profile=profile)
    run(path, "--save", "cutout,alpha")
    with Image.open("me-cutout.png") as cutout, Image.open("me-alpha.png") as alpha:
        assert cutout.info["icc_profile"] == profile
        assert "icc_profile" not in alpha.info


def test_ctrl_c_exits_with_130_and_leaves_nothing_half_written(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:  # when the file has its head, but no pixels
        raise KeyboardInterrupt

    paths = [photo("a.png"), photo("b.png")]
    monkeypatch.setattr(zlib, "compressobj", interrupted)
    outcome = run(*paths, "-o", "out")
    assert outcome == (130, [], ["interrupted"])
    assert names("out") == []


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_closed_stdout_is_no_reason_to_stop(toy_model: Path, tmp_path: Path) -> None:
    arguments = f"{photo(tmp_path / 'a.png')} {photo(tmp_path / 'b.png')} --model {toy_model}"
    command = f"{sys.executable} -m latefusion matte {arguments} -o {tmp_path}/out >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert SUMMARY.match(done.stderr.removesuffix("\n"))
    assert names(tmp_path / "out") == ["a-cutout.png", "b-cutout.png"]


def test_the_device_and_the_share_of_tiles_are_reported(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--model", str(toy_model), "--device", "cpu", "--threads", "1", "--strict")
    done = call("matte", str(photo("me.png")), *words)
    assert done.code == 0
    assert len(done.err) == 1
    assert SUMMARY.match(done.err[0])
    assert done.err[0].startswith("1 cut out, ")


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("--device", "gpu"), 1, "error: unknown device 'gpu'; choose one of auto, cuda, rocm"),
        (
            ("--device", "coreml", "--strict"),
            1,
            "error: device coreml is not available: this ONNX Runtime supports only",
        ),
        (("--threads", "0"), 2, None),
        (("--epsilon", "2"), 2, None),
    ],
)
def test_a_device_or_setting_that_is_not_there_is_refused(
    run: Run, words: tuple[str, ...], code: int, line: str | None
) -> None:
    done = run(photo("me.png"), *words)
    assert (done.code, done.out) == (code, [])
    assert line is None or done.err[0].startswith(line)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_real_interrupt_ends_a_real_process_cleanly(toy_model: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    for number in range(100):
        Image.fromarray(noise).save(tmp_path / f"{number}.bmp")
    arguments = [*map(str, sorted(tmp_path.glob("*.bmp"))), "--model", str(toy_model), "-o", "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "latefusion", "matte", *arguments],
        cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while not list(tmp_path.glob("out/*.png")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.split()[-1]) == (130, "interrupted")
    assert "Traceback" not in err
    assert names(tmp_path / "out") == sorted(Path(line).name for line in out.splitlines())
    for file in tmp_path.glob("out/*"):
        with Image.open(file) as written:
            written.load()


def test_version() -> None:
    assert call("--version") == (0, [f"latefusion {latefusion.__version__}"], [])


@pytest.mark.parametrize(
    "module", ["latefusion", "latefusion.cli", "latefusion.inference.predictor"]
)
def test_heavy_packages_are_not_imported(module: str) -> None:
    code = f"import sys, {module}; print([m for m in sys.modules if m in {HEAVY}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


HEAVY = ("torch", "onnxruntime", "onnx", "kornia", "lightning", "h5py", "rich.progress", "scipy")


@pytest.mark.parametrize(
    "words",
    [
        ["matte", "a.jpg", "--timeout", "nan"],
        ["serve", "--time-limit", "nan"],
        ["serve", "--max-pixels", "inf"],
        ["video", "a.mp4", "-o", "b.mov", "--epsilon", "nan"],
        ["train", "segmentation", "--max-lr", "nan"],
    ],
)
def test_no_number_of_an_option_is_nan_or_infinite(words: list[str]) -> None:
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 2
    assert "finite" in found.output or "not in the range" in found.output


@pytest.mark.parametrize("package", ["h5py", "torch"])
def test_without_the_training_packages_the_cure_is_named(package: str) -> None:
    code = f"import sys; sys.modules['{package}'] = None; from latefusion.cli import main; main()"
    command = [sys.executable, "-c", code, "import-keras", "a.h5", "b.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    cure = "run pip install -c constraints.txt '.[train]' in a clone of latefusion"
    assert done.stderr == f"error: the package {package} is not installed; {cure}\n"
