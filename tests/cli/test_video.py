"""The command `latefusion video`: its results, also when it is stopped or fails."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from latefusion.cli import app
from latefusion.inference.predictor import Predictor
from tests.helpers.clips import SUBJECT, decoded, near, picture, sound_of, times, write_clip


def call(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["video", *words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_a_background_makes_an_opaque_mp4(toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    code, _, _ = call(
        *(str(clip), "-o", str(tmp_path / "green.mp4"), "--background", "#00b140"),
        *("--model", str(toy.model.path), "--size", "64"),
    )
    assert code == 0
    frame = decoded(tmp_path / "green.mp4", "rgb24")[3]
    assert near(frame[30, 70], (0, 177, 64), 16)
    assert near(frame[30, 8], SUBJECT, 20)


def test_the_default_background_is_transparent(toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    network = ("--model", str(toy.model.path), "--size", "64")
    given = ("--background", "transparent")
    assert call(str(clip), "-o", str(tmp_path / "a.mov"), *network)[0] == 0
    assert call(str(clip), "-o", str(tmp_path / "b.mov"), *network, *given)[0] == 0
    plain, asked = (decoded(tmp_path / name, "rgba") for name in ("a.mov", "b.mov"))
    assert np.array_equal(plain, asked)
    assert near(asked[3][30, 8], (*SUBJECT, 255))
    assert asked[3][30, 70, 3] < 30
    code, _, err = call(str(clip), "-o", str(tmp_path / "c.mp4"), *network, *given)
    assert (code, "cannot store transparency" in err) == (1, True)


@pytest.mark.parametrize("save", ["cutout", "alpha"])
def test_without_a_target_the_result_lies_in_the_current_folder(
    save: str, toy: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "here").mkdir()
    clip = write_clip(tmp_path / "clips" / "me.new.mp4")
    before = clip.read_bytes()
    monkeypatch.chdir(tmp_path / "here")
    network = ("--model", str(toy.model.path), "--size", "64")
    code, out, _ = call(str(clip), "--save", save, "--background", "white", *network)
    assert (code, out) == (0, f"me.new-{save}.mov\n")
    assert [path.name for path in Path().iterdir()] == [f"me.new-{save}.mov"]
    assert len(times(Path(f"me.new-{save}.mov"))) == 8
    assert clip.read_bytes() == before


def test_a_result_is_not_overwritten_unless_o_names_it(
    toy: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clip, twin = write_clip(Path("d.mp4")), write_clip(Path("d.mkv"), [picture(3)] * 4)
    network = ("--model", str(toy.model.path), "--size", "64")
    assert call(str(clip), "--end", "0.1", *network)[0] == 0
    first = Path("d-cutout.mov").read_bytes()
    for words in ([str(twin)], [str(clip), "--start", "0.1"]):
        code, out, err = call(*words, *network)
        cure = "give another name with -o, or -o d-cutout.mov to overwrite it"
        assert (code, out, err) == (1, "", f"error: d-cutout.mov exists already; {cure}\n")
    assert Path("d-cutout.mov").read_bytes() == first
    assert call(str(twin), "--save", "alpha", *network)[0] == 0
    assert call(str(twin), "-o", "d-cutout.mov", *network)[0] == 0
    assert len(times(Path("d-cutout.mov"))) == 4


def test_a_part_of_a_clip_is_written(toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    words = (str(clip), "-o", str(tmp_path / "out.mov"), "--start", "0.1", "--end", "0:00.2")
    assert call(*words, "--model", str(toy.model.path))[0] == 0
    assert times(tmp_path / "out.mov") == pytest.approx([0, 0.033, 0.067], abs=0.002)


@pytest.mark.parametrize(("out", "behind"), [("b.mov", "b.mov"), ("out/%03d.png", "out/004.png")])
def test_a_background_is_never_overwritten(out: str, behind: str, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    image = tmp_path / behind
    image.parent.mkdir(exist_ok=True)
    Image.fromarray(picture(0)).save(image, format="PNG")
    before = image.read_bytes()
    code, _, err = call(str(clip), "-o", str(tmp_path / out), "--background", str(image))
    assert code == 1
    assert f"error: {image} " in err
    assert image.read_bytes() == before


FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
from latefusion.cli import main
sys.argv = ["latefusion", *sys.argv[1:]]
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX limits")
@pytest.mark.parametrize("name", ["out.mov", "out.mp4"])
def test_a_full_disk_leaves_nothing_behind(name: str, toy: Predictor, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clip = write_clip(tmp_path / "in.mp4", [rng.integers(0, 256, (96, 160, 3), np.uint8)] * 6)
    (tmp_path / "out").mkdir()
    words = ["video", str(clip), "-o", str(tmp_path / "out" / name), "--save", "foreground"]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *words, "--model", str(toy.model.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert f"{name} cannot be written: File too large" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("numbers", "code"),
    [([signal.SIGINT], 130), ([signal.SIGTERM], 143), ([signal.SIGINT, signal.SIGTERM], 143)],
)
def test_a_stopped_run_leaves_a_complete_clip_or_nothing(
    numbers: list[signal.Signals], code: int, toy: Predictor, tmp_path: Path
) -> None:
    clip = write_clip(
        tmp_path / "in.mp4",
        [picture(number % 16, (240, 320)) for number in range(200)],
        sound="aac",
    )
    out = tmp_path / "out" / "cut.mov"
    words = ["video", str(clip), "-o", str(out), "--model", str(toy.model.path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "latefusion", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        parts = list(out.parent.glob(".latefusion-*"))
        if parts and parts[0].stat().st_size > 50_000:
            break
    for number in numbers:
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (code, "interrupted")
    if len(numbers) > 1:  # at once
        assert list(out.parent.iterdir()) == []
        return
    assert [path.name for path in out.parent.iterdir()] == ["cut.mov"]
    assert 0 < len(times(out)) < 200
    assert sound_of(out)[0] == "aac"


def test_a_missing_pyav_is_reported_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("run", "reading", "colour", "writing"):
        monkeypatch.delitem(sys.modules, f"latefusion.video.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    code, _, err = call(str(tmp_path / "in.mp4"), "-o", str(tmp_path / "out.mov"))
    assert code == 1
    cure = "run pip install -c constraints.txt '.[video]' in a clone of latefusion"
    assert err == f"error: the package av is not installed; {cure}\n"


def test_contradictory_options_are_refused() -> None:
    for words in (
        [],
        ["in.mp4", "-o", "a.mov", "--raw", "4", "4"],
        ["--raw", "0", "4"],
        ["--raw", "4", "4", "--start", "1"],
        ["in.mp4", "--start", "soon"],
        ["in.mp4", "--start", "0:01:00", "--end", "59.5"],
    ):
        assert call(*words)[0] == 2
    assert call("in.mp4", "-o", "a.mov", "--save", "trimap")[0] == 2
    code, _, err = call("--raw", "100000", "100000")
    assert code == 2
    assert "250 million" in err
    for words in (["-", "-o", "a.mov"], ["in.mp4", "-o", "-"]):
        code, _, err = call(*words)
        assert code == 2
        assert "--raw" in err
