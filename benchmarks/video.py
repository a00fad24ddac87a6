"""Effect of temporal smoothing on clips: flicker, ghosts, and closer looks at small subjects.

    python benchmarks/video.py clip.mp4 dev.tar background-00.tar [--subjects 5] [--sheet sheet.png]

The synthetic clips have a known truth: a dev subject in its own colours moves in front of a moving
photo, under changing light, with camera noise, through H.264 at crf 23. Their speeds are at most 0,
2 and 16 pixels per frame at 360 x 480. MAD and dtSSD are against the truth of each frame. `growth`
is the increase in MAD of the worst frame; `outside` is the mean alpha more than 6 px from the
truth, where a ghost would be. For small subjects, at 960 x 540, the script compares the whole view,
a new closer look in each frame, and the closer look that the command holds over the frames.

The real clip has no truth. `flicker` is the root mean square change of alpha along the optical
flow, where colours agree along it. This flow differs from that of the method: it has full size and
a finer preset. `still` is the same without flow, where the picture does not change.
"""

import argparse
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion import Matte, MattingOptions, Predictor
from latefusion.data.sources import (
    VAL_LIST,
    Pair,
    decode_image,
    decode_pair,
    read_images,
    read_pairs,
)
from latefusion.images.foreground import estimate_foreground
from latefusion.images.framing import cover
from latefusion.inference.options import CLOSED_FORM, OFF, Refinement
from latefusion.metrics import dtssd, mad
from latefusion.video.held_view import held_views
from latefusion.video.run import mattes
from latefusion.video.steady import SMOOTH, steadied

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]
SPEEDS = {"still": 0, "slow": 2, "fast": 16}
SIZE, WIDE = (480, 360), (540, 960)
GHOST = 6  # pixels
CLEAR = 20  # levels of the truth at its left and right edge: a subject that is whole


class Made(NamedTuple):
    """A synthetic clip and its true alphas."""

    frames: list[Image]
    truth: list[Plane]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path, help="a real clip of a person")
    parser.add_argument("pairs", type=Path, help="tar shard or folder of pairs")
    parser.add_argument("backgrounds", type=Path, help="tar shard or folder of photos")
    parser.add_argument("--subjects", type=int, default=5)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--refine", default=CLOSED_FORM, choices=[CLOSED_FORM, OFF])
    parser.add_argument("--sheet", type=Path, help="where to put a picture of the real clip")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    whole = [pair for pair in read_pairs([args.pairs], VAL_LIST) if is_whole(pair)]
    subjects = whole[:: len(whole) // args.subjects][: args.subjects]
    backgrounds = [decode_image(each) for each in read_images([args.backgrounds])[5::37]]
    scenes = list(zip(subjects, backgrounds, strict=False))
    made_clips(scenes, args.frames, args.refine)
    small_subjects(scenes, args.frames, args.refine)
    real_clip(args.clip, args.sheet, args.refine)


def is_whole(pair: Pair) -> bool:
    _, truth = decode_pair(pair)
    return bool(truth[:, 0].max() < CLEAR and truth[:, -1].max() < CLEAR)


def made_clips(scenes: Sequence[tuple[Pair, Image]], count: int, refine: Refinement) -> None:
    """Print the effect of smoothing on synthetic clips of different speeds."""
    predictor = Predictor(options=MattingOptions(framing="whole", refine=refine))
    print("| clip | dtSSD x 100 | steadied | MAD | steadied | growth | outside | steadied |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, speed in SPEEDS.items():
        rows = []
        for seed, (pair, background) in enumerate(scenes):
            clip = moving(pair, background, speed, count, seed)
            looks = [predictor(frame) for frame in clip.frames]
            before, after = alphas_of(looks), alphas_of(steady(looks))
            growth = max(
                mad(new, true) - mad(old, true)
                for old, new, true in zip(before, after, clip.truth, strict=True)
            )
            pair_of = zip(scores(before, clip.truth), scores(after, clip.truth), strict=True)
            rows.append([value for both in pair_of for value in both] + [growth])
        flicker, calm, error, steady_error, ghost, steady_ghost, _ = np.mean(rows, axis=0)
        print(
            f"| {name} | {100 * flicker:.3f} | {100 * calm:.3f} | {error:.5f} | {steady_error:.5f}"
            f" | {np.max(rows, axis=0)[-1]:.5f} | {ghost:.5f} | {steady_ghost:.5f} |",
            flush=True,
        )


def small_subjects(scenes: Sequence[tuple[Pair, Image]], count: int, refine: Refinement) -> None:
    """Print the effect of a closer look on clips, new in each frame or held."""
    options = MattingOptions(framing="whole", refine=refine)
    predictor, closer = (
        Predictor(options=each) for each in (options, replace(options, framing="auto"))
    )
    looks: dict[str, Callable[[list[Image]], list[Matte]]] = {
        "whole": lambda frames: [predictor(frame) for frame in frames],
        "each frame its own": lambda frames: [closer(frame) for frame in frames],
        "held": lambda frames: held(predictor, frames),
    }
    print("\n| small subject | view | dtSSD x 100 | MAD | worst MAD |")
    print("| --- | --- | --- | --- | --- |")
    for name, speed in {"still": 0, "slow": 2}.items():
        clips = [
            moving(pair, background, speed, count // 2, seed, WIDE, 0.45)
            for seed, (pair, background) in enumerate(scenes)
        ]
        for view, look in looks.items():
            found = [(alphas_of(steady(look(clip.frames))), clip.truth) for clip in clips]
            flicker, error, _ = np.mean([scores(*both) for both in found], axis=0)
            worst = max(mad(*both) for clip in found for both in zip(*clip, strict=True))
            print(
                f"| {name} | {view} | {100 * flicker:.3f} | {error:.5f} | {worst:.5f} |", flush=True
            )


def held(predictor: Predictor, frames: list[Image]) -> list[Matte]:
    looks = ((predictor.look(frame), None) for frame in frames)
    return [
        predictor.finish(predictor.look_at(found, box) if box else found)
        for found, box, _ in held_views(looks)
    ]


def real_clip(path: Path, sheet: Path | None, refine: Refinement) -> None:
    """Print the effect of smoothing on a clip without a truth, and the time."""
    print("\n| real clip | flicker x 100 | still x 100 | frames/s |\n| --- | --- | --- | --- |")
    for smooth in (0.0, SMOOTH):
        start = perf_counter()
        found = list(
            mattes(
                path,
                predictor=Predictor(options=MattingOptions(refine=refine), threads=1),
                smooth=smooth,
            )
        )
        rate = len(found) / (perf_counter() - start)
        frames, alphas = [matte.image for matte in found], alphas_of(found)
        along, still = changes(frames, alphas)
        print(
            f"| smooth {smooth} | {100 * along:.3f} | {100 * still:.3f} | {rate:.1f} |", flush=True
        )
        if sheet:
            write_sheet(sheet.with_stem(f"{sheet.stem}-{smooth}"), found)


def moving(
    pair: Pair,
    background: Image,
    speed: float,
    count: int,
    seed: int,
    size: tuple[int, int] = SIZE,
    share: float = 1.12,
) -> Made:
    """A subject of `share` of the frame's height that sways at up to `speed` pixels per frame."""
    rng = np.random.default_rng(seed)
    (height, width), (image, levels) = size, decode_pair(pair)
    alpha = (levels / 255).astype(np.float32)
    subject = estimate_foreground(image, alpha)
    behind = cover(background, (round(1.3 * height), round(1.3 * width)))
    frames, truth = [], []
    for number in range(count):
        sway = speed / (0.22 * width) * number
        turn = cv2.getRotationMatrix2D(
            (alpha.shape[1] / 2, alpha.shape[0]),
            4 * np.sin(0.9 * sway),
            share * height / alpha.shape[0] * (1 + 0.05 * np.sin(0.7 * sway)),
        )
        turn[:, 2] += width / 2 - alpha.shape[1] / 2 + 0.22 * width * np.sin(sway), 4
        turn[1, 2] += height - alpha.shape[0]
        true = cv2.warpAffine(alpha, turn, (width, height), flags=cv2.INTER_AREA)
        colour = cv2.warpAffine(subject, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
        top, left = round(0.15 * height), round((0.15 + 0.1 * np.sin(0.5 * sway)) * width)
        part = behind[top : top + height, left : left + width]
        mixed = true[:, :, None] * colour + (1 - true[:, :, None]) * part
        mixed = mixed * (1 + 0.06 * np.sin(0.35 * number)) + rng.normal(0, 3, mixed.shape)
        frames.append(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
        truth.append(np.clip(np.asarray(true, np.float32), 0, 1))
    return Made(compressed(frames), truth)


def compressed(frames: list[Image]) -> list[Image]:
    """The frames after H.264, as a camera would have stored them."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "23", "preset": "fast"})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as source:
        return [np.asarray(f.to_ndarray(format="rgb24"), np.uint8) for f in source.decode(video=0)]


def steady(looks: Iterable[Matte]) -> list[Matte]:
    return [matte for matte, _ in steadied((look, None) for look in looks)]


def alphas_of(found: Iterable[Matte]) -> list[Plane]:
    return [matte.alpha for matte in found]


def scores(alphas: list[Plane], truth: list[Plane]) -> tuple[float, float, float]:
    """Mean dtSSD, mean MAD, and mean alpha in the area where only ghosts have any."""
    both = list(zip(alphas, truth, strict=True))
    flicker = [dtssd(*now, *before) for before, now in pairwise(both)]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * GHOST + 1, 2 * GHOST + 1))
    ghosts = [
        alpha[cv2.dilate((true > 0.02).astype(np.uint8), disc) == 0].mean() for alpha, true in both
    ]
    return (
        float(np.mean(flicker)),
        float(np.mean([mad(*each) for each in both])),
        float(np.mean(ghosts)),
    )


def changes(frames: list[Image], alphas: list[Plane]) -> tuple[float, float]:
    """Change of alpha from frame to frame, along the flow and where the picture does not change."""
    flow_of = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    rows, columns = np.indices(alphas[0].shape, np.float32)
    along, still = [], []
    for (before, old), (now, new) in pairwise(zip(frames, alphas, strict=True)):
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (now, before)]
        flow = flow_of.calc(grey[0], grey[1], np.zeros((*new.shape, 2), np.float32))
        x, y = columns + flow[..., 0], rows + flow[..., 1]
        moved = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        taken = cv2.remap(old, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        along.append(root(new - taken, agree(now, np.asarray(moved))))
        still.append(root(new - old, agree(now, before)))
    return float(np.mean(along)), float(np.nanmean(still))


def agree(now: Image, before: Image) -> NDArray[np.bool_]:
    off = cv2.blur(cv2.absdiff(now, before).max(axis=2).astype(np.float32), (5, 5))
    return np.asarray(off < 6)


def root(change: Plane, where: NDArray[np.bool_]) -> float:
    return float(np.sqrt(np.mean(np.square(change[where]))))


def write_sheet(path: Path, found: list[Matte], every: int = 12) -> None:
    """Write rows of photo, alpha and subject over green for some of the frames."""
    rows = []
    for matte in found[::every]:
        grey = np.repeat(np.rint(255 * matte.alpha).astype(np.uint8)[:, :, None], 3, axis=2)
        rows.append(np.hstack([matte.image, grey, matte.over((0, 177, 64))]))
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
