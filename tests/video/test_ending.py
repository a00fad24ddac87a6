"""The end of a clip: other tracks may last longer, and a cut clip is still noticed."""

from pathlib import Path

import pytest

from latefusion.errors import VideoError
from latefusion.inference.predictor import Predictor
from latefusion.video.run import matte_video, mattes
from tests.helpers.clips import picture, times
from tests.helpers.odd_clips import emptied, shortened, with_second_track, write_pictures

FILES = Path(__file__).parent / "files"
TENTHS = [number / 10 for number in range(20)]


@pytest.mark.parametrize(("name", "count"), [("sub.mkv", 15), ("pause.ogv", 20)])
def test_a_subtitle_that_outlasts_the_picture_and_empty_packets_are_no_damage(
    name: str, count: int, toy: Predictor, tmp_path: Path
) -> None:
    assert matte_video(FILES / name, tmp_path / "out.mov", predictor=toy) == count
    assert times(tmp_path / "out.mov") == pytest.approx(TENTHS[:count], abs=0.001)


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".avi"])
def test_a_second_video_track_that_outlasts_the_first_is_no_damage(
    suffix: str, toy: Predictor, tmp_path: Path
) -> None:
    frames = [picture(number) for number in range(4)]
    first = write_pictures(tmp_path / f"one{suffix}", frames, "mjpeg", "yuvj420p")
    both = with_second_track(tmp_path / f"two{suffix}", first, more=12)
    assert matte_video(both, tmp_path / "out.mov", predictor=toy) == 4


@pytest.mark.parametrize("shown", [(0, 1, 2, 6, 7, 9), (0, 1, 2, 3)])
def test_null_frames_of_an_avi_repeat_the_frame_before(
    shown: tuple[int, ...], toy: Predictor, tmp_path: Path
) -> None:
    frames = [picture(number, (48, 64)) for number in range(len(shown))]
    clip = write_pictures(tmp_path / "in.avi", frames, "mjpeg", "yuvj420p", ticks=shown)
    found = list(mattes(clip, predictor=toy, smooth=0))
    assert len(found) == shown[-1] + 1
    edges = [int((matte.alpha[30] > 0.5).sum()) for matte in found]
    latest = [max(i for i, tick in enumerate(shown) if tick <= at) for at in range(len(found))]
    assert edges == [16 + 2 * number for number in latest]


def test_null_frames_at_the_end_of_an_avi_repeat_the_last_frame(
    toy: Predictor, tmp_path: Path
) -> None:
    frames = [picture(number, (48, 64)) for number in range(4)]
    clip = write_pictures(tmp_path / "in.avi", frames, "mjpeg", "yuvj420p")
    content = bytearray(clip.read_bytes())
    length = content.find(b"strh") + 8 + 32  # the frames that the header counts
    assert content[length] == 4
    content[length] = 13
    clip.write_bytes(content)
    found = list(mattes(clip, predictor=toy, smooth=0))
    edges = [int((matte.alpha[30] > 0.5).sum()) for matte in found]
    assert edges == [16, 18, 20, *[22] * 10]


def test_an_avi_that_is_cut_short_is_still_noticed(toy: Predictor, tmp_path: Path) -> None:
    frames = [picture(number % 8, (48, 64)) for number in range(20)]
    clip = write_pictures(tmp_path / "in.avi", frames, "mjpeg", "yuvj420p")
    content = clip.read_bytes()
    clip.write_bytes(content[: 2 * len(content) // 3])
    with pytest.raises(VideoError, match=r"ends early|is damaged"):
        matte_video(clip, tmp_path / "out.mov", predictor=toy)


def test_an_empty_sample_of_a_mov_repeats_the_frame_before(toy: Predictor, tmp_path: Path) -> None:
    frames = [picture(number, (48, 64)) for number in range(6)]
    clip = emptied(write_pictures(tmp_path / "in.mov", frames, "mjpeg", "yuvj420p"), 5)
    found = list(mattes(clip, predictor=toy, smooth=0))
    edges = [int((matte.alpha[30] > 0.5).sum()) for matte in found]
    assert edges == [16, 18, 20, 22, 24, 24]


def test_frames_that_an_edit_list_leaves_out_are_not_missed(toy: Predictor, tmp_path: Path) -> None:
    frames = [picture(number % 8, (48, 64)) for number in range(20)]
    clip = write_pictures(tmp_path / "in.mov", frames, "mjpeg", "yuvj420p")
    assert matte_video(shortened(clip, 1000), tmp_path / "out.mov", predictor=toy) <= 11


def test_a_cut_picture_beside_a_second_track_is_noticed(toy: Predictor, tmp_path: Path) -> None:
    frames = [picture(number % 8, (48, 64)) for number in range(30)]
    first = write_pictures(tmp_path / "one.mkv", frames, "mjpeg", "yuvj420p")
    both = with_second_track(tmp_path / "two.mkv", first, more=12)
    content = both.read_bytes()
    both.write_bytes(content[: len(content) // 3])
    with pytest.raises(VideoError, match=r"ends early, after 1\.\d of 3\.0 s"):
        matte_video(both, tmp_path / "out.mov", predictor=toy)
