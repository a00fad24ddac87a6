"""The command `latefusion video`: what it writes, and what is left when it is stopped or fails."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from clips import (
    SUBJECT,
    decoded,
    near,
    picture,
    sound_of,
    times,
    write_clip,
)
from latefusion.cli import app
from latefusion.predictor import Matter


def call(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["video", *words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_a_background_makes_an_opaque_mp4(toy: Matter, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    code, _, _ = call(
        *(str(clip), "-o", str(tmp_path / "green.mp4"), "--background", "#00b140"),
        *("--model", str(toy.model.path), "--size", "64"),
    )
    assert code == 0
    frame = decoded(tmp_path / "green.mp4", "rgb24")[3]
    assert near(frame[30, 70], (0, 177, 64), 16)
    assert near(frame[30, 8], SUBJECT, 20)


FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
from latefusion.cli import main
sys.argv = ["latefusion", *sys.argv[1:]]
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX limits")
@pytest.mark.parametrize("name", ["out.mov", "out.mp4"])
def test_a_full_disk_leaves_nothing_behind(name: str, toy: Matter, tmp_path: Path) -> None:
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


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_leaves_a_clip_that_plays(toy: Matter, tmp_path: Path) -> None:
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
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (130, "interrupted")
    assert [path.name for path in out.parent.iterdir()] == ["cut.mov"]
    assert 0 < len(times(out)) < 200
    assert sound_of(out)[0] == "aac"


def test_without_pyav_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.startswith("latefusion.video")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "av", None)
    for name in ("latefusion.clip", "latefusion.clip_colour", "latefusion.clip_writing"):
        monkeypatch.delitem(sys.modules, name)
    code, _, err = call(str(tmp_path / "in.mp4"), "-o", str(tmp_path / "out.mov"))
    assert code == 1
    assert err == "error: the package av is not installed; pip install 'latefusion[video]'\n"


def test_words_that_contradict_each_other_are_refused() -> None:
    for words in (["in.mp4"], ["in.mp4", "-o", "a.mov", "--raw", "4", "4"], ["--raw", "0", "4"]):
        assert call(*words)[0] == 2
    assert call("in.mp4", "-o", "a.mov", "--save", "trimap")[0] == 2
    for words in (["-", "-o", "a.mov"], ["in.mp4", "-o", "-"]):
        code, _, err = call(*words)
        assert code == 2
        assert "--raw" in err
