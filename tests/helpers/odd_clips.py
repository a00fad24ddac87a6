"""Small clips that other programs make: empty packets, tracks beside the picture, own alpha."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tests.helpers.clips import BEHIND, SUBJECT, Pixels, picture

RATE = 10
SPLIT = 32  # columns from here on are transparent


def half_seen(number: int, size: tuple[int, int] = (48, 64)) -> Pixels:
    """RGBA: the subject all over; the left lower part half transparent, the right part wholly."""
    pixels = np.full((*size, 4), (*SUBJECT, 255), np.uint8)
    pixels[size[0] // 2 :, :SPLIT, 3] = 128
    pixels[:, SPLIT:] = (*BEHIND, 0)
    pixels[:4, : 4 + number] = (*BEHIND, 255)
    return pixels


def write_pictures(
    path: Path,
    frames: Sequence[Pixels],
    codec: str,
    format: str,
    ticks: Sequence[int] = (),
    lasts: Sequence[int] = (),
    options: dict[str, str] | None = None,
    tags: tuple[int, int, int] | None = None,
) -> Path:
    """A clip of RGB or RGBA frames at 10 a second, or with their times and lengths in 1/100 s.

    `tags` are matrix, primaries and transfer.
    """
    base = Fraction(1, 100) if lasts else Fraction(1, RATE)
    ticks = ticks or [sum(lasts[:number]) if lasts else number for number in range(len(frames))]
    with av.open(path, "w") as container:
        video = container.add_stream(codec, rate=RATE, options=options or {})
        assert isinstance(video, VideoStream)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = format
        video.time_base = video.codec_context.time_base = base
        if tags:
            context = video.codec_context
            context.colorspace, context.color_primaries, context.color_trc = tags
        lengths = dict(zip(ticks, lasts, strict=False))
        for tick, pixels in zip(ticks, frames, strict=True):
            given = "rgba" if pixels.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(pixels, given).reformat(format=format, threads=1)
            frame.pts, frame.time_base = tick, base
            _mux(container, video, video.encode(frame), lengths)
        _mux(container, video, video.encode(None), lengths)
    return path


def _mux(
    container: av.container.OutputContainer,
    video: VideoStream,
    packets: "Sequence[av.Packet[VideoStream]]",
    lengths: dict[int, int],
) -> None:
    for packet in packets:
        packet.duration = lengths.get(packet.pts or 0, packet.duration or 0)
        container.mux(packet)


def with_second_track(path: Path, source: Path, more: int) -> Path:
    """A copy of a clip with a second video track that is `more` frames longer."""
    with av.open(source) as given, av.open(path, "w") as made:
        first = made.add_stream_from_template(given.streams.video[0])
        second = made.add_stream("mjpeg", rate=RATE)
        assert isinstance(second, VideoStream)
        second.width, second.height, second.pix_fmt = 64, 48, "yuvj420p"
        count = 0
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = first
                made.mux(packet)
                count += 1
        for number in range(count + more):
            pixels = picture(number % 8, (48, 64))
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
                format="yuvj420p", threads=1
            )
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            made.mux(second.encode(frame))
        made.mux(second.encode(None))
    return path


def emptied(path: Path, number: int) -> Path:
    """Set the size of a sample of a QuickTime file to 0."""
    content = bytearray(path.read_bytes())
    table = content.find(b"stsz") + 16 + 4 * number
    content[table : table + 4] = bytes(4)
    path.write_bytes(content)
    return path


def shortened(path: Path, milliseconds: int) -> Path:
    """Let the edit list of a QuickTime file end the picture early, as a phone's trimming does."""
    content = bytearray(path.read_bytes())
    entry = content.find(b"elst") + 12
    content[entry : entry + 4] = milliseconds.to_bytes(4, "big")
    path.write_bytes(content)
    return path


def with_wrong_bytes(path: Path, source: Path, number: int, seed: int = 0) -> Path:
    """A copy of a clip in which three bytes of a packet are wrong."""
    rng = np.random.default_rng(seed)
    with av.open(source) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content = bytearray(source.read_bytes())
    start = content.find(packets[number])
    for place in rng.integers(len(packets[number]), size=3):
        content[start + place] ^= int(rng.integers(1, 256))
    path.write_bytes(content)
    return path


def write_tagged(
    path: Path,
    frames: Sequence[NDArray[Any]],
    tags: tuple[int, int, int],
    format: str = "yuv444p10le",
) -> Path:
    """A ProRes clip of RGB levels (8 or 16 bits) with the tags matrix, primaries, transfer."""
    matrix, primaries, transfer = tags
    with av.open(path, "w") as container:
        video = container.add_stream("prores_ks", rate=RATE, options={"profile": "4444"})
        assert isinstance(video, VideoStream)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = format
        context = video.codec_context
        context.colorspace, context.color_range = matrix, 1
        context.color_primaries, context.color_trc = primaries, transfer
        for number, pixels in enumerate(frames):
            given = "rgb24" if pixels.dtype == np.uint8 else "rgb48le"
            rgb = av.VideoFrame.from_ndarray(pixels, given)
            rgb.colorspace = matrix
            frame = rgb.reformat(
                format=format,
                src_color_range=2,
                dst_colorspace=matrix,
                dst_color_range=1,
                threads=1,
            )
            frame.colorspace, frame.color_range = matrix, 1
            frame.color_primaries, frame.color_trc = primaries, transfer
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path
