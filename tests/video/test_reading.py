"""Reading of clips: turned, starting late, in other pixel formats, damaged, or not clips."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from latefusion.errors import VideoError
from latefusion.inference.predictor import Predictor
from latefusion.video.reading import Clip
from latefusion.video.run import matte_video, mattes
from latefusion.video.times import Frame, Times
from tests.helpers.clips import (
    BT709,
    LIMITED,
    SUBJECT,
    add_sound,
    loud_from,
    near,
    picture,
    times,
    tone,
    write_clip,
)


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turned_clip_is_turned_upright_once(degrees: int, toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", turned=degrees)
    matte_video(clip, tmp_path / "out.mp4", kind="foreground", predictor=toy)
    capture = cv2.VideoCapture(str(clip))  # it turns frames itself
    upright = capture.read()[1]
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    found = capture.read()[1]
    assert found.shape == upright.shape
    subject = upright[:, :, 0] < 100
    assert np.abs(found.astype(int) - upright)[subject].mean() < 6
    with av.open(tmp_path / "out.mp4") as container:
        assert next(container.decode(video=0)).rotation == 0


def test_a_clip_that_starts_late_is_written_from_time_zero(toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.ts", sound="aac", options={"output_ts_offset": "10"})
    with av.open(clip) as container:
        starts = [float(stream.start_time or 0) / 90000 for stream in container.streams]
        assert starts[0] > 9
    matte_video(clip, tmp_path / "out.mov", predictor=toy)
    first = times(tmp_path / "out.mov")[0]
    assert 0 <= first < 0.1
    apart = loud_from(tmp_path / "out.mov") - first
    assert apart == pytest.approx(starts[1] - starts[0], abs=0.025)


@pytest.mark.parametrize("format", ["yuv420p10le", "gray", "yuv444p"])
def test_other_pixel_formats_are_read(format: str, toy: Predictor, tmp_path: Path) -> None:
    codec = "ffv1" if format == "gray" else "libx264"
    clip = write_clip(tmp_path / "in.mkv", codec=codec, format=format)
    found = list(mattes(clip, predictor=toy, smooth=0))
    assert len(found) == 8
    if format != "gray":
        assert near(found[5].image[30, 8], SUBJECT)
        assert found[5].alpha[30, 8] > 0.9


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
def test_a_clip_cut_short_is_written_as_far_as_it_can_be_read(
    container: str, toy: Predictor, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (48, 80, 3), np.uint8) for _ in range(40)]
    clip = write_clip(
        tmp_path / f"in.{container}",
        frames,
        options={"movflags": "faststart"} if container == "mp4" else None,
    )
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out.webm"
    with pytest.raises(VideoError, match=r"(ends early|is damaged).*out\.webm holds what could"):
        matte_video(clip, out, kind="alpha", predictor=toy)
    assert 10 < len(times(out)) < 30


def test_a_damaged_middle_is_reported_and_the_rest_written(toy: Predictor, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (48, 80, 3), np.uint8) for _ in range(12)]
    clip = write_clip(tmp_path / "in.mov", frames, "png", "rgb24")
    content = bytearray(clip.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    clip.write_bytes(content)
    with pytest.raises(VideoError, match="is damaged"):
        matte_video(clip, tmp_path / "out.webm", kind="alpha", predictor=toy)
    assert len(times(tmp_path / "out.webm")) >= 9


def test_wrong_bytes_in_the_middle_are_reported(toy: Predictor, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (48, 80, 3), np.uint8) for _ in range(12)]
    clip = write_clip(tmp_path / "in.mp4", frames)
    content = bytearray(clip.read_bytes())
    for place in np.linspace(0.3, 0.7, 6):
        content[int(place * len(content))] ^= 0xFF
    clip.write_bytes(content)
    with pytest.raises(VideoError, match=r"is damaged: .* frames decoded only in part: [1-9]"):
        matte_video(clip, tmp_path / "out.webm", kind="alpha", predictor=toy)
    assert len(times(tmp_path / "out.webm")) == 12


def test_a_file_that_is_not_a_clip_is_refused(toy: Predictor, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), picture(0))
    cv2.imwrite(str(tmp_path / "photo.jpg"), picture(0))
    (tmp_path / "text.mp4").write_text("no clip\n" * 40)
    (tmp_path / "empty.mp4").touch()
    with av.open(tmp_path / "sound.m4a", "w", format="mp4") as container:
        tone(container, add_sound(container, "aac"), 0.2)
    out = tmp_path / "out.mov"
    for name, message in {
        "none.mp4": "does not exist; check the spelling",
        "photo.png": "is a photo; use latefusion matte",
        "photo.jpg": "is a photo; use latefusion matte",
        "text.mp4": r"^[^ ]+ is not a clip, or damaged: Invalid data found when processing input$",
        "empty.mp4": "is empty; get a whole copy",
        "sound.m4a": "contains no video; give a clip",
        ".": "is a folder; for folders of photos use latefusion matte",
    }.items():
        with pytest.raises(VideoError, match=message):
            matte_video(tmp_path / name, out, predictor=toy)
    assert not list(tmp_path.glob("out*"))
    assert not list(tmp_path.glob(".latefusion*"))


def animation(path: Path, number: int = 3) -> Path:
    first, *others = (Image.fromarray(picture(each)) for each in range(number))
    first.save(path, save_all=True, append_images=others, duration=200)
    return path


def test_an_animated_webp_is_refused_as_what_it_is(toy: Predictor, tmp_path: Path) -> None:
    for name, number, words in (
        ("moving.webp", 3, r"is an animated WebP.*; convert it to GIF, APNG or MP4$"),
        ("still.webp", 1, r"is a photo; use latefusion matte$"),
    ):
        with pytest.raises(VideoError, match=rf"{name} {words}"):
            matte_video(animation(tmp_path / name, number), tmp_path / "out.mov", predictor=toy)
    exif = Image.Exif()
    exif[0x010E] = "a photo with more than its pixels"
    Image.fromarray(picture(0)).save(tmp_path / "more.webp", exif=exif)
    with pytest.raises(VideoError, match=r"is a photo; use latefusion matte$"):
        matte_video(tmp_path / "more.webp", tmp_path / "out.mov", predictor=toy)


@pytest.mark.parametrize("name", ["in.avif", "in.png", "in.gif"])
def test_all_frames_of_an_animation_are_read(name: str, toy: Predictor, tmp_path: Path) -> None:
    clip = animation(tmp_path / name)
    found = list(mattes(clip, predictor=toy, smooth=0))
    edges = [int((matte.alpha[30] > 0.5).sum()) for matte in found]
    assert edges == pytest.approx([16, 18, 20], abs=1)
    matte_video(clip, tmp_path / "out.mov", predictor=toy)
    assert times(tmp_path / "out.mov") == pytest.approx([0, 0.2, 0.4], abs=0.002)


def reordered(path: Path) -> Path:
    """A clip of 30 frames at 10 per second, coded in another order than they are shown."""
    options = {"bf": "3", "x264-params": "b-adapt=0:scenecut=0"}
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = 48, 80, "yuv420p"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(picture(number), "rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["in.avi", "in.mp4", "in.ts", "in.mkv"])
def test_frames_coded_in_another_order_keep_their_times(name: str, tmp_path: Path) -> None:
    with Clip(reordered(tmp_path / name)) as clip:
        ticks = [event.ticks for event in clip.events() if isinstance(event, Frame)]
        found = [float(each * clip.time_base) for each in ticks]
    assert found == pytest.approx([number / 10 for number in range(30)])


def test_the_times_that_step_back_less_often_are_used() -> None:
    own = Times()
    given = [(70, 0), (60, 10), (80, 20), (50, None), (None, 40)]
    assert [own.of(pts, dts) for pts, dts in given] == [70, 10, 20, 50, 40]
    own = Times()
    assert [own.of(pts, dts) for pts, dts in [(1, 5), (2, 5), (3, 4)]] == [1, 2, 3]


def test_a_clip_has_its_properties(tmp_path: Path) -> None:
    with Clip(write_clip(tmp_path / "in.mp4", turned=90, sound="aac")) as clip:
        assert clip.size == (80, 48)
        assert clip.frames == 8
        assert clip.rate == Fraction(30000, 1001)
        assert len(clip.sound) == 1
        assert (clip.colour.matrix, clip.colour.range) == (BT709, LIMITED)


@pytest.mark.parametrize(
    "listed",
    ["ffconcat version 1.0\nfile in.mov\n", "#EXTM3U\n#EXTINF:1,\nin.mov\n#EXT-X-ENDLIST\n"],
)
def test_a_list_of_other_files_is_not_read(listed: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mov")
    (tmp_path / "list.mp4").write_text(listed)
    with pytest.raises(VideoError, match=r"list.mp4 is (of a kind that is not read|not a clip)"):
        Clip(tmp_path / "list.mp4")
