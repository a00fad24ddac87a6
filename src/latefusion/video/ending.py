"""Where a clip ends, by what its file says, and whether it ends earlier than that."""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

MISSING = Fraction(1, 2)  # seconds; a stream that ends this much before its duration is cut short
LASTING = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
# Formats with an index of the packets to come: in AVI without null frames, in QuickTime and MP4
# without what an edit list leaves out. A cut AVI lacks it, but has an entry of the first packet.
INDEXED = ("avi", "mov")
LEAST_INDEX = 1


class Ending:
    """The ends of the streams that are read, stated and measured.

    Call `note` for each packet of the container. `reached` is True once the file has been read to
    its end. Other streams, such as subtitles, may last longer or shorter. Set `skipped` if the file
    is not read from its start, because its packets then cannot be counted.
    """

    def __init__(
        self, container: InputContainer, video: VideoStream, sound: Sequence[AudioStream]
    ) -> None:
        self.lasting = Fraction(container.duration or 0, av.time_base)
        self.reached = self.skipped = False
        self._start = Fraction(container.start_time or 0, av.time_base)
        self._picture, self._read = video.index, [video.index, *(each.index for each in sound)]
        self._frames = video.frames
        read: list[VideoStream | AudioStream] = [video, *sound]
        self._stated = {each.index: end for each in read if (end := self._end_of(each))}
        if not self._stated and len(container.streams) == 1 and self.lasting:
            self._stated = {video.index: self._start + self.lasting}
        self._indexed = len(video.index_entries)
        self._by_index = container.format.name.startswith(INDEXED) and self._indexed > LEAST_INDEX
        self._ended: dict[int, Fraction] = {}  # by stream, in seconds
        self._packets = 0

    def note(self, packet: "Packet[Any]") -> None:
        """Note the end of a packet; one without data but with a time repeats the one before."""
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None:
            return
        index, end = packet.stream.index, (time + (packet.duration or 0)) * packet.time_base
        self._ended[index] = max(self._ended.get(index, self._start), end)
        self._packets += index == self._picture

    def _end_of(self, stream: "VideoStream | AudioStream") -> Fraction | None:
        """Return the time at which a stream ends, as the file states it; None if it does not."""
        if stream.duration is not None and stream.time_base is not None:
            return ((stream.start_time or 0) + stream.duration) * stream.time_base
        tagged = _tagged(stream)
        plausible = tagged is not None and tagged <= self._start + self.lasting + MISSING
        return tagged if plausible else None

    @property
    def stated(self) -> Fraction | None:
        """The time at which the picture ends, as the file states it; None if it does not."""
        return self._stated.get(self._picture)

    @property
    def early(self) -> str | None:
        """Describe an end before the stated one, as `1.2 of 3.4 s`; None if there is none."""
        if not self.reached:
            return None
        short = [(end, stated) for end, stated in self._ends() if end < stated - MISSING]
        if not short and not self._lacks_frames():
            return None
        whole = self._ended_at(self._picture), self._start + self.lasting
        end, stated = (float(each - self._start) for each in (short or [whole])[0])
        return f"{end:.1f} of {stated:.1f} s"

    def _ends(self) -> list[tuple[Fraction, Fraction]]:
        """Return measured and stated ends that should agree: of the picture, and of all streams."""
        stated = dict(self._stated)
        if not stated:  # no stream says, so all of the file is measured
            return [(max(self._ended.values(), default=self._start), self._start + self.lasting)]
        if self._by_index:  # which says more: null frames at the end of an AVI are no packets
            stated.pop(self._picture, None)
        own = stated.get(self._picture)
        last = max(map(self._ended_at, self._read))
        return [
            *([(last, max(stated.values()))] if stated else []),
            *([(self._ended_at(self._picture), own)] if own else []),
        ]

    def _ended_at(self, stream: int) -> Fraction:
        return self._ended.get(stream, self._start)

    def _lacks_frames(self) -> bool:
        """Return whether there are fewer frames than the header or the index counts."""
        counted = self._indexed if self._by_index else self._frames
        return not self.skipped and self._packets < counted


def _tagged(stream: "VideoStream | AudioStream") -> Fraction | None:
    """Return the end of a stream in Matroska's tag DURATION, in seconds."""
    text = next((v for k, v in stream.metadata.items() if k.startswith("DURATION")), "")
    found = LASTING.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds = map(Fraction, found.groups())
    return 3600 * hours + 60 * minutes + seconds
