"""`latefusion video` and what it is made of, on small clips, read back by PyAV and OpenCV."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from latefusion.cli import app
from latefusion.clip import Clip, Frame
from latefusion.clip_writing import open_writer
from latefusion.errors import LatefusionError, OutputError, VideoError
from latefusion.predictor import Matter
from latefusion.video import matte_video, mattes

Pixels = NDArray[np.uint8]
SUBJECT, BEHIND = (255, 255, 40), (20, 10, 200)  # alpha 1 and .07, as the toy network sees them
BT709, BT601 = 1, 6
LIMITED, FULL = 1, 2


def picture(number: int, size: tuple[int, int] = (48, 80)) -> Pixels:
    """Wider than high, its subject at the left, with an edge that moves by 2 pixels a frame."""
    pixels = np.full((*size, 3), BEHIND, np.uint8)
    pixels[:, : 16 + 2 * number] = SUBJECT
    pixels[: size[0] // 4, : 16 + 2 * number] = (255, 255, 160)  # the top differs from the bottom
    return pixels


def write_clip(
    path: Path,
    frames: Iterable[Pixels] | None = None,
    codec: str = "libx264",
    format: str = "yuv420p",
    ticks: Sequence[int] = (),
    tags: tuple[int, int] = (BT709, LIMITED),
    turned: int = 0,
    sound: str = "",
    late: float = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """A clip of 8 frames at 30000/1001 a second, or at `ticks` in milliseconds."""
    frames = [picture(number) for number in range(8)] if frames is None else list(frames)
    rate = Fraction(30000, 1001)
    matrix, range_ = tags
    with av.open(path, "w", options=options or {}) as container:
        given = {"crf": "4", "g": "4"} if codec == "libx264" else {}
        video = container.add_stream(codec, rate=rate, options=given)
        assert isinstance(video, av.VideoStream)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = format
        base = Fraction(1, 1000) if ticks else 1 / rate
        video.time_base = video.codec_context.time_base = base
        video.codec_context.colorspace, video.codec_context.color_range = tags
        if turned:
            video.set_display_rotation(turned)
        audio = add_sound(container, sound) if sound else None
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
                format=format,
                src_color_range=FULL,
                dst_colorspace=5 if matrix == BT601 else matrix,
                dst_color_range=range_,
            )
            frame.colorspace, frame.color_range = tags
            frame.pts, frame.time_base = (ticks[number] if ticks else number), base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio:
            tone(container, audio, len(frames) / float(rate), late)
    return path


def add_sound(container: av.container.OutputContainer, codec: str) -> av.AudioStream:
    stream = container.add_stream(codec, rate=48000, layout="mono")
    assert isinstance(stream, av.AudioStream)
    return stream


def tone(
    container: av.container.OutputContainer,
    stream: av.AudioStream,
    seconds: float,
    late: float = 0,
) -> None:
    times = np.arange(int(48000 * seconds)) / 48000
    samples = (0.5 * np.sin(2 * np.pi * 440 * times))[None].astype(np.float32)
    frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
    frame.sample_rate, frame.pts = 48000, round(48000 * late)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@pytest.fixture
def toy(toy_model: Path) -> Matter:
    return Matter(toy_model, 64, threads=1, framing="whole")


def decoded(path: Path, format: str) -> list[Pixels]:
    """All frames, with the alpha that VP9 has beside them."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        if stream.codec_context.name != "vp9":
            return [pixels_of(frame, format) for frame in container.decode(video=0)]
        codec = av.CodecContext.create("libvpx-vp9", "r")
        assert isinstance(codec, av.VideoCodecContext)
        packets = [packet for packet in container.demux(stream) if packet.size]
        frames = [frame for packet in packets for frame in codec.decode(packet)]
        return [pixels_of(frame, format) for frame in (*frames, *codec.decode(None))]


def pixels_of(frame: av.VideoFrame, format: str) -> Pixels:
    return np.asarray(frame.to_ndarray(format=format), np.uint8)


def times(path: Path) -> list[float]:
    with av.open(path) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


def near(found: Pixels, colour: Sequence[int], room: int = 8) -> bool:
    return bool(np.abs(found.astype(int) - np.array(colour)).max() <= room)


def call(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["video", *words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


# What comes out


@pytest.mark.parametrize("name", ["out.mov", "out.webm"])
def test_a_cutout_has_straight_colours_and_alpha(name: str, toy: Matter, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    assert matte_video(clip, tmp_path / name, matter=toy, smooth=0) == 8
    frames = decoded(tmp_path / name, "rgba")
    assert len(frames) == 8
    subject, behind = frames[5][30, 8], frames[5][30, 70]
    assert near(subject[:3], SUBJECT)
    assert near(subject[3:], (255,), 3)
    assert 8 <= behind[3] <= 28


def test_the_fast_reader_agrees_on_size_and_order(toy: Matter, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    matte_video(clip, tmp_path / "alpha.mp4", kind="alpha", matter=toy, smooth=0)
    capture = cv2.VideoCapture(str(tmp_path / "alpha.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(30000 / 1001)
    edges = []
    while (read := capture.read())[0]:
        assert read[1].shape == (48, 80, 3)
        edges.append(int((read[1][30, :, 0] > 128).sum()))
    assert edges == [16 + 2 * number for number in range(8)]


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


def test_an_mp4_without_background_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"H\.264 holds no transparency; choose \.mov, \.webm"):
        matte_video(tmp_path / "none.mp4", tmp_path / "out.mp4")


def test_a_folder_or_a_pattern_gets_a_png_for_each_frame(toy: Matter, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", sound="aac")
    matte_video(clip, tmp_path / "frames", matter=toy, smooth=0)
    matte_video(clip, tmp_path / "other" / "f-%03d.png", kind="alpha", matter=toy, smooth=0)
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
    with pytest.raises(OutputError, match=r"00001\.png is there from another clip"):
        matte_video(clip, tmp_path / "frames", matter=toy)


# What is kept


PATCHES = ((200, 30, 60), (40, 180, 90), (30, 60, 210), (250, 240, 230), (12, 8, 20))


@pytest.mark.parametrize("tags", [(BT709, LIMITED), (BT709, FULL), (BT601, LIMITED), (BT601, FULL)])
@pytest.mark.parametrize("name", ["out.mov", "out.webm", "out.mp4"])
def test_colours_survive_whatever_their_matrix_and_range(
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
        assert context.colorspace in {tags[0], 5 if tags[0] == BT601 else BT709}
        assert context.color_range == (LIMITED if name == "out.mov" else tags[1])


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turned_clip_comes_out_upright_and_turned_once(
    degrees: int, toy: Matter, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "in.mp4", turned=degrees)
    matte_video(clip, tmp_path / "out.mp4", kind="foreground", matter=toy)
    capture = cv2.VideoCapture(str(clip))  # which turns it by itself
    upright = capture.read()[1]
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    found = capture.read()[1]
    assert found.shape == upright.shape
    subject = upright[:, :, 0] < 100
    assert np.abs(found.astype(int) - upright)[subject].mean() < 6
    with av.open(tmp_path / "out.mp4") as container:
        assert next(container.decode(video=0)).rotation == 0


def test_times_of_a_variable_rate_are_kept(toy: Matter, tmp_path: Path) -> None:
    ticks = (0, 33, 50, 200, 210, 400, 401, 900)
    clip = write_clip(tmp_path / "in.mkv", ticks=ticks)
    for name in ("out.mov", "out.webm", "out.mp4"):
        matte_video(clip, tmp_path / name, kind="alpha", matter=toy)
        assert times(tmp_path / name) == pytest.approx([t / 1000 for t in ticks])


def test_the_frame_rate_is_kept(toy: Matter, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    matte_video(clip, tmp_path / "out.mov", matter=toy)
    with av.open(tmp_path / "out.mov") as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)


def sound_of(path: Path) -> tuple[str, Pixels]:
    with av.open(path) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        return container.streams.audio[0].codec_context.name, np.concatenate(frames, axis=-1)


def loud_from(path: Path) -> float:
    """When the tone begins, in seconds."""
    with av.open(path) as container:
        for frame in container.decode(audio=0):
            if np.abs(frame.to_ndarray()).max() > 0.05:
                return float(frame.time or 0)
    raise AssertionError("no tone")


@pytest.mark.parametrize(
    ("name", "given", "codec"),
    [
        ("out.mov", "pcm_s16le", "pcm_s16le"),
        ("out.mp4", "aac", "aac"),
        ("out.mp4", "pcm_s16le", "aac"),
        ("out.webm", "aac", "opus"),
        ("out.webm", "libopus", "opus"),
    ],
)
def test_sound_is_copied_where_it_can_be_and_else_encoded(
    name: str, given: str, codec: str, toy: Matter, tmp_path: Path
) -> None:
    frames = [picture(number % 8) for number in range(15)]
    clip = write_clip(tmp_path / "in.mkv", frames, sound=given)
    matte_video(clip, tmp_path / name, kind="alpha", matter=toy)
    found, samples = sound_of(tmp_path / name)
    assert found == codec
    assert samples.shape[-1] / 48000 == pytest.approx(0.5, abs=0.05)
    with av.open(clip) as before, av.open(tmp_path / name) as after:
        if found == before.streams.audio[0].codec_context.name:
            copied = [b"".join(map(bytes, c.demux(audio=0))) for c in (before, after)]
            assert copied[0] == copied[1]


def test_a_clip_that_starts_late_starts_at_once(toy: Matter, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.ts", sound="aac", options={"output_ts_offset": "10"})
    with av.open(clip) as container:
        starts = [float(stream.start_time or 0) / 90000 for stream in container.streams]
        assert starts[0] > 9
    matte_video(clip, tmp_path / "out.mov", matter=toy)
    first = times(tmp_path / "out.mov")[0]
    assert 0 <= first < 0.1
    apart = loud_from(tmp_path / "out.mov") - first
    assert apart == pytest.approx(starts[1] - starts[0], abs=0.025)


@pytest.mark.parametrize("name", ["out.mov", "out.webm", "out.mp4"])
def test_sound_that_sets_in_later_does_so_still(name: str, toy: Matter, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", sound="pcm_s16le", late=0.15)
    assert loud_from(clip) == pytest.approx(0.15, abs=0.025)
    matte_video(clip, tmp_path / name, kind="alpha", matter=toy)
    assert loud_from(tmp_path / name) == pytest.approx(0.15, abs=0.03)
    assert times(tmp_path / name)[0] == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize(
    ("name", "size"), [("o.mov", (35, 61)), ("o.webm", (35, 61)), ("o.mp4", (36, 62))]
)
def test_odd_sides_are_kept_but_for_h264_that_repeats_the_last_ones(
    name: str, size: tuple[int, int], toy: Matter, tmp_path: Path
) -> None:
    frames = [picture(number, (35, 61)) for number in range(3)]
    clip = write_clip(tmp_path / "in.mkv", frames, "ffv1", "bgr0")
    matte_video(clip, tmp_path / name, kind="alpha", matter=toy)
    assert decoded(tmp_path / name, "rgb24")[0].shape[:2] == size


def test_pixels_that_are_not_square_stay_so(toy: Matter, tmp_path: Path) -> None:
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
    matte_video(tmp_path / "wide.mp4", tmp_path / "out.mov", matter=toy)
    with av.open(tmp_path / "out.mov") as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)


@pytest.mark.parametrize("format", ["yuv420p10le", "gray", "yuv444p"])
def test_other_kinds_of_pixels_are_read(format: str, toy: Matter, tmp_path: Path) -> None:
    codec = "ffv1" if format == "gray" else "libx264"
    clip = write_clip(tmp_path / "in.mkv", codec=codec, format=format)
    found = list(mattes(clip, matter=toy, smooth=0))
    assert len(found) == 8
    if format != "gray":
        assert near(found[5].image[30, 8], SUBJECT)
        assert found[5].alpha[30, 8] > 0.9


# What goes wrong


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
def test_a_clip_cut_short_is_done_as_far_as_it_goes(
    container: str, toy: Matter, tmp_path: Path
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
    if container == "ts":  # which does not say how long it is
        assert 10 < matte_video(clip, out, kind="alpha", matter=toy) < 30
        return
    with pytest.raises(VideoError, match=r"(ends early|is damaged).*out\.webm holds what could"):
        matte_video(clip, out, kind="alpha", matter=toy)
    assert 10 < len(times(out)) < 30


def test_a_damaged_middle_is_told_and_the_rest_done(toy: Matter, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (48, 80, 3), np.uint8) for _ in range(12)]
    clip = write_clip(tmp_path / "in.mov", frames, "png", "rgb24")
    content = bytearray(clip.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    clip.write_bytes(content)
    with pytest.raises(VideoError, match="is damaged"):
        matte_video(clip, tmp_path / "out.webm", kind="alpha", matter=toy)
    assert len(times(tmp_path / "out.webm")) >= 9


def test_what_is_no_clip_is_refused(toy: Matter, tmp_path: Path) -> None:
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
        "text.mp4": "is not a clip, or damaged",
        "empty.mp4": "is not a clip, or damaged",
        "sound.m4a": "has no video in it",
        ".": "is a folder; latefusion matte does folders",
    }.items():
        with pytest.raises(VideoError, match=message):
            matte_video(tmp_path / name, out, matter=toy)
    assert not list(tmp_path.glob("out*"))
    assert not list(tmp_path.glob(".latefusion*"))


def test_a_target_is_checked_before_any_work(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mov", codec="libx264")
    with pytest.raises(OutputError, match=r"use \.mov, \.webm, \.mp4, a folder"):
        matte_video(clip, tmp_path / "out.avi")
    with pytest.raises(OutputError, match="is the clip itself"):
        matte_video(clip, clip)
    (tmp_path / "link.mov").symlink_to(clip)
    with pytest.raises(OutputError, match="is the clip itself"):
        matte_video(clip, tmp_path / "link.mov")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        matte_video(clip, tmp_path / "file" / "out.mov")
    with pytest.raises(LatefusionError, match="'trimap' is not one of cutout"):
        matte_video(clip, tmp_path / "out.mov", kind="trimap")


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


def test_a_clip_says_what_it_is(tmp_path: Path) -> None:
    with Clip(write_clip(tmp_path / "in.mp4", turned=90, sound="aac")) as clip:
        assert clip.size == (80, 48)
        assert clip.frames == 8
        assert clip.rate == Fraction(30000, 1001)
        assert len(clip.sound) == 1
        assert (clip.colour.matrix, clip.colour.range) == (BT709, LIMITED)
