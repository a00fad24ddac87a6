"""Decoding of a clip's video: the decoder that tells most, and a count of what is damaged."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

import av
from av.codec.codec import codecs_available
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from latefusion.errors import reason

# FFmpeg's own decoders of VP8 and VP9 drop the alpha beside the picture. That of VP9 also makes
# wrong pixels of wrong bytes without a word: it noticed 6 of 40 damaged clips, libvpx 40.
ALPHA_MODE = "alpha_mode"  # in a WebM stream's metadata; 1 if each packet carries an alpha, too
WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
WATCHFUL = {"vp9": "libvpx-vp9"}  # for opaque clips

# Decoders that drop a damaged frame in silence. In these codecs each packet shows one frame.
SILENT = ("hevc", "av1", "libdav1d")


class Decoder:
    """Decoder of one stream, which counts packets that fail and frames decoded only in part.

    `broken` and `patched` are those numbers, `error` is the first error. `sample` is the first
    frame as FFmpeg's own decoder gives it, with all that the container says of it, once a frame is
    decoded.
    """

    def __init__(self, stream: VideoStream) -> None:
        self.broken, self.error = 0, ""
        self.sample: av.VideoFrame | None = None
        self._stream = stream
        self._transparent = stream.metadata.get(ALPHA_MODE) == "1"
        self._other = _other_decoder(stream, self._transparent)
        self._since_key: list[Packet[VideoStream]] = []  # to start anew with the own decoder
        self._first: int | None = None  # pts of the first key frame
        self._last: int | None = None  # pts of the last frame so far
        self._shown: int | None = None  # pts of the last frame before a new start
        self._due: set[int] = set()  # pts of packets that must show a frame
        self._own = stream.codec_context
        self._own.thread_type = "AUTO"
        self._silent = self._own.name in SILENT

    def decode(self, packet: "Packet[VideoStream]") -> Iterator[av.VideoFrame]:
        """Yield the frames that a packet completes."""
        if self._other and self.sample is None and packet.is_keyframe:
            self.sample = self._described(packet)
        if self._silent and packet.pts is not None and not packet.is_discard:
            self._expect(packet.pts, packet.is_keyframe)
        try:
            frames = self._frames(packet)
        except av.FFmpegError as error:
            self._note(error)
            frames = self._start_anew()
        yield from self._passed(frames)

    def end(self) -> Iterator[av.VideoFrame]:
        """Yield the frames that the decoder still holds, and count those that it lost."""
        try:
            frames = (self._other or self._own).decode(None)
        except av.FFmpegError as error:
            self._note(error)
            frames = []
        yield from self._passed(frames)
        self.broken = max(self.broken, len(self._due))

    def _frames(self, packet: "Packet[VideoStream]") -> list[av.VideoFrame]:
        if not self._other:
            return self._own.decode(packet)
        if packet.is_keyframe:
            self._since_key.clear()
        if not self._transparent:
            self._since_key.append(packet)
        return self._other.decode(packet)

    def _note(self, error: av.FFmpegError) -> None:
        self.broken += 1
        self.error = self.error or reason(error)

    def _start_anew(self) -> list[av.VideoFrame]:
        """Go on from the last key frame with FFmpeg's own decoder, which shows damaged frames."""
        if not self._other or self._transparent:
            return []
        self._other = None
        self._own.flush_buffers()
        self._shown = self._last
        frames: list[av.VideoFrame] = []
        for packet in self._since_key:
            with suppress(av.FFmpegError):  # it is counted already
                frames += self._own.decode(packet)
        self._since_key.clear()
        return frames

    def _passed(self, frames: list[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for frame in frames:
            if self._shown is not None and frame.pts is not None and frame.pts <= self._shown:
                continue
            self.sample = self.sample or frame
            if frame.time_base is None and self._stream.time_base:  # of frames at the end
                frame.time_base = self._stream.time_base
            if frame.pts is not None:
                self._last = frame.pts
                self._due.discard(frame.pts)
            yield frame

    def _expect(self, pts: int, key: bool) -> None:
        """Note that a frame is due, unless it comes before the first key frame, which it needs."""
        if self._first is None and key:
            self._first = pts
        if self._first is not None and pts >= self._first:
            self._due.add(pts)

    def _described(self, packet: "Packet[VideoStream]") -> av.VideoFrame | None:
        """Decode one packet with the own decoder."""
        try:
            frames = list(chain(self._own.decode(packet), self._own.decode(None)))
        except av.FFmpegError:
            frames = []
        self._own.flush_buffers()
        return frames[0] if frames else None


def _other_decoder(stream: VideoStream, transparent: bool) -> VideoCodecContext | None:
    """Return the decoder to use in place of FFmpeg's own, if there is a better one."""
    own = stream.codec_context
    name = (WITH_ALPHA if transparent else WATCHFUL).get(own.name)
    deep = own.format is not None and any(each.bits > 8 for each in own.format.components)
    if name is None or name not in codecs_available or deep:  # libvpx is often built for 8 bits
        return None
    other = av.CodecContext.create(name, "r")
    assert isinstance(other, VideoCodecContext)
    other.extradata = own.extradata
    other.colorspace, other.color_range = own.colorspace, own.color_range
    other.color_primaries, other.color_trc = own.color_primaries, own.color_trc
    return other
