"""A clip from end to end, from Python."""

from pathlib import Path

import numpy as np

from clips import BEHIND, SUBJECT, Pixels, times, write_clip
from latefusion.predictor import Matter
from latefusion.video import about_frames, matte_video, mattes


def small_subject(number: int) -> Pixels:
    """A subject of 16 x 24 pixels, left of the middle, that moves to the right."""
    pixels = np.full((96, 160, 3), BEHIND, np.uint8)
    pixels[40:64, 20 + 2 * number : 36 + 2 * number] = SUBJECT
    return pixels


def test_a_small_subject_is_looked_at_closer_in_every_frame(
    toy_model: Path, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "in.mp4", [small_subject(number) for number in range(5)])
    matter = Matter(toy_model, 64, threads=1)
    found = list(mattes(clip, matter=matter, smooth=0))
    assert all(matte.details for matte in found)
    assert len({matte.details[0].box for matte in found}) <= 2  # for five frames
    centres = [np.average(np.arange(160), weights=matte.alpha[52] > 0.5) for matte in found]
    assert np.allclose(centres, [27.5 + 2 * number for number in range(5)], atol=0.6)
    matter.framing = "whole"
    assert not any(matte.details for matte in mattes(clip, matter=matter))


def test_a_run_that_is_stopped_leaves_a_whole_clip(toy: Matter, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    taken: list[int] = []
    done = matte_video(
        clip,
        tmp_path / "out.mov",
        matter=toy,
        step=lambda: taken.append(1),
        stop=lambda: len(taken) >= 1,
        workers=1,
    )
    assert 1 < done < 8
    assert done == len(taken) == len(times(tmp_path / "out.mov"))


def test_about_how_many_frames_there_are_is_known(tmp_path: Path) -> None:
    assert about_frames(write_clip(tmp_path / "in.mp4")) == 8
    assert about_frames(write_clip(tmp_path / "in.mkv")) == 8
