"""The whole road of docs/write-up.md, run as it stands there, with the time of each step.

python benchmarks/guide.py          # from the root of a clone; writes the folder road/
"""

import re
import subprocess
import sys
from pathlib import Path
from time import perf_counter

GUIDE = Path("docs/write-up.md")
STEP = re.compile(r"^<!-- road: (\w+) -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main() -> None:
    if Path("road").exists():
        sys.exit("road/ is there already; move it away")
    for name, commands in STEP.findall(GUIDE.read_text(encoding="utf-8")):
        start = perf_counter()
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], check=False)
        if done.returncode:
            sys.exit(f"{name} ended with {done.returncode}")
        print(f"== {name}: {perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
