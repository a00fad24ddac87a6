"""The sound of a clip: copied or encoded, complete and in sync."""

from pathlib import Path

import av
import pytest

from latefusion.inference.predictor import Predictor
from latefusion.video.run import matte_video
from tests.helpers.clips import loud_from, picture, sound_of, times, write_clip


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
def test_sound_is_copied_if_possible_and_otherwise_encoded(
    name: str, given: str, codec: str, toy: Predictor, tmp_path: Path
) -> None:
    frames = [picture(number % 8) for number in range(15)]
    clip = write_clip(tmp_path / "in.mkv", frames, sound=given)
    matte_video(clip, tmp_path / name, kind="alpha", predictor=toy)
    found, samples = sound_of(tmp_path / name)
    assert found == codec
    assert samples.shape[-1] / 48000 == pytest.approx(0.5, abs=0.05)
    with av.open(clip) as before, av.open(tmp_path / name) as after:
        if found == before.streams.audio[0].codec_context.name:
            copied = [b"".join(map(bytes, c.demux(audio=0))) for c in (before, after)]
            assert copied[0] == copied[1]


@pytest.mark.parametrize("source", ["in.avi", "in.mkv"])
@pytest.mark.parametrize("name", ["out.mov", "out.mp4"])
def test_mp3_is_copied(source: str, name: str, toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / source, [picture(n % 8) for n in range(20)], sound="mp3")
    matte_video(clip, tmp_path / name, kind="alpha", predictor=toy)
    with av.open(clip) as before, av.open(tmp_path / name) as after:
        given, copied = (b"".join(map(bytes, c.demux(audio=0))) for c in (before, after))
    assert len(given) > 1000
    assert given == copied


@pytest.mark.parametrize("name", ["out.mov", "out.webm", "out.mp4"])
def test_sound_that_starts_later_keeps_its_start(name: str, toy: Predictor, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", sound="pcm_s16le", late=0.15)
    assert loud_from(clip) == pytest.approx(0.15, abs=0.025)
    matte_video(clip, tmp_path / name, kind="alpha", predictor=toy)
    assert loud_from(tmp_path / name) == pytest.approx(0.15, abs=0.03)
    assert times(tmp_path / name)[0] == pytest.approx(0, abs=0.002)
