"""File names on a terminal, which obeys the control characters in them, and in a pipe."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from latefusion.errors import one_line

pty = pytest.importorskip("pty", reason="needs POSIX terminals")

TITLE = "\x1b]0;mine\x07"  # changes the title of a terminal's window
NAMES = [f"a{TITLE}.png", "b\x1b[31m.png", "c\u202egnp.png", "d\u2028\x9b2J\r.png", "e[red].png"]
CONTROLS = ["\x1b]0;", "\x07", "\x1b[31m.", "\u202e", "\u2028", "\x9b", "\x7f"]
LATEFUSION = (sys.executable, "-m", "latefusion")


def on_terminal(*arguments: str) -> str:
    """What the command writes to a terminal, which takes its stdout and stderr."""
    ours, its = pty.openpty()
    process = subprocess.Popen([*LATEFUSION, *arguments], stdout=its, stderr=its)
    os.close(its)
    found = b""
    with process:
        try:
            while block := os.read(ours, 65536):
                found += block
        except OSError:  # the other side is closed
            pass
    os.close(ours)
    return found.decode()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in NAMES:
        Image.new("RGB", (50, 30), (255, 0, 30)).save(folder / name)
    return folder


def test_a_terminal_gets_names_with_control_characters_escaped(
    photos: Path, toy_model: Path, tmp_path: Path
) -> None:
    (photos / f"bad{TITLE}\u202e.png").write_bytes(b"no photo")
    options = ("--model", str(toy_model), "-o", str(tmp_path / "out"), "--save", "alpha")
    for source in (photos, photos / NAMES[0], photos / NAMES[4]):
        found = on_terminal("matte", str(source), *options)
        assert [control for control in CONTROLS if control in found] == []
        assert "a\\x1b]0;mine\\x07-alpha.png" in found or source.name == NAMES[4]
    assert "e[red]-alpha.png" in found


@pytest.mark.parametrize(
    "arguments",
    [
        ("matte", f"no{TITLE}.png", "-o", "x.png"),
        ("matte", f"s3://a/{TITLE}.png", "-o", "out"),
        ("matte", f"{TITLE}\u202e.png", "-o", f"s3://a/{TITLE}"),
        ("video", f"no{TITLE}.mp4", "-o", f"{TITLE}.mov"),
        ("evaluate", "--pred", f"/no{TITLE}\u202e", "--true", f"/no{TITLE}"),
        ("info", f"/no{TITLE}\u202e.onnx"),
        ("matte", f"--no{TITLE}"),
    ],
)
def test_errors_do_not_obey_the_name_that_they_are_about(arguments: tuple[str, ...]) -> None:
    found = on_terminal(*arguments)
    assert "\\x1b]0;mine" in found
    assert [control for control in CONTROLS if control in found] == []


def test_a_pipe_gets_the_bytes_of_the_names(photos: Path, toy_model: Path, tmp_path: Path) -> None:
    raw = os.path.join(os.fsencode(photos), b"f-caf\xe9.png")  # noqa: PTH118 - bytes
    os.rename(os.path.join(os.fsencode(photos), os.fsencode(NAMES[4])), raw)  # noqa: PTH104, PTH118
    out = tmp_path / "out"
    command = [*LATEFUSION, "matte", str(photos), "-o", str(out), "--model", str(toy_model)]
    done = subprocess.run([*command, "--save", "alpha"], stdout=subprocess.PIPE, check=True)
    found = {line for line in done.stdout.split(b".png\n") if line}
    written = {path[:-4] for path in map(os.fsencode, out.glob("*.png"))}
    assert len(written) == 5
    assert found == written


def test_a_message_is_one_line_without_controls() -> None:
    assert one_line("two\r\nlines\tand\x1b[2J \u202e\u2029\x85") == (
        "two lines and\\x1b[2J \\u202e\\u2029\\x85"
    )
    assert one_line("Zoë 写真.jpg 🙂") == "Zoë 写真.jpg 🙂"
