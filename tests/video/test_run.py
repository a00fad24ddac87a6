"""A clip from end to end, from Python."""

from pathlib import Path

import numpy as np
import pytest

from latefusion.errors import LatefusionError, VideoError
from latefusion.inference.options import MattingOptions
from latefusion.inference.predictor import Predictor
from latefusion.video.run import about_frames, matte_video, mattes
from tests.helpers.clips import BEHIND, SUBJECT, Pixels, times, write_clip


def small_subject(number: int) -> Pixels:
    """A frame with a subject of 16 x 24 pixels, left of the middle, that moves to the right."""
    pixels = np.full((96, 160, 3), BEHIND, np.uint8)
    pixels[40:64, 20 + 2 * number : 36 + 2 * number] = SUBJECT
    return pixels


def test_a_small_subject_gets_a_closer_view_in_every_frame(toy_model: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", [small_subject(number) for number in range(5)])
    predictor = Predictor(toy_model, MattingOptions(size=64), threads=1)
    found = list(mattes(clip, predictor=predictor, smooth=0))
    assert all(matte.details for matte in found)
    assert len({matte.details[0].box for matte in found}) <= 2  # for five frames
    centres = [np.average(np.arange(160), weights=matte.alpha[52] > 0.5) for matte in found]
    assert np.allclose(centres, [27.5 + 2 * number for number in range(5)], atol=0.6)
    whole = predictor.sharing(MattingOptions(size=64, framing="whole"))
    assert not any(matte.details for matte in mattes(clip, predictor=whole))


def test_a_stopped_run_leaves_a_complete_clip(toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    taken: list[int] = []
    done = matte_video(
        clip,
        tmp_path / "out.mov",
        predictor=toy,
        step=lambda: taken.append(1),
        stop=lambda: len(taken) >= 1,
        workers=1,
    )
    assert 1 < done < 8
    assert done == len(taken) == len(times(tmp_path / "out.mov"))


def test_the_approximate_number_of_frames_is_known(tmp_path: Path) -> None:
    assert about_frames(write_clip(tmp_path / "in.mp4")) == 8
    assert about_frames(write_clip(tmp_path / "in.mkv")) == 8


def test_a_clip_that_exceeds_the_memory_is_an_error(toy: Predictor, tmp_path: Path) -> None:
    def full() -> None:
        raise MemoryError

    clip = write_clip(tmp_path / "in.mp4")
    with pytest.raises(VideoError, match=r"in\.mp4 does not fit into memory"):
        matte_video(clip, tmp_path / "out.mov", predictor=toy, step=full)
    assert [path.name for path in tmp_path.glob("[.o]*")] == []


def test_options_for_photos_only_are_refused(toy_model: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    turning = Predictor(toy_model, MattingOptions(size=64, rotate_search=True))
    with pytest.raises(LatefusionError, match=r"^rotate_search: for photos only"):
        next(mattes(clip, predictor=turning))
    both = Predictor(toy_model, MattingOptions(size=64, tiles=True, rotate_search=True))
    with pytest.raises(LatefusionError, match=r"^tiles and rotate_search: for photos only"):
        matte_video(clip, tmp_path / "out.mov", predictor=both)
    assert not (tmp_path / "out.mov").exists()


def test_a_clip_without_a_subject_gives_a_warning(toy: Predictor, tmp_path: Path) -> None:
    nobody = np.full((48, 80, 3), (0, 0, 200), np.uint8)
    clip, out = write_clip(tmp_path / "in.mp4", [nobody] * 4), tmp_path / "out.mov"
    with pytest.warns(UserWarning, match=r"in\.mp4: no subject found in any frame$"):
        assert matte_video(clip, out, predictor=toy) == 4
    assert len(times(out)) == 4
    once = write_clip(tmp_path / "once.mp4", [nobody] * 3 + [small_subject(0)[:48, :80]])
    assert matte_video(once, out, predictor=toy) == 4  # warnings are errors here
