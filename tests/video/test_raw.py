"""Raw frames through a pipe: RGB24 in, straight RGBA out."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from latefusion.errors import VideoError
from latefusion.inference.predictor import Predictor
from latefusion.video.raw import matte_raw

SIZE = (48, 80)


def frames(count: int) -> bytes:
    """Frames with a subject (for the toy network) left of an edge that moves 4 pixels per frame."""
    clip = np.full((count, *SIZE, 3), (20, 10, 200), np.uint8)
    for number in range(count):
        clip[number, :, : 8 + 4 * number] = (255, 255, 40)
    return clip.tobytes()


def test_frames_come_out_in_order_with_straight_colours(toy: Predictor) -> None:
    out = io.BytesIO()
    assert matte_raw(io.BytesIO(frames(9)), out, SIZE, toy, workers=3, smooth=0) == 9
    found = np.frombuffer(out.getvalue(), np.uint8).reshape(9, *SIZE, 4)
    assert [(frame[20, :, 3] > 128).sum() for frame in found] == [8 + 4 * n for n in range(9)]
    assert found[4, 20, 3].tolist() == [255, 255, 40, 255]


def test_an_incomplete_last_frame_is_reported_after_the_others(toy: Predictor) -> None:
    out = io.BytesIO()
    with pytest.raises(
        VideoError, match=r"within frame 4, after 100 of 11520 bytes; .* RGB24 of 80 x 48"
    ):
        matte_raw(io.BytesIO(frames(3) + bytes(100)), out, SIZE, toy)
    assert len(out.getvalue()) == 3 * 4 * SIZE[0] * SIZE[1]


def test_no_frames_at_all_is_an_error(toy: Predictor) -> None:
    with pytest.raises(VideoError, match="stdin held no frames"):
        matte_raw(io.BytesIO(), io.BytesIO(), SIZE, toy)


class Endless(io.BytesIO):
    """A source whose frames exceed the memory."""

    def read(self, size: int | None = None) -> bytes:
        raise MemoryError


def test_frames_that_exceed_the_memory_are_an_error(toy: Predictor) -> None:
    with pytest.raises(VideoError, match="stdin does not fit into memory"):
        matte_raw(Endless(), io.BytesIO(), SIZE, toy)


def run(
    toy: Predictor, given: bytes, shell: str = "", size: tuple[str, str] = ("80", "48")
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "latefusion", "video", "--raw", *size]
    command += ["--model", str(toy.model.path), "--size", "64"]
    words = ["sh", "-c", f'"$@" {shell}', "sh", *command] if shell else command
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(words, input=given, capture_output=True, check=False, env=buffered)


def test_the_command_works_in_a_pipe(toy: Predictor) -> None:
    done = run(toy, frames(3))
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout) == 3 * 4 * SIZE[0] * SIZE[1]


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("shell", "why"),
    [("| head -c 10", b"Broken pipe"), ("> /dev/full", b"No space left on device")],
)
def test_a_closed_or_full_target_is_one_line(shell: str, why: bytes, toy: Predictor) -> None:
    done = run(toy, frames(40), shell, ("40", "24"))  # less than Python buffers
    assert done.stderr.startswith(b"error: stdout cannot be written after ")
    assert done.stderr.endswith(why + b"\n")
    assert done.stderr.count(b"\n") == 1
