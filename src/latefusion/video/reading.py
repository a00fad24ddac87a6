"""Reading of clips: upright frames with their times, and packets of sound."""

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideData
from av.video.stream import VideoStream
from numpy.typing import NDArray

from latefusion.errors import VideoError, reason, shown
from latefusion.images.framing import Size
from latefusion.images.levels import Plane
from latefusion.video.colour import colour_of, is_deep, mastering_of, opacity_of, to_rgb
from latefusion.video.decoding import Decoder
from latefusion.video.ending import Ending
from latefusion.video.light import as_seen
from latefusion.video.times import (
    WHOLE_CLIP,
    Event,
    Frame,
    SoundPacket,
    Span,
    Times,
    with_finer_ticks,
    with_lengths,
    with_repeats,
    within,
)

STILL = ("image2", "_pipe")  # parts of the names of formats for single pictures
# A WebP with more than a picture: the flags of its first chunk (RFC 9649, 2.7).
WEBP = re.compile(rb"RIFF.{4}WEBPVP8X.{4}(.)", re.DOTALL)
WEBP_ANIMATION = 0x02
UNTIMED = "avi"  # counts frames in coding order; FFmpeg guesses when they are shown
# The containers that are read. Not among them: lists of other files (concat, HLS, DASH, SDP), which
# may name any file of this machine, devices, and formats without a picture.
CONTAINERS = (
    *("mov", "mp4", "matroska", "webm", "avi", "asf", "flv", "ogg", "mpeg", "mpegts", "mpegvideo"),
    *("gif", "apng", "mxf", "nut", "ivf", "dv", "rm", "wtv", "yuv4mpegpipe", "h261", "h263"),
    *("h264", "hevc", "vvc", "m4v", "obu", "av1", "vc1", "mjpeg", "rawvideo", "swf", "nsv"),
)
INDEXED = "mov"  # QuickTime and MP4 list all their packets at one place
FINE = Fraction(1, 1000)  # seconds; the longest tick in which a part is cut
AHEAD = 1  # seconds; sound is stored up to about that far from its picture
DEFAULT_RATE = Fraction(25)  # of a raw stream without a rate


class Clip:
    """An open video file: its properties, then its frames and sound in the order of the file.

    `size` is that of the upright frames (H, W), `rate` the mean number of frames per second, and
    `time_base` the seconds per tick. `aspect` is the width of a pixel divided by its height.
    `colour` holds the colour tags, `mastering` the HDR metadata, `sound` the audio streams.
    `frames` is the approximate number of frames, 0 if unknown.

    `span` is the part to read; its times start at 0.

    Raises VideoError.
    """

    def __init__(self, path: Path, span: Span = WHOLE_CLIP) -> None:
        self.name = shown(path)
        self._span = span
        _check_file(path, self.name)
        try:
            self._container = av.open(f"file:{path}", "r", options=_whitelists())
        except PermissionError:
            raise VideoError(f"{self.name} cannot be read; change its permissions") from None
        except av.ArgumentError:  # not on the list
            raise VideoError(
                f"{self.name} is of a kind that is not read, such as a list of other files; give"
                " the clip itself, or convert it to MP4 or MKV"
            ) from None
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"{self.name} is not a clip, or damaged: {reason(error)}") from None
        try:
            self._refuse_photo(path)
            self._read_head()
        except BaseException:
            self._container.close()
            raise

    def _read_head(self) -> None:
        video = self._video = self._find_video()
        self.sound = [s for s in self._container.streams.audio if s.codec_context is not None]
        self.rate = video.average_rate or video.guessed_rate or DEFAULT_RATE
        self._tick = video.time_base or 1 / self.rate
        self._step = max(1, round(1 / (self.rate * self._tick)))  # ticks from frame to frame
        self._start = Fraction(self._container.start_time or 0, av.time_base)
        counted = self._container.format.name == UNTIMED
        self._times = Times(video.start_time or 0 if counted else None)
        self._last = -1  # ticks of the previous frame
        self._begins = 0  # ticks of the first frame
        self._empty: list[int] = []  # ticks of packets without data
        self._patched = 0
        self._error = ""
        self._decoder = Decoder(video)
        self._ending = Ending(self._container, video, self.sound)
        self._skip()
        events = with_repeats(self._read(), self._empty, self._counted_to if counted else None)
        lasting = with_lengths(events, self._step, self._end)
        before, first = [], None
        finer = 1 if self._span.whole else ceil(self._tick / FINE)
        self.time_base = self._tick / finer
        parts = within(with_finer_ticks(lasting, finer), self._span, self.time_base)
        for event in parts:
            before.append(event)
            if isinstance(event, Frame):
                first = event
                break
        if first is None:
            raise self._no_frame()
        self._events = chain(before, parts)
        self._describe(first.decoded)

    def _skip(self) -> None:
        """Go to the key frame before the part, if the file has an index of all of them."""
        if self._span.start > AHEAD and self._container.format.name.startswith(INDEXED):
            ticks = round((self._start + self._span.start - AHEAD) / self._tick)
            self._container.seek(ticks, stream=self._video)
            self._ending.skipped = True

    def _no_frame(self) -> VideoError:
        begins, end = self._begins * self._tick, self._span.end
        if self._last >= 0 and end is not None and begins >= end:
            return VideoError(
                f"the picture of {self.name} begins at {float(begins):.2f} s, so nothing of it is"
                f" before {float(end):g} s; give a later end"
            )
        if self._last >= 0:
            lasting = float(self._end() * self._tick)
            return VideoError(
                f"{self.name} lasts {lasting:.2f} s, so nothing of it is after"
                f" {float(self._span.start):g} s; give an earlier start"
            )
        return VideoError(f"{self.name} has no frame that can be decoded; it may be damaged")

    def _describe(self, first: av.VideoFrame) -> None:
        described = self._decoder.sample or first
        self.colour, self.mastering = colour_of(described), mastering_of(described)
        self._turn = turn_of(described)
        self._stored = first.height, first.width
        self.size: Size = self._stored[::-1] if self._turn.sideways else self._stored
        aspect = self._video.sample_aspect_ratio or Fraction(1)
        self.aspect = 1 / aspect if self._turn.sideways else aspect
        lasting = self._ending.lasting
        self.frames = self._video.frames or round(lasting * self.rate)
        if not self._span.whole:
            lasting = min(lasting, self._span.end or lasting) - self._span.start
            self.frames = max(0, round(lasting * self.rate))

    def _refuse_photo(self, path: Path) -> None:
        if not any(word in self._container.format.name for word in STILL):
            return
        with path.open("rb") as file:
            webp = WEBP.match(file.read(32))
            if webp and webp[1][0] & WEBP_ANIMATION:
                raise VideoError(
                    f"{self.name} is an animated WebP, which cannot be read as a clip; convert it"
                    " to GIF, APNG or MP4"
                )
        raise VideoError(f"{self.name} is a photo; use latefusion matte")

    def _find_video(self) -> av.VideoStream:
        cover = av.stream.Disposition.attached_pic
        found = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & cover and stream.codec_context is not None
        ]
        if not found:
            raise VideoError(f"{self.name} contains no video; give a clip")
        return min(found, key=lambda stream: stream.frames == 1)  # AVIF has a still before its clip

    def events(self) -> Iterator[Event]:
        """Return the frames, and the packets of the streams in `sound`, in the order of the file.

        They can be iterated only once.
        """
        return self._events

    def _read(self) -> Iterator[Event]:
        sounds = {stream.index for stream in self.sound}
        try:
            for packet in self._container.demux():
                self._ending.note(packet)
                if packet.stream.index == self._video.index:
                    yield from self._decode(cast("Packet[VideoStream]", packet))
                elif packet.size and packet.stream.index in sounds:
                    yield self._shift(cast(SoundPacket, packet))
        except (av.FFmpegError, OSError) as error:
            self._error = reason(error)
        yield from map(self._timed, self._decoder.end())
        self._ending.reached = True

    def _decode(self, packet: "Packet[VideoStream]") -> Iterator[Frame]:
        if packet.size:
            yield from map(self._timed, self._decoder.decode(packet))
            return
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None:  # else the one that ends the stream
            self._empty.append(self._ticks_of(time * packet.time_base))

    def _timed(self, frame: av.VideoFrame) -> Frame:
        """Return a frame with its time, always later than the last one; by the rate if unknown."""
        ticks = self._last + self._step if self._last >= 0 else 0
        when = self._times.of(frame.pts, frame.dts)
        if when is not None and frame.time_base is not None:
            ticks = self._ticks_of(when * frame.time_base)
        self._begins = ticks if self._last < 0 else self._begins
        self._last = max(ticks, self._last + 1)
        self._patched += frame.is_corrupt and self._last * self._tick >= self._span.start
        return Frame(frame, self._last, frame.duration or 0)

    def _ticks_of(self, seconds: Fraction) -> int:
        return round(seconds / self._tick) - round(self._start / self._tick)

    def _counted_to(self) -> int:
        """The number of frames in a format that counts them, with those repeated at the end."""
        return 0 if self._ending.early else self._video.frames

    def _end(self) -> int:
        """The ticks at which the picture ends; 0 if the clip does not say so."""
        stated = self._ending.stated
        if stated is None or self._error or self._ending.early:
            return 0
        return round((stated - self._start) / self._tick)

    def _shift(self, packet: SoundPacket) -> SoundPacket:
        """Shift the times of a packet of sound to start with the clip, like those of the frames."""
        start = round(self._start / packet.time_base)
        if packet.dts is not None:
            packet.dts -= start
        if packet.pts is not None:
            packet.pts -= start
        return packet

    def upright(self, frame: Frame) -> NDArray[np.uint8]:
        """Convert a frame to (H, W, 3) RGB in the clip's own space, turned upright."""
        return self._turn.apply(to_rgb(frame.decoded, self.colour, self._stored))

    def seen(self, frame: Frame) -> NDArray[np.uint8]:
        """Convert a frame as `upright` does, for the network: PQ as an ordinary picture."""
        return as_seen(self.upright(frame), self.colour)

    def deep(self, frame: Frame) -> NDArray[np.uint16] | None:
        """Convert a frame as `upright` does, to uint16; None for a clip of 8 bits."""
        if not is_deep(frame.decoded):
            return None
        return self._turn.apply(to_rgb(frame.decoded, self.colour, self._stored, "rgb48le"))

    def opacity(self, frame: Frame) -> Plane | None:
        """Return a frame's own alpha, (H, W) turned upright, or None if it has none."""
        own = opacity_of(frame.decoded, self._stored)
        return None if own is None else self._turn.apply(own)

    @property
    def damage(self) -> str | None:
        """Describe what could not be read, or None; valid after the last event."""
        if self._decoder.broken or self._patched:
            return (
                f"{self.name} is damaged: packets not decoded: {self._decoder.broken}, frames"
                f" decoded only in part: {self._patched}"
            )
        early = self._ending.early
        if self._error or early:
            return f"{self.name} ends early, after {early or self._error}"
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


class Turn(NamedTuple):
    """Transformation of stored pixels to upright: a transposition, then the two flips."""

    sideways: bool  # rows and columns are swapped
    mirrored: bool  # left and right are swapped
    upended: bool  # top and bottom are swapped

    def apply(self, image: NDArray[Any]) -> NDArray[Any]:
        """Turn stored pixels (H, W, 3) or a plane (H, W) upright."""
        if self.sideways:
            image = image.swapaxes(0, 1)
        if self.mirrored:
            image = image[:, ::-1]
        if self.upended:
            image = image[::-1]
        return np.ascontiguousarray(image)


# By the quarter turns counter-clockwise that make a frame upright.
QUARTERS = (
    Turn(False, False, False),
    Turn(True, False, True),
    Turn(False, True, True),
    Turn(True, True, False),
)


def turn_of(frame: av.VideoFrame) -> Turn:
    """Return the turn given by a frame's display matrix, to the nearest quarter.

    The matrix maps a stored point (x, y) to (a x + c y, b x + d y), in 16.16 fixed point.
    """
    try:
        beside = cast(SideDataContainer, frame.side_data)
    except ValueError:  # PyAV 18 cannot list a kind that it does not know, such as EXIF
        return QUARTERS[round(frame.rotation / 90) % 4]
    if SideData.DISPLAYMATRIX not in beside:
        return QUARTERS[0]
    matrix = np.frombuffer(bytes(beside[SideData.DISPLAYMATRIX]), np.int32)
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    if abs(b) > abs(a):
        return Turn(True, c < 0, b < 0)
    return Turn(False, a < 0, d < 0)


def _whitelists() -> dict[str, str]:
    """Return FFmpeg's options that limit what a file may be, and where its content may lie."""
    stills = (name for name in av.formats_available if name.endswith("_pipe"))  # refused by name
    return {
        "format_whitelist": ",".join((*CONTAINERS, *stills, "jpegxl_anim")),
        "protocol_whitelist": "file",
    }


def _check_file(path: Path, name: str) -> None:
    if path.is_dir():
        raise VideoError(f"{name} is a folder; for folders of photos use latefusion matte")
    if not path.exists():
        raise VideoError(f"{name} does not exist; check the spelling")
    if not path.is_file():
        raise VideoError(f"{name} is a pipe or a device; give a file, or use --raw")
    if not path.stat().st_size:
        raise VideoError(f"{name} is empty; get a whole copy of it")
