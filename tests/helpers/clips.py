"""Small clips for tests, and what is in the clips that come of them."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


SUBJECT, BEHIND = (255, 255, 40), (20, 10, 200)  # alpha 1 and .07, as the toy network sees them


BT709, BT601, BT2020 = 1, 6, 9


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
            rgb = av.VideoFrame.from_ndarray(pixels, "rgb24")
            rgb.colorspace = matrix
            frame = rgb.reformat(
                format=format,
                src_color_range=FULL,
                dst_colorspace=5 if matrix == BT601 else matrix,
                dst_color_range=range_,
                threads=1,
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
