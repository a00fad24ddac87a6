"""The way out for clips: ProRes, VP9, H.264 or a PNG sequence, each behind the same two steps."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from latefusion.errors import OutputError, reason, shown
from latefusion.images.writing import Picture, make_folder, remove_parts, whole_path, write_picture
from latefusion.video.colour import from_rgb
from latefusion.video.reading import Clip, SoundPacket
from latefusion.video.sound import OPUS, Sound

COMPRESSED = ("aac", "mp3", "ac3", "eac3", "alac")
PCM = tuple(
    f"pcm_{kind}" for kind in ("s16le", "s24le", "s32le", "f32le", "s16be", "s24be", "s32be")
)


@dataclass(frozen=True)
class Movie:
    """What a kind of file holds, and how it is encoded.

    `opaque` and `transparent` are pixel formats, None where there is no transparency; `even`
    sides only; `full` levels as well as limited ones; `copied` are the codecs of sound that it
    takes as they are, others become `sound`.
    """

    name: str
    container: str
    codec: str
    options: dict[str, str]
    opaque: str
    transparent: str | None
    even: bool
    full: bool
    copied: tuple[str, ...]
    sound: str
    container_options: dict[str, str]


MOVIES = {
    ".mov": Movie(
        "ProRes 4444",
        "mov",
        "prores_ks",
        {"profile": "4444", "vendor": "apl0"},
        "yuv444p10le",
        "yuva444p10le",
        even=False,
        full=False,
        copied=(*COMPRESSED, *PCM),
        sound="aac",
        container_options={},
    ),
    ".webm": Movie(
        "VP9",
        "webm",
        "libvpx-vp9",
        # Without auto-alt-ref=0 it refuses alpha.
        {"crf": "24", "b": "0", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": "0"},
        "yuv420p",
        "yuva420p",
        even=False,
        full=True,
        copied=("opus", "vorbis"),
        sound=OPUS,
        container_options={},
    ),
    ".mp4": Movie(
        "H.264",
        "mp4",
        "libx264",
        {"crf": "18", "preset": "fast"},
        "yuv420p",
        None,
        even=True,
        full=True,
        copied=COMPRESSED,
        sound="aac",
        container_options={"movflags": "+faststart"},
    ),
}
PATTERN = re.compile(r"%0?(\d*)d")
NUMBERED = "%05d.png"


class Writer(Protocol):
    """Takes the frames of a clip: `prepare` is for any thread, `add` for one, in their order."""

    def prepare(self, pixels: NDArray[np.uint8], number: int, ticks: int, lasts: int) -> Any:
        """A frame's pixels, (H, W, 3) or straight (H, W, 4), as `add` takes them."""

    def add(self, prepared: Any) -> None:
        """The next frame."""

    def add_sound(self, packet: SoundPacket) -> None:
        """A packet of the clip's sound."""


def check_target(target: Path, transparent: bool) -> None:
    """Refuse a name that no clip is written under, or one that cannot be transparent.

    Raises OutputError.
    """
    if is_sequence(target):
        return
    movie = MOVIES.get(target.suffix.lower())
    if movie is None:
        raise OutputError(
            f"{shown(target)} names no kind of clip that is written; use {', '.join(MOVIES)},"
            " a folder, or a pattern such as out/%05d.png"
        )
    if transparent and movie.transparent is None:
        raise OutputError(
            f"{shown(target)}: {movie.name} holds no transparency; choose .mov, .webm or a folder,"
            " or give a background"
        )


def is_sequence(target: Path) -> bool:
    """Whether a name stands for numbered PNGs: a folder, or a pattern such as `%05d.png`."""
    return target.is_dir() or not target.suffix or bool(PATTERN.search(target.name))


def open_writer(target: Path, clip: Clip, transparent: bool) -> AbstractContextManager["Writer"]:
    """The writer that a name asks for; what it made is there, whole, when its block ends well.

    What killed runs left half-written beside it goes.
    Raises OutputError.
    """
    check_target(target, transparent)
    if is_sequence(target):
        return _sequence(target)
    make_folder(target.parent)
    remove_parts(target.parent)
    return _movie(target, clip, transparent)


@contextmanager
def _sequence(target: Path) -> Iterator["Sequence"]:
    yield Sequence(target)


class Sequence:
    """Numbered PNGs, from 1 on, each whole; sound and times are left behind."""

    def __init__(self, target: Path) -> None:
        numbered = PATTERN.search(target.name)
        self._folder, self._name = (target.parent, target.name) if numbered else (target, NUMBERED)
        if not self._name.lower().endswith(".png"):
            raise OutputError(f"{shown(target)} is no pattern of PNGs; use e.g. out/%05d.png")
        make_folder(self._folder)
        remove_parts(self._folder)
        there = next(filter(self._names, sorted(self._folder.iterdir())), None)
        if there:
            raise OutputError(
                f"{shown(there)} is there already, and the frames of two clips would mix; choose"
                " another folder, or empty this one"
            )

    def _names(self, path: Path) -> bool:
        """Whether a file is one that a frame could be written to."""
        around = PATTERN.split(self._name)  # text, digits, text and so on
        around[::2] = map(re.escape, around[::2])
        around[1::2] = (rf"\d{{{digits or 1},}}" for digits in around[1::2])
        return bool(re.fullmatch("".join(around), path.name, re.IGNORECASE))

    def _path(self, number: int) -> Path:
        return self._folder / PATTERN.sub(lambda found: f"{number:0{found[1] or 1}}", self._name)

    def prepare(self, pixels: NDArray[np.uint8], number: int, ticks: int, lasts: int) -> None:
        """Write a frame."""
        write_picture(self._path(number), Picture(pixels))

    def add(self, prepared: None) -> None:
        """Nothing: it is written."""

    def add_sound(self, packet: SoundPacket) -> None:
        """Nothing: PNGs have none."""


@contextmanager
def _movie(target: Path, clip: Clip, transparent: bool) -> Iterator["MovieFile"]:
    movie = MOVIES[target.suffix.lower()]
    with _as_output_error(target), whole_path(target) as part:
        container = av.open(
            f"file:{part}", "w", format=movie.container, container_options=movie.container_options
        )
        try:
            file = MovieFile(container, movie, clip, transparent)
            yield file
            file.end()
        except BaseException:
            with suppress(av.FFmpegError):  # the first error says more
                container.close()
            raise
        container.close()


@contextmanager
def _as_output_error(target: Path) -> Iterator[None]:
    """What the encoder or the muxer refuses, as an error of the target."""
    try:
        yield
    except av.FFmpegError as error:
        raise OutputError(f"{shown(target)} cannot be written: {reason(error)}") from None


class MovieFile:
    """A movie in the making, with the clip's size, times, colours and sound."""

    def __init__(
        self, container: OutputContainer, movie: Movie, clip: Clip, transparent: bool
    ) -> None:
        self._container, self._even = container, movie.even
        self._format = (movie.transparent if transparent else None) or movie.opaque
        self._colour = clip.colour if movie.full else clip.colour.limited()
        self._time_base = clip.time_base
        video = cast(
            VideoStream, container.add_stream(movie.codec, rate=clip.rate, options=movie.options)
        )
        height, width = (length + (length % 2 if movie.even else 0) for length in clip.size)
        video.width, video.height, video.pix_fmt = width, height, self._format
        video.time_base = video.codec_context.time_base = clip.time_base
        video.sample_aspect_ratio = video.codec_context.sample_aspect_ratio = clip.aspect
        context = video.codec_context
        context.colorspace, context.color_range = self._colour.matrix, self._colour.range
        context.color_primaries, context.color_trc = self._colour.primaries, self._colour.transfer
        self._video = video
        self._sounds = {
            stream.index: Sound(container, stream, movie.copied, movie.sound)
            for stream in clip.sound
        }

    def prepare(
        self, pixels: NDArray[np.uint8], number: int, ticks: int, lasts: int
    ) -> av.VideoFrame:
        """A frame in the encoder's format; where sides must be even, the last ones are repeated."""
        if self._even:
            height, width = pixels.shape[:2]
            more = (0, height % 2), (0, width % 2), (0, 0)
            pixels = np.pad(pixels, more[: pixels.ndim], "edge")
        frame = from_rgb(pixels, self._colour, self._format)
        frame.pts, frame.time_base, frame.duration = ticks, self._time_base, lasts
        return frame

    def add(self, prepared: av.VideoFrame) -> None:
        """Encode the next frame."""
        self._container.mux(self._video.encode(prepared))

    def add_sound(self, packet: SoundPacket) -> None:
        """Copy a packet of sound, or encode it anew."""
        for ready in self._sounds[packet.stream.index].add(packet):
            self._container.mux(ready)

    def end(self) -> None:
        """Write what the encoders still hold."""
        self._container.mux(self._video.encode(None))
        for sound in self._sounds.values():
            for ready in sound.end():
                self._container.mux(ready)
