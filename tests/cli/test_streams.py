"""Standard streams that are closed, full or read no further: one line or silence, no traceback."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.jpg"
FULL = Path("/dev/full")
NO_SPACE = "error: stdout cannot be written: No space left on device\n"

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or not FULL.exists(), reason="needs bash and /dev/full"
)


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """A line of bash, where LF is the command and PHOTO the sample; fails as its commands do."""
    line = line.replace("LF", f"{sys.executable} -m latefusion").replace("PHOTO", str(SAMPLE))
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], cwd=folder, capture_output=True, check=False
    )


def ends(line: str, folder: Path, code: int, error: str) -> subprocess.CompletedProcess[bytes]:
    done = shell(line, folder)
    assert (done.returncode, done.stderr.decode()) == (code, error)
    return done


@pytest.mark.parametrize("command", ["--help", "matte -h", "--version", "doctor", "serve --port 0"])
def test_a_full_disk_behind_stdout_is_one_line(tmp_path: Path, command: str) -> None:
    ends(f"LF {command} > /dev/full", tmp_path, 1, NO_SPACE)


@pytest.mark.parametrize("command", ["--help", "doctor"])
def test_a_closed_stdout_is_one_line(tmp_path: Path, command: str) -> None:
    ends(f"LF {command} >&-", tmp_path, 1, "error: stdout cannot be written: it is closed\n")


@pytest.mark.parametrize("command", ["matte -h", "doctor"])
def test_a_reader_that_has_enough_ends_the_command_quietly(tmp_path: Path, command: str) -> None:
    ends(f"LF {command} | (read first)", tmp_path, 1, "")


@pytest.mark.parametrize("command", ["matte PHOTO -o -", "video --raw 640 640 < /dev/zero"])
def test_a_picture_that_is_not_read_to_its_end_is_one_line(tmp_path: Path, command: str) -> None:
    done = shell(f"LF {command} | head -c 9 > start", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: stdout cannot be written")
    assert done.stderr.endswith(b": Broken pipe\n")
    assert done.stderr.count(b"\n") == 1
    assert (tmp_path / "start").stat().st_size == 9


def test_a_picture_for_a_closed_stdout_is_one_line(tmp_path: Path) -> None:
    error = "error: stdout cannot be written: Bad file descriptor\n"
    ends("LF matte PHOTO -o - >&-", tmp_path, 1, error)


def test_a_full_disk_stops_a_folder_after_its_results_are_recorded(tmp_path: Path) -> None:
    done = shell("LF matte PHOTO -o . > /dev/full", tmp_path)
    assert (done.returncode, done.stderr.decode().splitlines()[-1]) == (1, NO_SPACE.strip())
    assert (tmp_path / "astronaut-cutout.png").exists()
    ends("LF matte PHOTO -o - > /dev/full", tmp_path, 1, NO_SPACE)


def test_a_closed_stdin_is_one_line_where_it_is_read(tmp_path: Path) -> None:
    ends("LF --version <&-", tmp_path, 0, "")
    cure = "error: stdin cannot be read: it is closed; pipe a photo into it, or name a file\n"
    ends("LF matte - <&-", tmp_path, 1, cure)
    frames = "error: stdin cannot be read: Bad file descriptor; pipe frames into it\n"
    ends("LF video --raw 32 32 <&-", tmp_path, 1, frames)


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    done = shell("LF matte PHOTO -o - <&- 2>&-", tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(b"\x89PNG")


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_messages_that_cannot_be_written_do_not_end_the_work(tmp_path: Path, stderr: str) -> None:
    done = ends(f"LF matte PHOTO -o out --review {stderr}", tmp_path, 0, "")
    assert done.stdout.decode().split() == ["out/astronaut-cutout.png", "out/review.html"]
