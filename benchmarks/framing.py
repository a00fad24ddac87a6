"""Effect of the closer look on small subjects, and on dev photos, which it must not harm.

    python benchmarks/framing.py dev.tar background-00.tar [--every 5]

No dev photo shows its subject smaller than two thirds of its height, so small ones are composited:
every n-th dev subject, in its own colours and with its true alpha, on a background photo k times as
high and wide as the subject's photo. A cut edge stays at the scene's edge. The script prints the
mean and median MAD of the whole view alone and with the closer look, the largest growth on any
photo, the number of photos with a closer look, and the time. Then come rotated photos, with and
without --rotate-search, and all upright ones, of which none may be rotated.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from latefusion import MattingOptions, Predictor
from latefusion.data.members import Encoded
from latefusion.data.sources import (
    VAL_LIST,
    Pair,
    decode_image,
    decode_pair,
    read_images,
    read_pairs,
)
from latefusion.images.foreground import estimate_foreground
from latefusion.images.framing import cover, resize
from latefusion.metrics import mad

FACTORS = (1.5, 2.0, 3.0, 4.0)

Example = tuple[NDArray[np.uint8], NDArray[np.float32]]  # photo and true alpha


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path, help="tar shard or folder of pairs")
    parser.add_argument(
        "backgrounds", type=Path, help="tar shard or folder of photos without people"
    )
    parser.add_argument("--every", type=int, default=5, help="of the pairs, for small subjects")
    args = parser.parse_args()
    pairs = read_pairs([args.pairs], VAL_LIST)
    backgrounds = read_images([args.backgrounds])
    print(
        "| photos | MAD whole | auto | median whole | auto | worst growth | closer look | x time |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for factor in FACTORS:
        scenes = small_subjects(pairs[:: args.every], backgrounds, factor)
        row(f"subjects 1 / {factor:g}", scenes)
    row("dev as it is", (as_example(pair) for pair in pairs))
    print("\n| turned by | MAD | with --rotate-search | another turn taken |")
    print("| --- | --- | --- | --- |")
    for turns in range(4):
        turned(pairs[:: args.every if turns else 1], turns)


def as_example(pair: Pair) -> Example:
    image, truth = decode_pair(pair)
    return image, (truth / 255).astype(np.float32)


def small_subjects(
    pairs: Sequence[Pair], backgrounds: Sequence[Encoded], factor: float
) -> Iterator[Example]:
    """Scenes `factor` times as large; the subject is at the lower edge, or anywhere if whole."""
    rng = np.random.default_rng(0)
    for number, pair in enumerate(pairs):
        image, alpha = as_example(pair)
        subject = estimate_foreground(image, alpha)
        shrink = factor**-0.5  # so that the scene's pixels grow by the factor only
        height, width = (round(length * shrink) for length in alpha.shape)
        alpha, subject = resize(alpha, (height, width)), resize(subject, (height, width))
        size = round(factor * height), round(factor * width)
        scene = cover(decode_image(backgrounds[7 * number % len(backgrounds)]), size)
        cut = alpha[-1].max() > 0.5
        top = size[0] - height if cut else int(rng.integers(size[0] - height + 1))
        left = int(rng.integers(size[1] - width + 1))
        place = slice(top, top + height), slice(left, left + width)
        truth = np.zeros(size, np.float32)
        truth[place] = alpha
        mixed = alpha[:, :, None] * subject + (1 - alpha[:, :, None]) * scene[place]
        scene[place] = np.rint(mixed)
        yield scene, truth


def row(name: str, examples: Iterable[Example]) -> None:
    """Print a row of the table."""
    predictors = [Predictor(options=MattingOptions(framing="whole")), Predictor()]
    errors: list[list[float]] = [[], []]
    seconds, closer = [0.0, 0.0], 0
    for number, (image, truth) in enumerate(examples):
        for which in (number % 2, 1 - number % 2):
            start = perf_counter()
            found = predictors[which](image)
            seconds[which] += perf_counter() - start
            errors[which].append(mad(found.alpha, truth))
            closer += bool(found.details)
    whole, auto = np.array(errors)
    print(
        f"| {len(whole)} {name} | {whole.mean():.4f} | {auto.mean():.4f} | {np.median(whole):.4f}"
        f" | {np.median(auto):.4f} | {(auto - whole).max():.4f} | {closer / len(whole):.0%}"
        f" | {seconds[1] / seconds[0]:.2f} |",
        flush=True,
    )


def turned(pairs: Sequence[Pair], turns: int) -> None:
    """Print a row of the table of photos rotated by a number of quarter turns."""
    plain, searching = Predictor(), Predictor(options=MattingOptions(rotate_search=True))
    errors, other = [], 0
    for pair in pairs:
        upright, alpha = as_example(pair)
        image, truth = np.rot90(upright, turns).copy(), np.rot90(alpha, turns).copy()
        once, searched = plain(image).alpha, searching(image).alpha
        errors.append((mad(once, truth), mad(searched, truth)))
        other += not np.array_equal(once, searched)
    before, after = np.mean(errors, axis=0)
    print(f"| {90 * turns} | {before:.4f} | {after:.4f} | {other} of {len(pairs)} |", flush=True)


if __name__ == "__main__":
    main()
