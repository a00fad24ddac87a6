"""What a frame says of its colours, and what players guess where it says nothing."""

import av
import pytest

from latefusion.clip_colour import BT709, FULL, LIMITED, SMPTE170M, colour_of


@pytest.mark.parametrize(
    ("width", "height", "matrix"),
    [(720, 576, SMPTE170M), (1280, 720, BT709), (608, 1080, BT709), (640, 480, SMPTE170M)],
)
def test_an_untagged_clip_is_taken_as_players_take_it(width: int, height: int, matrix: int) -> None:
    found = colour_of(av.VideoFrame(width, height, "yuv420p"))
    assert (found.matrix, found.range) == (matrix, LIMITED)


def test_what_a_frame_says_counts() -> None:
    frame = av.VideoFrame(1920, 1080, "yuv420p")
    frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 5, FULL, 9, 16
    found = colour_of(frame)
    assert (found.matrix, found.range, found.primaries, found.transfer) == (5, FULL, 9, 16)
    assert found.limited().range == LIMITED


def test_old_jpeg_formats_are_of_full_range() -> None:
    assert colour_of(av.VideoFrame(64, 48, "yuvj420p")).range == FULL
    assert colour_of(av.VideoFrame(64, 48, "rgb24")).range == LIMITED
