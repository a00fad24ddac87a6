"""The decoder of a clip's video: its alpha is kept, and damage is noticed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latefusion.errors import VideoError
from latefusion.inference.predictor import Predictor
from latefusion.video.reading import Clip
from latefusion.video.run import matte_video, mattes
from latefusion.video.times import Frame
from tests.helpers.clips import SUBJECT, decoded, near, picture, times
from tests.helpers.odd_clips import SPLIT, half_seen, with_wrong_bytes, write_pictures

FILES = Path(__file__).parent / "files"


@pytest.mark.parametrize(
    ("name", "codec", "format"),
    [
        ("in.mov", "prores_ks", "yuva444p10le"),
        ("in.mov", "qtrle", "argb"),
        ("in.mov", "png", "rgba"),
        ("in.mov", "cfhd", "gbrap12le"),
        ("in.mov", "exr", "gbrapf32le"),
        ("in.mov", "tiff", "rgba"),  # with EXIF beside each frame, which PyAV cannot list
        ("in.webm", "libvpx-vp9", "yuva420p"),
        ("in.webm", "libvpx", "yuva420p"),
        ("in.mkv", "ffv1", "yuva422p10le"),
        ("in.nut", "rawvideo", "rgba64be"),
        ("in.avi", "utvideo", "gbrap"),
        ("in.apng", "apng", "rgba"),
    ],
)
def test_the_alpha_of_a_clip_multiplies_that_of_the_network(
    name: str, codec: str, format: str, toy: Predictor, tmp_path: Path
) -> None:
    options = {"auto-alt-ref": "0", "crf": "10", "b": "1M"} if codec.startswith("libvpx") else {}
    frames = [half_seen(number) for number in range(3)]
    clip = write_pictures(tmp_path / name, frames, codec, format, options=options)
    found = list(mattes(clip, predictor=toy, smooth=0))
    assert len(found) == 3
    alpha = found[1].alpha
    assert alpha[12:20, 8 : SPLIT - 8].min() > 0.97
    assert alpha[28:, 8 : SPLIT - 8] == pytest.approx(128 / 255, abs=0.02)
    assert alpha[:, SPLIT + 4 :].max() < 0.5 / 255


def test_a_half_transparent_clip_stays_so(tmp_path: Path, toy: Predictor) -> None:
    matte_video(FILES / "half.mov", tmp_path / "out.mov", predictor=toy, smooth=0)
    frames = decoded(tmp_path / "out.mov", "rgba")
    with_own = np.array([frame[:, 92:, 3].max() for frame in frames])
    assert len(frames) == 4
    assert with_own.max() == 0
    assert frames[1][:56, :88, 3].max() > 200
    assert 100 < frames[1][64:, :88, 3].max() <= 130


def test_half_transparent_parts_keep_their_colours(toy: Predictor, tmp_path: Path) -> None:
    clip = write_pictures(tmp_path / "in.mov", [half_seen(0)] * 2, "qtrle", "argb")
    rgba = next(mattes(clip, predictor=toy, smooth=0)).cutout()
    assert near(rgba[40, 16], (*SUBJECT, 128), 4)


def test_a_transparent_gif_keeps_its_holes(toy: Predictor, tmp_path: Path) -> None:
    frames = []
    for number in range(3):
        pixels = half_seen(number)
        pixels[24:, :SPLIT, 3] = 255
        frames.append(Image.fromarray(pixels))
    clip = tmp_path / "in.gif"
    frames[0].save(clip, save_all=True, append_images=frames[1:], duration=[300, 100, 900])
    matte_video(clip, tmp_path / "out.mov", predictor=toy, smooth=0)
    assert times(tmp_path / "out.mov") == pytest.approx([0, 0.3, 0.4], abs=0.001)
    frame = decoded(tmp_path / "out.mov", "rgba")[1]
    assert frame[12:, : SPLIT - 4, 3].min() > 245
    assert frame[:, SPLIT + 4 :, 3].max() == 0


@pytest.mark.parametrize(
    ("codec", "options"),
    [("libvpx-vp9", {"crf": "20", "b": "0", "cpu-used": "5"}), ("libsvtav1", {"preset": "10"})],
)
def test_wrong_bytes_in_a_packet_are_noticed(
    codec: str, options: dict[str, str], toy: Predictor, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (64, 96, 3), np.uint8)
    frames = [np.roll(noise, 4 * number, 1) for number in range(10)]
    whole = write_pictures(tmp_path / "in.mkv", frames, codec, "yuv420p", options=options)
    assert matte_video(whole, tmp_path / "whole.mov", predictor=toy) == 10
    for number in (0, 3, 7):
        clip = with_wrong_bytes(tmp_path / f"{number}.mkv", whole, number)
        out = tmp_path / f"{number}.mov"
        with pytest.raises(VideoError, match=r"is damaged: packets not decoded: [1-9]"):
            matte_video(clip, out, kind="alpha", predictor=toy)
        if codec == "libvpx-vp9" and number:
            assert 9 <= len(times(out)) <= 10


def test_frames_that_a_decoder_loses_in_silence_are_noticed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (64, 96, 3), np.uint8)
    frames = [np.roll(noise, 4 * number, 1) for number in range(10)]
    quiet = {"x265-params": "log-level=none"}
    whole = write_pictures(tmp_path / "in.mkv", frames, "libx265", "yuv420p", options=quiet)
    lost = 0
    for number in range(1, 10):
        with Clip(with_wrong_bytes(tmp_path / "wrong.mkv", whole, number)) as clip:
            found = sum(isinstance(event, Frame) for event in clip.events())
        assert clip.damage or found == 10
        lost += found < 10
    assert lost


def test_a_wide_clip_with_alpha_is_read_in_the_right_order(toy: Predictor, tmp_path: Path) -> None:
    frames = [np.dstack([picture(n, (32, 96)), np.full((32, 96), 255, np.uint8)]) for n in range(2)]
    for pixels in frames:
        pixels[:8, :, 3] = 0  # the top only
    clip = write_pictures(tmp_path / "in.mov", frames, "qtrle", "argb")
    alpha = next(mattes(clip, predictor=toy, smooth=0)).alpha
    assert alpha[:8].max() == 0
    assert alpha[8:, :14].min() > 0.97
