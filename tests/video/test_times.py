"""Times of a clip: how long frames last, and the part that is asked for."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from latefusion.errors import LatefusionError, VideoError
from latefusion.inference.predictor import Predictor
from latefusion.video.run import about_frames, matte_video, mattes
from latefusion.video.times import Frame, Span, parse_time, within
from tests.helpers.clips import decoded, loud_from, picture, sound_of, times, write_clip
from tests.helpers.odd_clips import write_pictures

FILES = Path(__file__).parent / "files"


def length(path: Path) -> float:
    with av.open(path) as container:
        return (container.duration or 0) / av.time_base


@pytest.mark.parametrize("name", ["out.mov", "out.webm", "out.mp4"])
def test_the_last_frame_of_a_gif_keeps_its_length(
    name: str, toy: Predictor, tmp_path: Path
) -> None:
    out = tmp_path / name
    assert matte_video(FILES / "slow.gif", out, kind="alpha", predictor=toy) == 3
    assert times(out) == pytest.approx([0, 0.5, 0.6], abs=0.002)
    assert length(out) == pytest.approx(2.6, abs=0.002)


@pytest.mark.parametrize(
    ("source", "codec", "format"),
    [
        ("in.mov", "libx264", "yuv420p"),  # its last packet is not that of its last frame
        ("in.mp4", "mpeg4", "yuv420p"),
        ("in.mkv", "libx264", "yuv420p"),
        ("in.webm", "libvpx-vp9", "yuv420p"),
    ],
)
@pytest.mark.parametrize("name", ["out.mov", "out.webm"])
def test_the_last_frame_keeps_its_length(
    source: str, codec: str, format: str, name: str, toy: Predictor, tmp_path: Path
) -> None:
    lasts = (50, 10, 30, 7, 200)
    frames = [picture(number, (48, 64)) for number in range(5)]
    clip = write_pictures(
        tmp_path / source,
        frames,
        codec,
        format,
        lasts=lasts,
        options={"bf": "0"} if codec == "mpeg4" else {},
    )
    given = length(clip)
    out = tmp_path / name
    matte_video(clip, out, kind="alpha", predictor=toy)
    assert times(out) == pytest.approx([0, 0.5, 0.6, 0.9, 0.97], abs=0.002)
    assert length(out) == pytest.approx(given, abs=0.002)


def test_the_last_frame_of_an_animated_png_keeps_its_length(toy: Predictor, tmp_path: Path) -> None:
    first, *others = (Image.fromarray(picture(number)) for number in range(3))
    clip = tmp_path / "in.apng"
    first.save(clip, "PNG", save_all=True, append_images=others, duration=[300, 100, 900])
    matte_video(clip, tmp_path / "out.mov", predictor=toy)
    assert times(tmp_path / "out.mov") == pytest.approx([0, 0.3, 0.4], abs=0.002)
    assert length(tmp_path / "out.mov") == pytest.approx(1.3, abs=0.002)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12),
        ("12.5", 12.5),
        (".25", 0.25),
        ("1:02", 62),
        ("1:02:03.5", 3723.5),
        ("90:00", 5400),
    ],
)
def test_times_are_seconds_or_a_clock(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-3", "1:2:3:4", "1e3", "1:", "nan"])
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(LatefusionError, match="is not a time; use seconds or H:MM:SS"):
        parse_time(text)


def test_a_part_without_length_is_refused() -> None:
    with pytest.raises(LatefusionError, match="the end, 2 s, is not after the start, 2 s"):
        Span(Fraction(2), Fraction(2))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_a_part_of_a_clip_has_its_frames_and_starts_at_0(
    suffix: str, toy: Predictor, tmp_path: Path
) -> None:
    frames = [picture(number, (48, 96)) for number in range(30)]
    clip = write_pictures(tmp_path / f"in{suffix}", frames, "libx264", "yuv420p")
    part = Span(Fraction("0.7"), Fraction("1.52"))
    assert about_frames(clip, part) == 8
    found = list(mattes(clip, predictor=toy, smooth=0, span=part))
    edges = [int((matte.alpha[30] > 0.5).sum()) for matte in found]
    assert edges == [16 + 2 * number for number in range(7, 15)]
    matte_video(clip, tmp_path / "out.mov", predictor=toy, span=part)
    assert times(tmp_path / "out.mov") == pytest.approx([n / 10 for n in range(8)], abs=0.001)
    assert length(tmp_path / "out.mov") == pytest.approx(0.82, abs=0.05)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_part_late_in_a_clip_has_the_right_frames(
    suffix: str, toy: Predictor, tmp_path: Path
) -> None:
    frames = [picture(number % 30, (48, 96)) for number in range(90)]
    coded = {"g": "12", "bf": "2"}
    clip = write_pictures(tmp_path / f"in{suffix}", frames, "libx264", "yuv420p", options=coded)
    part = Span(Fraction("6.3"), Fraction("7"))
    found = list(mattes(clip, predictor=toy, smooth=0, span=part))
    edges = [int((matte.alpha[30] > 0.5).sum()) for matte in found]
    assert edges == [16 + 2 * number for number in range(3, 10)]
    assert len(list(mattes(clip, predictor=toy, smooth=0, span=Span(Fraction("8.5"))))) == 5
    with pytest.raises(VideoError, match=r"lasts 9\.00 s, so nothing of it is after 9\.5 s"):
        next(mattes(clip, predictor=toy, span=Span(Fraction("9.5"))))


def test_a_long_frame_is_cut_at_both_ends(toy: Predictor, tmp_path: Path) -> None:
    part = Span(Fraction("0.2"), Fraction("2.1"))
    matte_video(FILES / "slow.gif", tmp_path / "out.mov", predictor=toy, span=part)
    assert times(tmp_path / "out.mov") == pytest.approx([0, 0.3, 0.4], abs=0.001)
    assert length(tmp_path / "out.mov") == pytest.approx(1.9, abs=0.001)


@pytest.mark.parametrize("sound", ["aac", "pcm_s16le"])
@pytest.mark.parametrize("name", ["out.mov", "out.webm"])
def test_the_sound_of_a_part_stays_in_step(
    sound: str, name: str, toy: Predictor, tmp_path: Path
) -> None:
    frames = [picture(number % 8) for number in range(60)]
    clip = write_clip(tmp_path / "in.mov", frames, sound=sound, late=1.7)
    out = tmp_path / name
    part = Span(Fraction("1.1"), Fraction("2.35"))
    matte_video(clip, out, kind="alpha", predictor=toy, span=part)
    assert loud_from(out) == pytest.approx(0.6, abs=0.03)
    assert times(out)[0] == 0
    assert sound_of(out)[1].shape[-1] / 48000 < 1.3


def test_a_start_after_the_end_of_the_clip_is_an_error(toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    with pytest.raises(VideoError, match=r"in\.mp4 lasts 0\.27 s, so nothing of it is after 3 s"):
        matte_video(clip, tmp_path / "out.mov", predictor=toy, span=Span(Fraction(3)))
    assert not (tmp_path / "out.mov").exists()


def test_damage_after_the_part_is_not_reported(toy: Predictor, tmp_path: Path) -> None:
    frames = [np.random.default_rng(n).integers(0, 256, (48, 80, 3), np.uint8) for n in range(150)]
    clip = write_pictures(tmp_path / "in.mkv", frames, "mjpeg", "yuvj420p")
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    part = Span(Fraction(1), Fraction(2))
    assert matte_video(clip, tmp_path / "out.mov", predictor=toy, span=part) == 10
    with pytest.raises(VideoError, match="ends early"):
        matte_video(clip, tmp_path / "out.mov", predictor=toy, span=Span(Fraction(6), Fraction(14)))


LETTERS = ("A", "B", "C", "D", "E")


def part_of(begins: list[int], end: int, span: Span, base: Fraction) -> list[tuple[str, int, int]]:
    """The frames of a part: the letter of each, its ticks and how long it lasts."""
    frames = [av.VideoFrame(16, 16) for _ in begins]
    lasting = (
        Frame(frame, ticks, after - ticks)
        for frame, ticks, after in zip(frames, begins, [*begins[1:], end], strict=True)
    )
    kept = [event for event in within(lasting, span, base) if isinstance(event, Frame)]
    letters = dict(zip(map(id, frames), LETTERS, strict=False))
    return [(letters[id(frame.decoded)], frame.ticks, frame.lasts) for frame in kept]


HUNDREDTH = Fraction(1, 100)


@pytest.mark.parametrize(
    ("start", "end", "kept"),
    [
        ("5.1", "29", [("A", 0, 490), ("B", 490, 1000), ("C", 1490, 900)]),
        ("0", "14.9", [("A", 0, 1000), ("B", 1000, 490)]),
        ("9.9", None, [("A", 0, 10), ("B", 10, 1000), ("C", 1010, 1000)]),
        ("9.99", "10.5", [("B", 0, 51)]),  # A would be a sliver
        ("3", "10.02", [("A", 0, 700)]),
        ("9.98", "10.01", [("A", 0, 2)]),  # slivers only: the longer one
        ("29.99", None, [("C", 0, 1)]),
    ],
)
def test_a_long_frame_is_kept_where_it_is_shown(
    start: str, end: str | None, kept: list[tuple[str, int, int]]
) -> None:
    span = Span(Fraction(start), None if end is None else Fraction(end))
    assert part_of([0, 1000, 2000], 3000, span, HUNDREDTH) == kept


def test_a_part_of_a_clip_with_a_variable_rate_starts_with_the_frame_shown() -> None:
    span = Span(Fraction("0.3"), Fraction("1.25"))
    kept = part_of([0, 4, 50, 54, 120], 200, span, HUNDREDTH)
    assert kept == [("B", 0, 20), ("C", 20, 4), ("D", 24, 66), ("E", 90, 5)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_picture_of_a_part_lasts_to_its_end_at_a_variable_rate(
    suffix: str, toy: Predictor, tmp_path: Path
) -> None:
    clip = write_clip(
        tmp_path / f"in{suffix}",
        [picture(number) for number in range(5)],
        ticks=[0, 40, 500, 540, 1200],
        options={"bf": "0"},
    )
    out = tmp_path / "out.mov"
    matte_video(clip, out, predictor=toy, span=Span(Fraction("0.3"), Fraction("1.1")))
    assert times(out) == pytest.approx([0, 0.2, 0.24], abs=0.002)
    assert length(out) == pytest.approx(0.8, abs=0.002)
    shown = decoded(out, "rgba")[0][30, :, 3] > 127
    assert shown.sum() == 18  # the second frame, which began before the part


def test_a_frame_that_ends_with_the_start_is_dropped(toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")  # at 30000/1001: frame 2 lasts to 0.1001
    found = list(mattes(clip, predictor=toy, smooth=0, span=Span(Fraction("0.1"))))
    assert [int((matte.alpha[30] > 0.5).sum()) for matte in found] == [22, 24, 26, 28, 30]


def write_late(path: Path) -> Path:
    """A clip whose sound starts at 0, its picture at 1 s, with 10 frames a second for 1 s."""
    ticks = [1000 + 100 * number for number in range(10)]
    frames = [picture(number) for number in range(10)]
    return write_clip(path, frames, ticks=ticks, sound="aac", options={"bf": "0"})


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_picture_that_starts_late_starts_late_in_a_part_too(
    suffix: str, toy: Predictor, tmp_path: Path
) -> None:
    clip, out = write_late(tmp_path / f"in{suffix}"), tmp_path / "out.mov"
    matte_video(clip, out, predictor=toy, span=Span(Fraction("0.4"), Fraction("1.2")))
    assert times(out) == pytest.approx([0.6, 0.7], abs=0.002)
    matte_video(clip, out, predictor=toy, span=Span(Fraction("1.1"), Fraction("1.3")))
    assert times(out) == pytest.approx([0, 0.1], abs=0.002)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("start", ["0", "0.2"])
def test_an_end_before_the_picture_is_an_error(
    suffix: str, start: str, toy: Predictor, tmp_path: Path
) -> None:
    clip, out = write_late(tmp_path / f"in{suffix}"), tmp_path / "out.mov"
    words = r"the picture of .*in\.m.. begins at 1\.00 s, so nothing of it is before 0\.5 s;"
    with pytest.raises(VideoError, match=f"^{words} give a later end$"):
        matte_video(clip, out, predictor=toy, span=Span(Fraction(start), Fraction("0.5")))
    assert not out.exists()


@pytest.mark.parametrize("suffix", [".avi", ".mov"])
def test_a_frame_is_cut_within_a_tick_of_the_clip(
    suffix: str, toy: Predictor, tmp_path: Path
) -> None:
    clip = tmp_path / f"in{suffix}"
    with av.open(clip, "w") as container:
        stream = container.add_stream("mjpeg", rate=2)  # in AVI its ticks last as long as a frame
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = 48, 80, "yuvj420p"
        for number in range(6):
            frame = av.VideoFrame.from_ndarray(picture(number), "rgb24")
            container.mux(stream.encode(frame.reformat(format="yuvj420p")))
        container.mux(stream.encode(None))
    part = Span(Fraction("0.7"), Fraction("2.2"))
    found = list(mattes(clip, predictor=toy, smooth=0, span=part))
    assert [int((matte.alpha[30] > 0.5).sum()) for matte in found] == [18, 20, 22, 24]
    matte_video(clip, tmp_path / "out.mov", predictor=toy, span=part)
    assert times(tmp_path / "out.mov") == pytest.approx([0, 0.3, 0.8, 1.3], abs=0.002)
    assert length(tmp_path / "out.mov") == pytest.approx(1.5, abs=0.002)
    early = list(mattes(clip, predictor=toy, smooth=0, span=Span(end=Fraction("0.2"))))
    assert len(early) == 1
