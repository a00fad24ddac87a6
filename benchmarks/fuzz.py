"""Mutated photos through the reader: pixels or one clear line, never a traceback or a hang.

    python benchmarks/fuzz.py [--cases 20000] [--seed 0]

Each case takes a small JPEG, PNG, WebP, TIFF, GIF, BMP or AVIF, changes bytes, cuts, doubles or
removes parts of it, and reads it with a time limit. A case is made anew from its number. The exit
code is 1 where any case raised something else than ImageError, or took too long.
"""

import argparse
import signal
import sys
import traceback
import warnings
from collections import Counter
from pathlib import Path
from time import perf_counter
from types import FrameType

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import corpus
from latefusion.errors import ImageError
from latefusion.reading import read_photo

FORMATS = {".jpg": 6, ".png": 6, ".webp": 6, ".tiff": 1, ".gif": 1, ".bmp": 1, ".avif": 1}
LIMIT_S = 10


class TooSlow(BaseException):
    """A case that took longer than the limit; no except clause of a decoder may catch it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow's, about what is odd in a file
    signal.signal(signal.SIGALRM, too_slow)
    seeds = by_format()
    found: Counter[str] = Counter()
    slowest, failed = (0.0, ""), 0
    for case in range(args.cases):
        name, data = mutant(seeds, args.seed, case)
        start = perf_counter()
        signal.alarm(LIMIT_S)
        try:
            read_photo(data)
            found[f"{name}: pixels"] += 1
        except ImageError as error:
            lines = str(error).count("\n") + 1
            found[f"{name}: one line" if lines == 1 else "SEVERAL LINES"] += 1
            failed += lines > 1
        except (Exception, TooSlow):  # noqa: BLE001 - which is what is looked for
            failed += 1
            print(f"case {case} ({name}, {len(data)} bytes)\n{traceback.format_exc()}")
        finally:
            signal.alarm(0)
        slowest = max(slowest, (perf_counter() - start, f"case {case}, {name}"))
    for what, count in sorted(found.items()):
        print(f"{what:<20} {count}")
    print(
        f"{args.cases} cases, {failed} failed; the slowest took {slowest[0]:.2f} s ({slowest[1]})"
    )
    sys.exit(failed > 0)


def too_slow(_: int, __: FrameType | None) -> None:
    raise TooSlow


def by_format() -> list[tuple[str, list[bytes]]]:
    """Format -> its files in the corpus; often used formats several times."""
    cases: list[corpus.Good | corpus.Bad] = [*corpus.good(), *corpus.bad()]
    return [
        (suffix, [case.data for case in cases if case.name.endswith(suffix) and case.data])
        for suffix, weight in FORMATS.items()
        for _ in range(weight)
    ]


def mutant(seeds: list[tuple[str, list[bytes]]], seed: int, case: int) -> tuple[str, bytes]:
    """The file of a case, and its format."""
    rng = np.random.default_rng((seed, case))
    name, files = seeds[rng.integers(len(seeds))]
    data = bytearray(files[rng.integers(len(files))])
    for _ in range(1 + rng.integers(4)):
        where, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
        kind = rng.integers(12)
        if kind == 0:
            data = data[: where + 1]
        elif kind == 1:
            data[where:where] = data[where : where + length]
        elif kind == 2 and where:
            del data[where : where + length]
        elif kind == 3:
            data[where : where + length] = rng.bytes(length)
        else:  # one byte, often near the head, where the sizes are
            data[where % 200 if kind < 8 and where % 200 < len(data) else where] = rng.integers(256)
    return name, bytes(data)


if __name__ == "__main__":
    main()
