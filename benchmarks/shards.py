"""Time and memory to open tar shards and to read all pictures in them.

    python benchmarks/shards.py SHARDS...

Linux only. "cold" is after the kernel was advised to drop the files from its cache, which it may
ignore.
"""

import os
import random
import sys
from pathlib import Path
from time import perf_counter

from latefusion.data.members import Member, read_encoded
from latefusion.data.sources import Pair, read_pairs


def main() -> None:
    paths = [Path(word) for word in sys.argv[1:]]
    before, start = resident(), perf_counter()
    pairs = read_pairs(paths)
    seconds = perf_counter() - start
    print(f"opened: {len(pairs)} pairs, {seconds:.2f} s, {resident() - before:.1f} MiB")
    shuffled = random.Random(0).sample(pairs, len(pairs))
    for name, order in (("as they lie", sorted(pairs, key=place)), ("in random order", shuffled)):
        forget(pairs)
        print(f"read {name}: cold {read(order)}; warm {read(order)}")
    print(f"afterwards: {resident() - before:.1f} MiB")


def read(pairs: list[Pair]) -> str:
    start = perf_counter()
    size = sum(len(read_encoded(half)) for pair in pairs for half in (pair.image, pair.alpha))
    return f"{perf_counter() - start:.2f} s for {size / 1e6:.0f} MB"


def place(pair: Pair) -> tuple[Path, int]:
    assert isinstance(pair.image, Member), "a compressed shard is in memory as a whole"
    return pair.image.shard.path, pair.image.offset


def forget(pairs: list[Pair]) -> None:
    for path in {place(pair)[0] for pair in pairs}:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident() -> float:
    """The memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
