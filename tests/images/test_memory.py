import subprocess
import sys

import pytest

HEAD = """
from pathlib import Path
from latefusion.images.memory import return_free_blocks, return_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

"""
LARGE_BLOCKS = """
CALL
del_first = bytearray(30_000_000)
del del_first  # from now on glibc would keep blocks up to that size
before, kept = resident(), []
blocks = []
for _ in range(20):
    blocks.append(bytearray(12_000_000))
    kept.append(bytearray(100_000))
blocks.clear()
print(resident() - before)
"""

HOLES = """
return_large_blocks()
before, kept, blocks = resident(), [], []
for _ in range(20):
    blocks.append(bytearray(5_000_000))
    kept.append(bytearray(100_000))
blocks.clear()
CALL
print(resident() - before)
"""


def left(program: str, call: str) -> float:
    """Megabytes that the program has left over."""
    run = [sys.executable, "-c", HEAD + program.replace("CALL", call)]
    return float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="for glibc")
def test_large_blocks_are_given_back_though_small_ones_stay_between_them() -> None:
    assert left(LARGE_BLOCKS, "return_large_blocks()") < 20 < 100 < left(LARGE_BLOCKS, "")


@pytest.mark.skipif(sys.platform != "linux", reason="for glibc")
def test_holes_between_blocks_in_use_are_given_back_when_asked() -> None:
    assert left(HOLES, "return_free_blocks()") < 20 < 80 < left(HOLES, "")
