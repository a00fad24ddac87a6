"""Times of a clip: those of its frames, how long each lasts, and the part that is asked for."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from latefusion.errors import LatefusionError

if TYPE_CHECKING:  # the command parses times before it is known whether PyAV is there
    import av
    from av.audio.stream import AudioStream
    from av.packet import Packet

SoundPacket: TypeAlias = "Packet[AudioStream]"
Event: TypeAlias = "Frame | SoundPacket"

CLOCK = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d*)?|\.\d+)", re.ASCII)
SLIVER = Fraction(1, 40)  # seconds; how far a part may be from the cut that was asked for
AFTER = 2  # seconds read past the end of a part, because sound may be stored later than its picture


class Frame(NamedTuple):
    """A decoded frame of a clip, not yet upright, with its time."""

    decoded: "av.VideoFrame"
    ticks: int  # since the clip's start, in its time base
    lasts: int  # duration in ticks; 0 if unknown


@dataclass(frozen=True)
class Span:
    """A part of a clip, in seconds from its start; `end` None is that of the clip.

    Raises LatefusionError for a part without length.
    """

    start: Fraction = Fraction(0)
    end: Fraction | None = None

    def __post_init__(self) -> None:
        if self.end is not None and self.end <= self.start:
            raise LatefusionError(
                f"the end, {float(self.end):g} s, is not after the start, {float(self.start):g} s;"
                " give a later end"
            )

    @property
    def whole(self) -> bool:
        """True for the whole clip."""
        return self.start == 0 and self.end is None


WHOLE_CLIP = Span()


def parse_time(text: str) -> Fraction:
    """Return the seconds of `12.5`, `1:02` or `1:02:03.5`. Raises LatefusionError."""
    parts = CLOCK.fullmatch(text.strip())
    if parts is None:
        raise LatefusionError(f"{text!r} is not a time; use seconds or H:MM:SS, e.g. 90 or 0:01:30")
    hours, minutes, seconds = (Fraction(part or 0) for part in parts.groups())
    return 3600 * hours + 60 * minutes + seconds


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


def with_repeats(
    events: Iterable[Event], empty: Sequence[int], counted_to: Callable[[], int] | None = None
) -> Iterator[Event]:
    """Add the repeated frames of a clip.

    `empty` holds the ticks of packets without data, each of which shows the frame before it again;
    it grows while `events` is read. In a format that counts its frames in place of storing times,
    where a frame for each tick is to be shown, `counted_to` returns the ticks after the last one,
    once all events are read.
    """
    last: Frame | None = None
    for event in events:
        if isinstance(event, Frame):
            yield from _again(last, event.ticks, empty, counted_to is not None)
            last = event
        yield event
    end = counted_to() if counted_to else max(empty, default=-1) + 1
    yield from _again(last, end, empty, counted_to is not None)


def _again(last: Frame | None, end: int, empty: Sequence[int], counted: bool) -> Iterator[Frame]:
    """Repeat a frame at the ticks between it and `end` that have no frame of their own."""
    if last is None:
        return
    missing = range(last.ticks + 1, end) if counted else sorted({*empty})
    for ticks in missing:
        if last.ticks < ticks < end:
            yield last._replace(ticks=ticks)


def with_lengths(events: Iterable[Event], step: int, end: Callable[[], int]) -> Iterator[Event]:
    """Give each frame its length: up to the next frame, or for the last one to the stated end.

    Where the end is unknown (less than the last frame's ticks), the last frame keeps its own
    length, or gets that of a `step`.
    """
    held: Frame | None = None
    for event in events:
        if not isinstance(event, Frame):
            yield event
            continue
        if held:
            yield held._replace(lasts=event.ticks - held.ticks)
        held = event
    if held:
        yield held._replace(lasts=max(held.lasts or step, end() - held.ticks))


def with_finer_ticks(events: Iterable[Event], finer: int) -> Iterator[Event]:
    """Count the times of frames in ticks that are `finer` times as short."""
    for event in events:
        if isinstance(event, Frame):
            event = Frame(event.decoded, finer * event.ticks, finer * event.lasts)
        yield event


def within(events: Iterable[Event], span: Span, time_base: Fraction) -> Iterator[Event]:
    """Cut a part out of a clip's events, and let its times start at 0.

    The frame that is shown at the start is the first one; if the picture begins later than that, so
    does that of the part. A sliver, a frame of which less than half and less than SLIVER would be
    left, is dropped, unless there is no other frame; the frame after one at the start begins
    at 0 then. Packets of sound are kept if they begin within the part.
    """
    if span.whole:
        yield from events
        return
    start = round(span.start / time_base)
    end = None if span.end is None else round(span.end / time_base)
    sliver: Frame | None = None
    first = True
    for event in events:
        if not isinstance(event, Frame):
            if _sounds(event, span):
                yield _earlier(event, span.start)
            continue
        if end is not None and (event.ticks - end) * time_base > AFTER:
            break
        begin, after = max(event.ticks, start), event.ticks + event.lasts
        left = (after if end is None else min(after, end)) - begin
        if left <= 0:
            continue
        part = Frame(event.decoded, begin - start, left)
        if 2 * left < event.lasts and left * time_base < SLIVER:
            sliver = part if sliver is None or left > sliver.lasts else sliver
            continue
        if first and sliver:
            part = part._replace(ticks=sliver.ticks, lasts=part.ticks + left - sliver.ticks)
        first = False
        yield part
    if first and sliver:
        yield sliver


def _sounds(packet: SoundPacket, span: Span) -> bool:
    time = packet.pts if packet.pts is not None else packet.dts
    if time is None:
        return True
    begins = time * packet.time_base
    return begins >= span.start and (span.end is None or begins < span.end)


def _earlier(packet: SoundPacket, seconds: Fraction) -> SoundPacket:
    """Shift the times of a packet."""
    ticks = round(seconds / packet.time_base)
    if packet.dts is not None:
        packet.dts -= ticks
    if packet.pts is not None:
        packet.pts -= ticks
    return packet
