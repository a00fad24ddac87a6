"""Error of estimated foreground colours: the old background left in a soft edge.

    pip install pymatting
    python benchmarks/foreground.py dev.tar background-00.tar [--every 5]

A subject of known colours is mixed with a background photo by a known alpha, and the colours are
estimated from the mix. The known colours are those of another dev photo (`other`, busier than real
subjects), or those that pymatting's multi-level solver, an implementation of the same paper at full
size, finds for the photo itself (`own`). The alpha is the network's, given exactly or, as no
estimate is exact, reduced to half the size and enlarged again (`rough`). For 0.02 < alpha < 0.98
the script prints the mean of alpha |estimate - true| in levels, for the photo's own pixels and for
the estimate, and the time.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from time import thread_time
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pymatting import estimate_foreground_ml

from latefusion import Predictor
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

SOFT = (0.02, 0.98)


class Mix(NamedTuple):
    """A photo of known colours."""

    kind: str
    image: NDArray[np.uint8]  # (H, W, 3), the mix
    alpha: NDArray[np.float32]  # (H, W), by which it was mixed
    given: NDArray[np.float32]  # (H, W), what the estimate is told
    colours: NDArray[np.float32]  # (H, W, 3), the subject's, range 0 to 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path, help="tar shard or folder of pairs")
    parser.add_argument("backgrounds", type=Path, help="tar shard or folder of photos")
    parser.add_argument("--every", type=int, default=5, help="of the pairs")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    left, seconds = defaultdict(list), []
    pairs = read_pairs([args.pairs], VAL_LIST)
    for mix in mixes(pairs, read_images([args.backgrounds]), args.every):
        start = thread_time()
        estimate = estimate_foreground(mix.image, mix.given)
        seconds.append(thread_time() - start)
        left[mix.kind].append([error(mix, mix.image), error(mix, estimate)])
    print("| colours, alpha | photo | estimate |")
    print("| --- | --- | --- |")
    for kind, errors in left.items():
        print("| {} | {:.2f} | {:.2f} |".format(kind, *np.mean(errors, axis=0)))
    print(f"\n{1000 * statistics.median(seconds):.1f} ms a photo on one core")


def mixes(pairs: list[Pair], backgrounds: list[Encoded], every: int) -> Iterator[Mix]:
    predictor = Predictor()
    for number in range(0, len(pairs), every):
        image, _ = decode_pair(pairs[number])
        alpha = predictor(image).alpha
        size = alpha.shape[0], alpha.shape[1]
        behind = cover(decode_image(backgrounds[number % len(backgrounds)]), size)
        other = cover(decode_pair(pairs[(number + len(pairs) // 2) % len(pairs)])[0], size)
        own = 255 * estimate_foreground_ml(image / 255, alpha.astype(np.float64))
        half = (size[0] + 1) // 2, (size[1] + 1) // 2
        rough = np.clip(resize(resize(alpha, half), size), 0, 1)
        for name, colours in (("own", np.clip(own, 0, 255)), ("other", other)):
            mixed = alpha[:, :, None] * colours + (1 - alpha[:, :, None]) * behind
            for kind, given in ((f"{name}, exact", alpha), (f"{name}, rough", rough)):
                photo = np.rint(mixed).astype(np.uint8)
                yield Mix(kind, photo, alpha, given, colours.astype(np.float32))


def error(mix: Mix, estimate: NDArray[np.uint8]) -> float:
    soft = (mix.alpha > SOFT[0]) & (mix.alpha < SOFT[1])
    off = np.abs(estimate[soft] - mix.colours[soft])
    return float((mix.alpha[soft][:, None] * off).mean())


if __name__ == "__main__":
    main()
