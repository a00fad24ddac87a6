"""Clips in all codecs and pixel formats that PyAV can write: are frames, times and alpha kept?

`PYTHONPATH=. python benchmarks/video_formats.py [PART-OF-A-NAME]` makes a clip of six frames, of
different lengths, in each pair of codec and pixel format, cuts it out with a toy network, and
compares the result.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from latefusion.errors import LatefusionError
from latefusion.inference.options import MattingOptions
from latefusion.inference.predictor import Predictor
from latefusion.video.run import matte_video
from tests.helpers.clips import decoded, times
from tests.helpers.odd_clips import SPLIT, half_seen, write_pictures
from tests.helpers.toy_model import write_toy_model

LASTS = (10, 30, 10, 10, 20, 70)  # of the frames, in 1/100 s
EVEN = (10,) * 6  # where the container has one rate
NEAR, ONE_FRAME = 0.030, 0.101  # seconds; the last frame lasts longer by far

# Encoder -> the files it is tried in, and its options. Pixel formats are those of the encoder.
ENCODERS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "prores_ks": ((".mov",), {}),
    "qtrle": ((".mov",), {}),
    "png": ((".mov",), {}),
    "tiff": ((".mov",), {}),
    "cfhd": ((".mov",), {}),
    "exr": ((".mov",), {}),
    "jpeg2000": ((".mov",), {}),
    "mjpeg": ((".mov", ".avi"), {}),
    "dnxhd": ((".mov",), {"profile": "dnxhr_444"}),
    "libx264": ((".mp4", ".mkv"), {"crf": "10"}),
    "libx264rgb": ((".mkv",), {"crf": "10"}),
    "libx265": ((".mp4",), {"x265-params": "bframes=0:log-level=none"}),
    "libsvtav1": ((".mp4",), {"preset": "10"}),
    "mpeg4": ((".mp4", ".avi"), {"q": "2"}),
    "mpeg2video": ((".mkv",), {}),
    "libvpx": ((".webm",), {"auto-alt-ref": "0", "crf": "10", "b": "1M"}),
    "libvpx-vp9": ((".webm",), {"auto-alt-ref": "0", "crf": "10", "b": "0"}),
    "ffv1": ((".mkv",), {}),
    "ffvhuff": ((".mkv",), {}),
    "huffyuv": ((".avi",), {}),
    "utvideo": ((".avi",), {}),
    "magicyuv": ((".avi",), {}),
    "rawvideo": ((".nut",), {}),
    "gif": ((".gif",), {}),
    "apng": ((".apng",), {}),
}
ONE_RATE = (".avi",)


class Pair(NamedTuple):
    """A codec with a pixel format, in a file with a suffix."""

    codec: str
    format: str
    suffix: str

    def __str__(self) -> str:
        return f"{self.codec} {self.format} {self.suffix}"


def pairs() -> Iterator[Pair]:
    """All pairs that this build of PyAV claims to write; grey and palettes left out."""
    for codec, (suffixes, _) in ENCODERS.items():
        formats = av.Codec(codec, "w").video_formats or []
        names = [each.name for each in formats] or ["yuv420p", "rgba", "rgba64le"]
        for name in names:
            if not name.startswith(("gray", "mono", "pal8", "cuda", "vaapi", "ya", "nv")):
                yield from (Pair(codec, name, suffix) for suffix in suffixes)


def verdict(pair: Pair, folder: Path, predictor: Predictor) -> tuple[str, str]:
    """`kept`, what is wrong, or that the pair cannot be made; and whether it has an alpha."""
    lasts = EVEN if pair.suffix in ONE_RATE else LASTS
    source, out = folder / f"in{pair.suffix}", folder / "out.mov"
    pictures = [half_seen(number, (64, 64)) for number in range(len(lasts))]
    options = ENCODERS[pair.codec][1]
    made_lasts = () if pair.suffix in ONE_RATE else lasts
    try:
        write_pictures(source, pictures, pair.codec, pair.format, lasts=made_lasts, options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        return f"cannot be made: {type(error).__name__}", ""
    transparent = any(each.is_alpha for each in av.VideoFormat(pair.format).components)
    try:
        matte_video(source, out, predictor=predictor, smooth=0)
    except LatefusionError as error:
        return f"WRONG: {error}", "alpha" if transparent else ""
    wrong = [*_times(source, out, lasts), *(_alpha(out) if transparent else ())]
    return "WRONG: " + ", ".join(wrong) if wrong else "kept", "alpha" if transparent else ""


def _times(source: Path, out: Path, lasts: tuple[int, ...]) -> Iterator[str]:
    wanted = np.cumsum((0, *lasts[:-1])) / 100
    found = np.array(times(out))
    if len(found) != len(wanted):
        yield f"{len(found)} of {len(wanted)} frames"
    elif np.abs(found - wanted).max() > NEAR:
        yield f"times {found}"
    before, after = _length(source), _length(out)
    if abs(after - before) > ONE_FRAME:
        yield f"length {after:.2f} of {before:.2f} s"


def _length(path: Path) -> float:
    """The stated length in seconds, or the end of the last packet where none is stated."""
    with av.open(path) as container:
        if container.duration:
            return container.duration / av.time_base
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
        return max(
            float(((each.pts or 0) + (each.duration or 0)) * each.time_base) for each in packets
        )


def _alpha(out: Path) -> Iterator[str]:
    alpha: NDArray[np.uint8] = decoded(out, "rgba")[3][:, :, 3]
    parts = alpha[16:28, 4 : SPLIT - 6], alpha[38:, 4 : SPLIT - 6], alpha[:, SPLIT + 6 :]
    means = [float(part.mean()) for part in parts]
    if not (means[0] > 245 and abs(means[1] - 128) < 8 and means[2] < 1):
        yield "alpha {:.0f}, {:.0f}, {:.0f}".format(*means)


def main(part: str = "") -> int:
    """Print the table; return the number of pairs that are wrong."""
    wrong = done = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_toy_model(folder)
        predictor = Predictor(model, MattingOptions(size=64, framing="whole"), threads=1)
        for pair in pairs():
            if part not in str(pair):
                continue
            said, alpha = verdict(pair, folder, predictor)
            print(f"{pair!s:40} {alpha:6} {said}", flush=True)
            done += said == "kept"
            wrong += said.startswith("WRONG")
    print(f"{done} pairs kept, {wrong} wrong")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
