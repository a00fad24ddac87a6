"""The colour tags of a frame, and the guesses of players for missing ones."""

import av
import numpy as np
import pytest

from latefusion.video.colour import (
    BT709,
    FULL,
    LIMITED,
    SMPTE170M,
    Colour,
    colour_of,
    from_rgb,
    opacity_of,
    to_rgb,
)


@pytest.mark.parametrize(
    ("width", "height", "matrix"),
    [(720, 576, SMPTE170M), (1280, 720, BT709), (608, 1080, BT709), (640, 480, SMPTE170M)],
)
def test_the_matrix_of_an_untagged_clip_is_guessed_as_by_players(
    width: int, height: int, matrix: int
) -> None:
    found = colour_of(av.VideoFrame(width, height, "yuv420p"))
    assert (found.matrix, found.range) == (matrix, LIMITED)


def test_the_tags_of_a_frame_are_used() -> None:
    frame = av.VideoFrame(1920, 1080, "yuv420p")
    frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 5, FULL, 9, 16
    found = colour_of(frame)
    assert (found.matrix, found.range, found.primaries, found.transfer) == (5, FULL, 9, 16)
    assert found.limited().range == LIMITED


def test_old_jpeg_formats_are_of_full_range() -> None:
    assert colour_of(av.VideoFrame(64, 48, "yuvj420p")).range == FULL
    assert colour_of(av.VideoFrame(64, 48, "rgb24")).range == LIMITED


@pytest.mark.parametrize(
    ("matrix", "red", "blue"),
    [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (6, 0.299, 0.114), (9, 0.2627, 0.0593)],
)
@pytest.mark.parametrize(("range_", "least", "span"), [(LIMITED, 16, 219), (FULL, 0, 255)])
def test_luma_follows_the_matrix_and_the_range(
    matrix: int, red: float, blue: float, range_: int, least: int, span: int
) -> None:
    pixels = np.full((16, 32, 3), (200, 30, 60), np.uint8)
    frame = from_rgb(pixels, Colour(matrix, range_), "yuv444p")
    luma = red * 200 + (1 - red - blue) * 30 + blue * 60
    assert bytes(frame.planes[0])[0] == pytest.approx(least + span * luma / 255, abs=1)
    assert (frame.colorspace, frame.color_range) == (matrix, range_)
    back = to_rgb(frame, Colour(matrix, range_), (16, 32))
    assert np.abs(back.astype(int) - pixels).max() <= 2


@pytest.mark.parametrize(("range_", "least", "span"), [(LIMITED, 16, 219), (FULL, 0, 255)])
def test_every_level_of_an_alpha_is_written_correctly(range_: int, least: int, span: int) -> None:
    levels = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    colour = Colour(BT709, range_)
    frame = from_rgb(levels, colour, "yuv420p")
    luma = np.frombuffer(bytes(frame.planes[0]), np.uint8).reshape(16, -1)[8, :256]
    assert np.abs(luma - (least + span / 255 * levels[8])).max() <= 0.6
    assert set(bytes(frame.planes[1])) <= {127, 128}
    back = to_rgb(frame, colour, (16, 256))
    assert np.abs(back.astype(int) - levels[:, :, None]).max() <= 2


@pytest.mark.parametrize(
    "format",
    ["argb", "bgra", "yuva420p", "yuva444p10le", "gbrap12le", "rgba64be", "gbrapf32le", "ya8"],
)
def test_every_level_of_the_alpha_of_a_frame_is_read(format: str) -> None:
    # One thread: with several, swscale leaves single pixels of gbrapf32le unwritten.
    pixels = np.full((16, 250, 4), 90, np.uint8)  # rows that are padded in memory
    pixels[:, :, 3] = np.arange(250)
    frame = av.VideoFrame.from_ndarray(pixels, "rgba").reformat(format=format, threads=1)
    found = opacity_of(frame, (16, 250))
    assert found is not None
    assert np.abs(255 * found - pixels[:, :, 3]).max() <= 1.01  # swscale's rounding of YUV
    assert found[:, 0].max() < 0.5 / 255


def test_a_frame_without_alpha_has_no_opacity() -> None:
    assert opacity_of(av.VideoFrame(64, 48, "yuv420p"), (48, 64)) is None
    assert opacity_of(av.VideoFrame(64, 48, "rgb0"), (48, 64)) is None
