"""Sound of a written clip: copied if the container supports its codec, else encoded again."""

from collections.abc import Container, Iterable, Iterator
from typing import cast

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer

from latefusion.video.times import SoundPacket

OPUS, OPUS_RATE = "libopus", 48000
RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # AAC
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # by the number of channels


class Sound:
    """Writer of one stream of sound: call `add` for each packet, then `end`.

    Streams whose codec is in `copied` are copied; others are encoded as `codec`. Both calls yield
    the packets to mux into `target`.
    """

    def __init__(
        self, target: OutputContainer, source: AudioStream, copied: Container[str], codec: str
    ) -> None:
        self._source = source
        self._copies = source.codec_context.codec.canonical_name in copied  # not mp3float
        self._last = -(2**63)  # time of the previous packet, in the source's time base
        if self._copies:
            self._stream = target.add_stream_from_template(source)
        else:
            rate = OPUS_RATE if codec == OPUS else _rate_for(source.codec_context.sample_rate)
            layout = LAYOUTS.get(source.codec_context.channels, "stereo")
            made = target.add_stream(codec, rate=rate, layout=layout)
            self._stream = cast(AudioStream, made)
        if language := source.metadata.get("language"):
            self._stream.metadata["language"] = language

    def add(self, packet: SoundPacket) -> Iterator[SoundPacket]:
        """Yield the packets to mux for a packet of the source; none if its time steps back."""
        if not self._copies:
            yield from self._encode(self._decode(packet))
        elif packet.dts is not None and packet.dts > self._last:
            self._last = packet.dts
            packet.stream = self._stream
            yield packet

    def _decode(self, packet: "SoundPacket | None") -> list[AudioFrame]:
        try:
            return self._source.decode(packet)
        except av.FFmpegError:  # a damaged packet becomes a gap
            return []

    def _encode(self, frames: Iterable[AudioFrame]) -> Iterator[SoundPacket]:
        for frame in frames:
            yield from self._stream.encode(frame)

    def end(self) -> Iterator[SoundPacket]:
        """Yield the packets that decoder and encoder still hold."""
        if not self._copies:
            yield from self._encode(self._decode(None))
            yield from self._stream.encode(None)


def _rate_for(rate: int) -> int:
    return rate if rate in RATES else OPUS_RATE
