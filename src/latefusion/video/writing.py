"""Writing of clips as ProRes, VP9, H.264 or a PNG sequence, all with the same interface."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from latefusion.errors import OutputError, reason, shown
from latefusion.images.writing import Picture, make_folder, remove_parts, whole_path, write_picture
from latefusion.video.colour import Mastering, from_rgb
from latefusion.video.light import is_hdr
from latefusion.video.reading import Clip
from latefusion.video.sound import OPUS, Sound
from latefusion.video.times import SoundPacket

COMPRESSED = ("aac", "mp3", "ac3", "eac3", "alac")
PCM = tuple(
    f"pcm_{kind}" for kind in ("s16le", "s24le", "s32le", "f32le", "s16be", "s24be", "s32be")
)


@dataclass(frozen=True)
class Movie:
    """Capabilities of a kind of movie file, and its encoder settings.

    `opaque` and `transparent` are pixel formats; `transparent` is None for a codec without alpha.
    `even` requires even sides. `full` allows levels in full range, not only in limited range. Sound
    in one of the `copied` codecs is copied; other sound is encoded as `sound`. `tag` is the name of
    the codec in the file, if it is not the usual one.
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
    tag: str = ""


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
        # The encoder refuses alpha without auto-alt-ref=0.
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
        # Without B-frames: of a reordered frame, MP4 cannot store how long it lasts.
        {"crf": "18", "preset": "fast", "bf": "0"},
        "yuv420p",
        None,
        even=True,
        full=True,
        copied=COMPRESSED,
        sound="aac",
        container_options={"movflags": "+faststart"},
    ),
}
X265 = "x265-params"
# H.264 of 10 bits is played by few; HEVC is what HDR in MP4 is everywhere.
HDR_MOVIES = {
    ".mp4": replace(
        MOVIES[".mp4"],
        name="HEVC",
        codec="libx265",
        options={"crf": "18", "preset": "fast", X265: "bframes=0:log-level=error"},
        opaque="yuv420p10le",
        tag="hvc1",  # without it, Apple's players refuse
    )
}
PATTERN = re.compile(r"%0?(\d*)d")
NUMBERED = "%05d.png"


class Writer(Protocol):
    """Writer of a clip's frames: call `prepare` on any thread, and `add` on one, in order.

    `deep` is True if it writes more than 8 bits, and so takes uint16 pixels, too.
    """

    deep: bool

    def prepare(self, pixels: NDArray[Any], number: int, ticks: int, lasts: int) -> Any:
        """Convert a frame, (H, W), (H, W, 3) or straight (H, W, 4), for `add`.

        `number` counts from 1; `ticks` and `lasts` are its time and duration in the clip's ticks.
        """

    def add(self, prepared: Any) -> None:
        """Write the next frame."""

    def add_sound(self, packet: SoundPacket) -> None:
        """Write a packet of the clip's sound."""


def check_target(target: Path, transparent: bool) -> None:
    """Check that a clip can be written to `target`, with transparency if needed.

    Raises OutputError for an unsupported suffix, or a format without transparency.
    """
    if is_sequence(target):
        return
    movie = MOVIES.get(target.suffix.lower())
    if movie is None:
        raise OutputError(
            f"{shown(target)} has no suffix of a supported clip; use {', '.join(MOVIES)},"
            " a folder, or a pattern such as out/%05d.png"
        )
    if transparent and movie.transparent is None:
        raise OutputError(
            f"{shown(target)}: {movie.name} cannot store transparency; choose .mov, .webm or a"
            " folder, or give a background"
        )


def is_sequence(target: Path) -> bool:
    """Return whether a target means numbered PNGs: a folder, or a pattern such as `%05d.png`."""
    return target.is_dir() or not target.suffix or bool(PATTERN.search(target.name))


def open_writer(target: Path, clip: Clip, transparent: bool) -> AbstractContextManager["Writer"]:
    """Open the writer for a target, as a context manager.

    A movie appears, complete, when the block succeeds. Incomplete files of killed processes beside
    it are removed. Raises OutputError.
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
    """Writer of numbered PNGs, from 1 on, each complete; sound and times are dropped."""

    deep = False

    def __init__(self, target: Path) -> None:
        numbered = PATTERN.search(target.name)
        self._folder, self._name = (target.parent, target.name) if numbered else (target, NUMBERED)
        if not self._name.lower().endswith(".png"):
            raise OutputError(f"{shown(target)} is not a pattern of PNGs; use e.g. out/%05d.png")
        make_folder(self._folder)
        remove_parts(self._folder)
        existing = next(filter(self._is_frame, sorted(self._folder.iterdir())), None)
        if existing:
            raise OutputError(
                f"{shown(existing)} exists already, and the frames of two clips would mix; choose"
                " another folder, or empty this one"
            )

    def _is_frame(self, path: Path) -> bool:
        """Return whether a file has the name of a numbered frame."""
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
        """Do nothing: `prepare` has written the frame."""

    def add_sound(self, packet: SoundPacket) -> None:
        """Do nothing: PNGs have no sound."""


@contextmanager
def _movie(target: Path, clip: Clip, transparent: bool) -> Iterator["MovieFile"]:
    movie = MOVIES[target.suffix.lower()]
    if is_hdr(clip.colour):
        movie = HDR_MOVIES.get(target.suffix.lower(), movie)
    if X265 in movie.options:
        given = ":".join((movie.options[X265], *_x265_light(clip.mastering)))
        movie = replace(movie, options=movie.options | {X265: given})
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


def _x265_light(mastering: Mastering) -> Iterator[str]:
    """Yield parameters of x265 for HDR metadata, in units of 1/50000 and of 1/10000 cd/m2."""
    if mastering.screen:
        shares = np.array(mastering.screen).reshape(-1, 2)
        units = np.rint(shares[:, 0] / shares[:, 1] * ([50_000] * 8 + [10_000] * 2)).astype(int)
        red, green, blue, white, (least, most) = units.reshape(-1, 2)
        points = zip(("G", "B", "R", "WP"), (green, blue, red, white), strict=True)
        yield (
            "master-display="
            + "".join(f"{name}({x},{y})" for name, (x, y) in points)
            + (f"L({most},{least})")
        )
    if mastering.content:
        yield "max-cll={},{}".format(*mastering.content)


@contextmanager
def _as_output_error(target: Path) -> Iterator[None]:
    """Raise errors of the encoder and the muxer as an OutputError of the target."""
    try:
        yield
    except av.FFmpegError as error:
        raise OutputError(f"{shown(target)} cannot be written: {reason(error)}") from None


class MovieFile:
    """Writer of a movie file, with the clip's size, times, colours and sound."""

    def __init__(
        self, container: OutputContainer, movie: Movie, clip: Clip, transparent: bool
    ) -> None:
        self._container, self._even = container, movie.even
        self._format = (movie.transparent if transparent else None) or movie.opaque
        self.deep = any(each.bits > 8 for each in av.VideoFormat(self._format).components)
        self._colour = clip.colour if movie.full else clip.colour.limited()
        self._time_base = clip.time_base
        self._lasts: dict[int, int] = {}  # duration of the frames in the encoder, by their time
        video = cast(
            VideoStream, container.add_stream(movie.codec, rate=clip.rate, options=movie.options)
        )
        height, width = (length + (length % 2 if movie.even else 0) for length in clip.size)
        video.width, video.height, video.pix_fmt = width, height, self._format
        video.time_base = video.codec_context.time_base = clip.time_base
        video.sample_aspect_ratio = video.codec_context.sample_aspect_ratio = clip.aspect
        context = video.codec_context
        if movie.tag:
            context.codec_tag = movie.tag
        context.colorspace, context.color_range = self._colour.matrix, self._colour.range
        context.color_primaries, context.color_trc = self._colour.primaries, self._colour.transfer
        self._video = video
        self._sounds = {
            stream.index: Sound(container, stream, movie.copied, movie.sound)
            for stream in clip.sound
        }

    def prepare(self, pixels: NDArray[Any], number: int, ticks: int, lasts: int) -> av.VideoFrame:
        """Convert a frame to the encoder's format; edges are repeated if sides must be even."""
        if self._even:
            height, width = pixels.shape[:2]
            more = (0, height % 2), (0, width % 2), (0, 0)
            pixels = np.pad(pixels, more[: pixels.ndim], "edge")
        frame = from_rgb(pixels, self._colour, self._format)
        frame.pts, frame.time_base, frame.duration = ticks, self._time_base, lasts
        return frame

    def add(self, prepared: av.VideoFrame) -> None:
        """Encode the next frame."""
        self._lasts[prepared.pts or 0] = prepared.duration
        self._mux(self._video.encode(prepared))

    def _mux(self, packets: "list[Packet[VideoStream]]") -> None:
        """Write packets of video with their durations, which encoders drop."""
        for packet in packets:
            packet.duration = self._lasts.pop(packet.pts or 0, 0)
            self._container.mux(packet)

    def add_sound(self, packet: SoundPacket) -> None:
        """Copy a packet of sound, or encode it again."""
        for ready in self._sounds[packet.stream.index].add(packet):
            self._container.mux(ready)

    def end(self) -> None:
        """Write the packets that the encoders still hold."""
        self._mux(self._video.encode(None))
        for sound in self._sounds.values():
            for ready in sound.end():
                self._container.mux(ready)
