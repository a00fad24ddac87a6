"""Reading of clips: upright frames with their times, and packets of sound."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideData
from av.video.stream import VideoStream
from numpy.typing import NDArray

from latefusion.errors import VideoError, reason, shown
from latefusion.images.framing import Size
from latefusion.video.colour import colour_of, to_rgb

STILL = ("image2", "_pipe")  # parts of the names of formats for single pictures
UNTIMED = "avi"  # counts frames in coding order; FFmpeg guesses when they are shown
DEFAULT_RATE = Fraction(25)  # of a raw stream without a rate
MISSING = Fraction(1, 2)  # seconds; a clip that ends this much before its duration is cut short


class Frame(NamedTuple):
    """A decoded frame of a clip, not yet upright, with its time."""

    decoded: av.VideoFrame
    ticks: int  # since the clip's start, in its time base
    lasts: int  # duration in ticks; 0 if unknown


SoundPacket: TypeAlias = "Packet[AudioStream]"
Event: TypeAlias = "Frame | SoundPacket"


class Clip:
    """An open video file: its properties, then its frames and sound in the order of the file.

    `size` is that of the upright frames (H, W), `rate` the mean number of frames per second, and
    `time_base` the seconds per tick. `aspect` is the width of a pixel divided by its height.
    `colour` holds the colour tags, `sound` the audio streams. `frames` is the approximate number of
    frames, 0 if unknown.

    Raises VideoError.
    """

    def __init__(self, path: Path) -> None:
        self.name = shown(path)
        _check_file(path, self.name)
        try:
            self._container = av.open(f"file:{path}", "r")
        except PermissionError:
            raise VideoError(f"{self.name} cannot be read; change its permissions") from None
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"{self.name} is not a clip, or damaged: {reason(error)}") from None
        try:
            self._read_head()
        except BaseException:
            self._container.close()
            raise

    def _read_head(self) -> None:
        self._refuse_photo()
        video = self._video = self._find_video()
        video.thread_type = "AUTO"
        self.sound = [s for s in self._container.streams.audio if s.codec_context is not None]
        self.rate = video.average_rate or video.guessed_rate or DEFAULT_RATE
        self.time_base = video.time_base or 1 / self.rate
        self._start = Fraction(self._container.start_time or 0, av.time_base)
        self._lasting = Fraction(self._container.duration or 0, av.time_base)
        timed = self._container.format.name != UNTIMED
        self._times = Times(None if timed else video.start_time or 0)
        self._last = -1  # ticks of the previous frame
        self._ended = Fraction(0)  # end of the last packet, in seconds
        self._packets = self._broken = self._patched = 0
        self._error = ""
        self._expected = video.frames
        events = self._read()
        before, first = [], None
        for event in events:
            before.append(event)
            if isinstance(event, Frame):
                first = event
                break
        if first is None:
            raise VideoError(f"{self.name} has no frame that can be decoded; it may be damaged")
        self._events = chain(before, events)
        self._describe(first.decoded)

    def _describe(self, first: av.VideoFrame) -> None:
        self.colour = colour_of(first)
        self._turn = turn_of(first)
        self._stored = first.height, first.width
        self.size: Size = self._stored[::-1] if self._turn.sideways else self._stored
        aspect = self._video.sample_aspect_ratio or Fraction(1)
        self.aspect = 1 / aspect if self._turn.sideways else aspect
        self.frames = self._video.frames or round(self._lasting * self.rate)

    def _refuse_photo(self) -> None:
        if any(word in self._container.format.name for word in STILL):
            raise VideoError(f"{self.name} is a photo; use latefusion matte")

    def _find_video(self) -> av.VideoStream:
        cover = av.stream.Disposition.attached_pic
        for stream in self._container.streams.video:
            if not stream.disposition & cover and stream.codec_context is not None:
                return stream
        raise VideoError(f"{self.name} contains no video; give a clip")

    def events(self) -> Iterator[Event]:
        """Return the frames, and the packets of the streams in `sound`, in the order of the file.

        They can be iterated only once.
        """
        return self._events

    def _read(self) -> Iterator[Event]:
        streams = (self._video, *self.sound)
        try:
            for packet in self._container.demux(streams):
                self._count(packet)
                if packet.stream.index == self._video.index:
                    yield from self._decode(cast("Packet[VideoStream]", packet))
                elif packet.size:
                    yield self._shift(cast(SoundPacket, packet))
        except (av.FFmpegError, OSError) as error:
            self._error = reason(error)

    def _count(self, packet: "Packet[Any]") -> None:
        if packet.size and packet.pts is not None:
            end = (packet.pts + (packet.duration or 0)) * packet.time_base - self._start
            self._ended = max(self._ended, end)
            self._packets += packet.stream.index == self._video.index

    def _decode(self, packet: "Packet[VideoStream]") -> Iterator[Frame]:
        try:
            decoded = self._video.decode(packet)
        except av.FFmpegError as error:
            self._broken += 1
            self._error = self._error or reason(error)
            return
        for frame in decoded:
            self._patched += frame.is_corrupt
            yield Frame(frame, self._ticks(frame), frame.duration or 0)

    def _ticks(self, frame: av.VideoFrame) -> int:
        """Return the time of a frame, always later than the last one; by the rate if unknown."""
        step = max(1, round(1 / (self.rate * self.time_base)))
        ticks = self._last + step if self._last >= 0 else 0
        when = self._times.of(frame.pts, frame.dts)
        if when is not None and frame.time_base is not None:
            ticks = round(when * frame.time_base / self.time_base)
            ticks -= round(self._start / self.time_base)
        self._last = max(ticks, self._last + 1)
        return self._last

    def _shift(self, packet: SoundPacket) -> SoundPacket:
        """Shift the times of a packet of sound to start with the clip, like those of the frames."""
        start = round(self._start / packet.time_base)
        if packet.dts is not None:
            packet.dts -= start
        if packet.pts is not None:
            packet.pts -= start
        return packet

    def upright(self, frame: Frame) -> NDArray[np.uint8]:
        """Convert a frame to (H, W, 3) RGB, turned upright."""
        return self._turn.apply(to_rgb(frame.decoded, self.colour, self._stored))

    @property
    def damage(self) -> str | None:
        """Describe what could not be read, or None; valid after the last event."""
        if self._broken or self._patched:
            return (
                f"{self.name} is damaged: packets not decoded: {self._broken}, frames decoded only"
                f" in part: {self._patched}"
            )
        short = self._ended < self._lasting - MISSING
        if self._error or self._expected > self._packets or short:
            lasting = f"{float(self._ended):.1f} of {float(self._lasting):.1f} s"
            return f"{self.name} ends early, after {lasting}"
        return None

    def __enter__(self) -> "Clip":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._container.close()


class Times:
    """Choice between the two times of a frame: its own (pts) and that of its packet (dts).

    The one that stepped back less often so far is used, its own if equal, as in FFmpeg's best
    effort (guess_correct_pts in libavcodec/decode.c). For a format without pts give `start`, the
    time of the first frame; times are then those of the packets, counted from there.
    """

    def __init__(self, start: int | None = None) -> None:
        self._start = start
        self._waited: int | None = None
        self._last_pts = self._last_dts = -(2**63)
        self._faulty_pts = self._faulty_dts = 0

    def of(self, pts: int | None, dts: int | None) -> int | None:
        """Return the time of the next frame, or None if it has none."""
        if self._start is not None:
            return self._counted(self._start, dts)
        if dts is not None:
            self._faulty_dts += dts <= self._last_dts
            self._last_dts = dts
        if pts is not None:
            self._faulty_pts += pts <= self._last_pts
            self._last_pts = pts
        if dts is None or self._faulty_pts <= self._faulty_dts:
            return dts if pts is None else pts
        return dts

    def _counted(self, start: int, dts: int | None) -> int | None:
        if dts is None:
            return None
        if self._waited is None:  # the decoder's delay: packets that the first frame refers to
            self._waited = dts - start
        return dts - self._waited


class Turn(NamedTuple):
    """Transformation of stored pixels to upright: a transposition, then the two flips."""

    sideways: bool  # rows and columns are swapped
    mirrored: bool  # left and right are swapped
    upended: bool  # top and bottom are swapped

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn stored pixels (H, W, 3) upright."""
        if self.sideways:
            image = image.transpose(1, 0, 2)
        if self.mirrored:
            image = image[:, ::-1]
        if self.upended:
            image = image[::-1]
        return np.ascontiguousarray(image)


def turn_of(frame: av.VideoFrame) -> Turn:
    """Return the turn given by a frame's display matrix, to the nearest quarter.

    The matrix maps a stored point (x, y) to (a x + c y, b x + d y), in 16.16 fixed point.
    """
    beside = cast(SideDataContainer, frame.side_data)
    if SideData.DISPLAYMATRIX not in beside:
        return Turn(False, False, False)
    matrix = np.frombuffer(bytes(beside[SideData.DISPLAYMATRIX]), np.int32)
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    if abs(b) > abs(a):
        return Turn(True, c < 0, b < 0)
    return Turn(False, a < 0, d < 0)


def _check_file(path: Path, name: str) -> None:
    if path.is_dir():
        raise VideoError(f"{name} is a folder; for folders of photos use latefusion matte")
    if not path.exists():
        raise VideoError(f"{name} does not exist; check the spelling")
    if not path.is_file():
        raise VideoError(f"{name} is a pipe or a device; give a file, or use --raw")
    if not path.stat().st_size:
        raise VideoError(f"{name} is empty; get a whole copy of it")
