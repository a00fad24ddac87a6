import subprocess
import sys

import pytest

PROGRAM = """
from pathlib import Path
from latefusion.images.memory import return_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

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


@pytest.mark.skipif(sys.platform != "linux", reason="for glibc")
def test_large_blocks_are_given_back_though_small_ones_stay_between_them() -> None:
    def left(call: str) -> float:
        program = PROGRAM.replace("CALL", call)
        run = [sys.executable, "-c", program]
        return float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)

    assert left("return_large_blocks()") < 20 < 100 < left("")
