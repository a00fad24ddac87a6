"""Writing of clips: alpha, colours, times and shape, read back by PyAV and OpenCV."""

import re
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from latefusion.errors import LatefusionError, OutputError
from latefusion.inference.outputs import Look
from latefusion.inference.predictor import Predictor
from latefusion.video.reading import Clip
from latefusion.video.run import matte_video
from latefusion.video.times import Frame
from latefusion.video.writing import open_writer
from tests.helpers.clips import (
    BT601,
    BT709,
    BT2020,
    FULL,
    LIMITED,
    SUBJECT,
    decoded,
    near,
    picture,
    times,
    write_clip,
)


@pytest.mark.parametrize("name", ["out.mov", "out.webm"])
def test_a_cutout_has_straight_colours_and_alpha(name: str, toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    assert matte_video(clip, tmp_path / name, predictor=toy, smooth=0) == 8
    frames = decoded(tmp_path / name, "rgba")
    assert len(frames) == 8
    subject, behind = frames[5][30, 8], frames[5][30, 70]
    assert near(subject[:3], SUBJECT)
    assert near(subject[3:], (255,), 3)
    assert 8 <= behind[3] <= 28


def test_opencv_reads_the_same_size_and_order(toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    matte_video(clip, tmp_path / "alpha.mp4", kind="alpha", predictor=toy, smooth=0)
    capture = cv2.VideoCapture(str(tmp_path / "alpha.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(30000 / 1001)
    edges = []
    while (read := capture.read())[0]:
        assert read[1].shape == (48, 80, 3)
        edges.append(int((read[1][30, :, 0] > 128).sum()))
    assert edges == [16 + 2 * number for number in range(8)]


def test_a_folder_or_a_pattern_gets_a_png_for_each_frame(toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", sound="aac")
    matte_video(clip, tmp_path / "frames", predictor=toy, smooth=0)
    matte_video(clip, tmp_path / "other" / "f-%03d.png", kind="alpha", predictor=toy, smooth=0)
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == [f"{number:05}.png" for number in range(1, 9)]
    fifth = cv2.imread(str(tmp_path / "frames" / "00005.png"), cv2.IMREAD_UNCHANGED)
    assert fifth is not None
    assert fifth.shape == (48, 80, 4)
    assert near(fifth[30, 8], (*SUBJECT[::-1], 255))
    assert (fifth[30, :, 3] > 128).sum() == 24
    grey = cv2.imread(str(tmp_path / "other" / "f-008.png"), cv2.IMREAD_UNCHANGED)
    assert grey is not None
    assert grey.shape == (48, 80)


@pytest.mark.parametrize(
    ("target", "there"),
    [
        ("out", "00001.png"),
        ("out", "00007.png"),
        ("out/f-%03d.png", "f-1234.png"),
        ("out/f%d+.png", "f12+.PNG"),
    ],
)
def test_a_folder_with_frames_of_another_clip_is_refused(
    target: str, there: str, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / there).touch()
    with pytest.raises(OutputError, match=rf"{re.escape(there)} exists already"):
        matte_video(clip, tmp_path / target)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [there]


def test_pngs_with_other_names_may_lie_beside_the_frames(toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    (tmp_path / "out").mkdir()
    for name in ("back.png", "g-001.png", "f-001.jpg", "f-01.png"):
        (tmp_path / "out" / name).touch()
    assert matte_video(clip, tmp_path / "out" / "f-%03d.png", kind="alpha", predictor=toy) == 8


TAGS = ((BT709, LIMITED), (BT709, FULL), (BT601, LIMITED), (BT601, FULL), (BT2020, LIMITED))
PATCHES = ((200, 30, 60), (40, 180, 90), (30, 60, 210), (250, 240, 230), (12, 8, 20))


@pytest.mark.parametrize(
    "tags", [(BT709, LIMITED), (BT709, FULL), (BT601, LIMITED), (BT601, FULL), (BT2020, LIMITED)]
)
@pytest.mark.parametrize("name", ["out.mov", "out.webm", "out.mp4"])
def test_colours_are_kept_for_every_matrix_and_range(
    name: str, tags: tuple[int, int], tmp_path: Path
) -> None:
    row = np.repeat(np.array(PATCHES, np.uint8), 16, axis=0)
    given = write_clip(tmp_path / "in.mp4", [np.tile(row, (48, 1, 1))] * 3, tags=tags)
    with Clip(given) as clip, open_writer(tmp_path / name, clip, False) as writer:
        for number, event in enumerate(clip.events()):
            assert isinstance(event, Frame)
            pixels = clip.upright(event)
            for place, colour in enumerate(PATCHES):
                assert near(pixels[24, 8 + 16 * place], colour, 4)
            writer.add(writer.prepare(pixels, number, event.ticks, event.lasts))
    frame = decoded(tmp_path / name, "rgb24")[1]
    for place, colour in enumerate(PATCHES):
        assert near(frame[24, 8 + 16 * place], colour, 6)
    with av.open(tmp_path / name) as container:
        context = container.streams.video[0].codec_context
        assert context.colorspace in ({5, 6} if tags[0] == BT601 else {tags[0]})
        assert context.color_range == (LIMITED if name == "out.mov" else tags[1])


def test_times_of_a_variable_rate_are_kept(toy: Predictor, tmp_path: Path) -> None:
    ticks = (0, 33, 50, 200, 210, 400, 401, 900)
    clip = write_clip(tmp_path / "in.mkv", ticks=ticks)
    for name in ("out.mov", "out.webm", "out.mp4"):
        matte_video(clip, tmp_path / name, kind="alpha", predictor=toy)
        assert times(tmp_path / name) == pytest.approx([t / 1000 for t in ticks])


def test_the_frame_rate_is_kept(toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    matte_video(clip, tmp_path / "out.mov", predictor=toy)
    with av.open(tmp_path / "out.mov") as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("name", "size"), [("o.mov", (35, 61)), ("o.webm", (35, 61)), ("o.mp4", (36, 62))]
)
def test_odd_sides_are_kept_except_in_h264_which_repeats_the_edge(
    name: str, size: tuple[int, int], toy: Predictor, tmp_path: Path
) -> None:
    frames = [picture(number, (35, 61)) for number in range(3)]
    clip = write_clip(tmp_path / "in.mkv", frames, "ffv1", "bgr0")
    matte_video(clip, tmp_path / name, kind="alpha", predictor=toy)
    assert decoded(tmp_path / name, "rgb24")[0].shape[:2] == size


def test_the_aspect_of_pixels_is_kept(toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    with av.open(tmp_path / "wide.mp4", "w") as target, av.open(clip) as source:
        stream = target.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        for frame in source.decode(video=0):
            frame.pts = None
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    matte_video(tmp_path / "wide.mp4", tmp_path / "out.mov", predictor=toy)
    with av.open(tmp_path / "out.mov") as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)


def test_a_target_is_checked_before_any_work(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mov", codec="libx264")
    with pytest.raises(OutputError, match=r"use \.mov, \.webm, \.mp4, a folder"):
        matte_video(clip, tmp_path / "out.avi")
    with pytest.raises(OutputError, match="is the clip itself"):
        matte_video(clip, clip)
    (tmp_path / "link.mov").symlink_to(clip)
    with pytest.raises(OutputError, match="is the clip itself"):
        matte_video(clip, tmp_path / "link.mov")
    (tmp_path / "back.mov").touch()
    with pytest.raises(OutputError, match="is the background itself"):
        matte_video(clip, tmp_path / "back.mov", look=Look(tmp_path / "back.mov"))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        matte_video(clip, tmp_path / "file" / "out.mov")
    with pytest.raises(LatefusionError, match="'trimap' is not one of cutout"):
        matte_video(clip, tmp_path / "out.mov", kind="trimap")


@pytest.mark.parametrize("name", ["out/cut.mov", "out", "out/%03d.png"])
def test_files_of_a_killed_run_are_removed_by_the_next_one(
    name: str, toy: Predictor, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    killed = tmp_path / "out" / ".latefusion-99999999-00.part"
    killed.parent.mkdir()
    killed.touch()
    matte_video(clip, tmp_path / name, kind="alpha", predictor=toy)
    assert not killed.exists()


def test_an_mp4_without_background_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=r"H\.264 cannot store transparency; choose \.mov, \.webm"
    ):
        matte_video(tmp_path / "none.mp4", tmp_path / "out.mp4")
