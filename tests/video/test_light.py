"""Colours in the space of a clip: those of BT.2408 in HDR, the same colour in other primaries."""

from pathlib import Path

import av
import numpy as np
import pytest

from latefusion.inference.outputs import Look
from latefusion.inference.predictor import Predictor
from latefusion.video.colour import BT709, BT2020, LIMITED, SMPTE170M, Colour, mastering_of
from latefusion.video.light import HLG, PQ, as_seen, differs_from_srgb, from_srgb
from latefusion.video.run import matte_video
from tests.helpers.clips import BEHIND, near, picture
from tests.helpers.odd_clips import write_pictures, write_tagged

COLOURS = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 177, 64]]], np.uint8)


@pytest.mark.parametrize(
    ("transfer", "primaries", "levels"),
    [
        # Of SMPTE ST 2084 at 203, 0 and, for red in BT.2020, 127.4, 14.0 and 3.3 cd/m2.
        (PQ, BT2020, [(148, 148, 148), (0, 0, 0), (136, 82, 57)]),
        (HLG, BT2020, [(191, 191, 191), (0, 0, 0), (181, 68, 33)]),
        (PQ, 2, [(148, 148, 148), (0, 0, 0), (136, 82, 57)]),
    ],
)
def test_white_is_graphics_white_in_hdr(
    transfer: int, primaries: int, levels: list[tuple[int, int, int]]
) -> None:
    found = from_srgb(COLOURS, Colour(BT2020, LIMITED, primaries, transfer))
    assert np.abs(found[0, :3].astype(int) - levels).max() <= 1


def test_colours_keep_their_looks_in_other_primaries() -> None:
    p3 = from_srgb(COLOURS, Colour(BT709, LIMITED, 12, 13))
    assert (
        np.abs(p3[0].astype(int) - [(255,) * 3, (0,) * 3, (234, 51, 35), (79, 174, 79)]).max() <= 1
    )
    wide = from_srgb(COLOURS, Colour(BT2020, LIMITED, BT2020, 14))
    assert near(wide[0, 2], (208, 74, 34), 1)


@pytest.mark.parametrize(
    "colour",
    [Colour(BT709, LIMITED), Colour(BT709, LIMITED, BT709, BT709), Colour(SMPTE170M, LIMITED)],
)
def test_ordinary_clips_take_colours_as_they_are(colour: Colour) -> None:
    assert not differs_from_srgb(colour)
    assert from_srgb(COLOURS, colour) is COLOURS


def test_the_network_sees_pq_as_an_ordinary_picture() -> None:
    colour = Colour(BT2020, LIMITED, BT2020, PQ)
    grey = np.arange(0, 256, 15, dtype=np.uint8)
    given = np.repeat(grey[None, :, None], 3, axis=2)
    seen = as_seen(from_srgb(given, colour), colour)
    dark = given < 200
    assert np.abs(seen.astype(int) - given)[dark].max() <= 4  # a level of PQ is some of sRGB
    assert np.all(np.diff(seen[0, :, 0].astype(int)) >= 0)
    peak = as_seen(np.full((1, 1, 3), 255, np.uint8), colour)
    assert 240 <= peak.min() <= 255
    sdr = Colour(BT709, LIMITED)
    assert as_seen(given, sdr) is given


@pytest.mark.parametrize(("transfer", "white"), [(PQ, 148.1), (HLG, 191.2), (BT709, 255)])
@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".webm"])
def test_a_white_background_is_white_in_the_space_of_the_clip(
    transfer: int, white: float, suffix: str, toy: Predictor, tmp_path: Path
) -> None:
    hdr = transfer != BT709
    tags = (BT2020, BT2020, transfer) if hdr else (BT709, BT709, transfer)
    frames = [picture(number) for number in range(3)]
    clip = write_tagged(tmp_path / "in.mov", frames, tags)
    out = tmp_path / f"out{suffix}"
    matte_video(clip, out, look=Look("white"), predictor=toy, smooth=0)
    with av.open(out) as container:
        frame = next(container.decode(video=0))
        found = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
        assert found == (*tags, LIMITED)
        depth = frame.format.components[0].bits
        assert depth == (
            8
            if suffix == ".webm" or (suffix == ".mp4" and not hdr)
            else 12
            if suffix == ".mov"
            else 10
        )  # ProRes decodes to 12
        rgb = frame.to_ndarray(format="rgb24", src_colorspace=9 if hdr else 1)
    alpha = 0 if transfer == PQ else 0.07  # of BEHIND: such levels of PQ are nearly black
    wanted = (1 - alpha) * white + alpha * np.array(BEHIND)
    assert np.abs(rgb[30, 70].astype(float) - wanted).max() < 6


def test_the_metadata_of_hdr_are_kept_in_mp4(toy: Predictor, tmp_path: Path) -> None:
    screen = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(9000000,50)"
    given = {"x265-params": f"bframes=0:log-level=none:hdr10=1:{screen}:max-cll=900,400"}
    clip = write_pictures(
        tmp_path / "in.mp4",
        [picture(0), picture(1)],
        "libx265",
        "yuv420p10le",
        options=given,
        tags=(BT2020, BT2020, PQ),
    )
    matte_video(clip, tmp_path / "out.mp4", look=Look("white"), predictor=toy)
    before, after = (mastering_of(first_frame(path)) for path in (clip, tmp_path / "out.mp4"))
    assert before.content == (900, 400)
    assert before == after
    assert before.screen[-4:] == (50, 10_000, 9_000_000, 10_000)


def first_frame(path: Path) -> av.VideoFrame:
    with av.open(path) as container:
        return next(container.decode(video=0))


def test_a_background_picture_is_brought_into_the_space_of_the_clip(
    toy: Predictor, tmp_path: Path
) -> None:
    clip = write_tagged(tmp_path / "in.mov", [picture(0)], (BT2020, BT2020, PQ))
    behind = np.full((48, 80, 3), 255, np.uint8)
    out = tmp_path / "out.mov"
    matte_video(clip, out, look=Look(behind), predictor=toy, smooth=0)
    with av.open(out) as container:
        rgb = next(container.decode(video=0)).to_ndarray(format="rgb24", src_colorspace=9)
    assert near(rgb[30, 70], (148, 148, 148), 3)


def test_finer_steps_than_8_bits_are_kept(toy: Predictor, tmp_path: Path) -> None:
    ramp = np.linspace(40_000, 44_000, 96).astype(np.uint16)  # 16 levels of 8 bits, 62 of 10
    pixels = np.repeat(np.repeat(ramp[None, :, None], 48, axis=0), 3, axis=2)
    pixels[:, :, :2] = 65535  # subject, for the toy network
    clip = write_tagged(tmp_path / "in.mov", [pixels], (BT709, BT709, BT709))
    with av.open(clip) as container:
        given = next(container.decode(video=0)).to_ndarray(format="rgb48le")[24, :, 2]
    matte_video(clip, tmp_path / "out.mov", predictor=toy, smooth=0)
    with av.open(tmp_path / "out.mov") as container:
        found = next(container.decode(video=0)).to_ndarray(format="rgb48le")[24, :, 2]
    error = found.astype(float) - given
    assert np.abs(error).mean() < 40  # rounding to 8 bits alone has a mean error of 64
