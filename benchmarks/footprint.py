"""Start-up time, memory for a huge photo and a long run, and time from file to file.

    python benchmarks/footprint.py dev.tar [--photos 500] [--json footprint.json]

Prints: seconds to import the package; `latefusion matte` from process start to file against the
work itself (decode, forward, cut-out, encode) for photos of several sizes; peak memory over the
model's own for a photo of 12,000 x 9,000; memory along a run of many photos; photos per second from
file to file. Each memory figure is of a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from PIL import Image

from latefusion import MattingOptions, Predictor
from latefusion.data.sources import VAL_LIST, decode_pair, read_pairs
from latefusion.images.writing import write_picture
from latefusion.inference.outputs import render

SAMPLE = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
HUGE = (12_000, 9_000)  # W x H
SIDES = (512, 1500, 3000, 4500)  # of the square photos whose start-up is measured
ROUNDS = 5


def main() -> None:
    args = arguments()
    if args.memory:
        print(json.dumps(memory(Path(args.memory[0]), args.memory[1])))
        return
    if args.growth:
        print(json.dumps(growth(args.pairs, args.photos)))
        return
    found: dict[str, Any] = {"import_s": import_seconds()}
    with TemporaryDirectory(prefix="latefusion-") as folder:
        found["start"] = [start_up(side, Path(folder)) for side in SIDES]
        huge = enlarged(HUGE, Path(folder))
        found["huge"] = {kind: of_process("--memory", huge, kind) for kind in ("alpha", "cutout")}
        found["path"] = path_seconds(args.pairs, Path(folder))
    found["growth"] = of_process("--growth", "--photos", args.photos, pairs=args.pairs)
    print(report(found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path, help="tar shard or folder of pairs")
    parser.add_argument("--photos", type=int, default=500, help="of the long run")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)  # photo, kind
    parser.add_argument("--growth", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def of_process(*words: object, pairs: Path = SAMPLE) -> Any:
    """The JSON output of this script with these arguments, run in a separate process."""
    command = [sys.executable, __file__, str(pairs), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def median_seconds(*works: Callable[[], object]) -> list[float]:
    """Median seconds of each function; they are called in turns."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, seconds in zip(works, times, strict=True):
            start = perf_counter()
            work()
            seconds.append(perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]


def import_seconds() -> float:
    code = "import time; t = time.perf_counter(); import latefusion; print(time.perf_counter() - t)"
    runs = [subprocess.check_output([sys.executable, "-c", code]) for _ in range(ROUNDS)]
    return statistics.median(map(float, runs))


def enlarged(size: tuple[int, int], folder: Path) -> Path:
    """The sample photo at another size, as JPEG."""
    path = folder / f"{size[0]}x{size[1]}.jpg"
    with Image.open(SAMPLE) as photo:
        photo.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    return path


def start_up(side: int, folder: Path) -> dict[str, float]:
    """Seconds from process start to file, and of the work alone, for a square photo."""
    photo, out = enlarged((side, side), folder), folder / "out.png"
    command = [sys.executable, "-m", "latefusion", "matte", str(photo), "-o", str(out)]
    predictor = Predictor(options=MattingOptions(framing="whole"))
    predictor(photo)
    process, work = median_seconds(
        lambda: subprocess.run(command, check=True, capture_output=True),
        lambda: write_picture(out, render(predictor(photo), "cutout")),
    )
    return {"side": side, "process_s": process, "work_s": work, "ratio": process / work}


def memory(photo: Path, kind: str) -> dict[str, float]:
    """Peak memory of one photo to one file over that of the loaded model, in MB."""
    predictor = Predictor(options=MattingOptions(framing="whole"), threads=2)
    predictor(SAMPLE)
    before = status("VmHWM")
    with TemporaryDirectory(prefix="latefusion-") as folder:
        start = perf_counter()
        write_picture(Path(folder) / "out.png", render(predictor(photo), kind))
    return {"model_mb": before, "more_mb": status("VmHWM") - before, "s": perf_counter() - start}


def growth(pairs: Path, count: int) -> list[float]:
    """Memory in MB after each tenth of a run over `count` photos."""
    photos = [decode_pair(pair)[0] for pair in read_pairs([pairs], VAL_LIST)[:50]]
    predictor, held = Predictor(options=MattingOptions(framing="whole"), threads=2), []
    for i in range(count):
        render(predictor(photos[i % len(photos)]), "cutout")
        if (i + 1) % max(1, count // 10) == 0:
            held.append(status("VmRSS"))
    return held


def path_seconds(pairs: Path, folder: Path) -> dict[str, float]:
    """Seconds per photo from JPEG to PNG, for alpha and for the cut-out."""
    files = []
    for i, pair in enumerate(read_pairs([pairs], VAL_LIST)[::10]):
        files.append(folder / f"{i}.jpg")
        Image.fromarray(decode_pair(pair)[0]).save(files[-1], quality=92)
    predictor = Predictor(options=MattingOptions(framing="whole"), threads=2)
    predictor(files[0])
    found = {}
    for kind in ("alpha", "cutout"):
        start = perf_counter()
        for file in files:
            write_picture(folder / "out.png", render(predictor(file), kind))
        found[kind] = (perf_counter() - start) / len(files)
    return found


def status(entry: str) -> float:
    """A value of this process's status in MB: VmHWM is its peak memory, VmRSS the current one."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{entry}:")[1].split()[0]) / 1024


def report(found: dict[str, Any]) -> str:
    """The figures as text and tables."""
    held = found["growth"]
    lines = [f"import latefusion: {found['import_s']:.2f} s", ""]
    lines += ["| photo | process s | work s | ratio |", "| --- " * 4 + "|"]
    lines += [
        f"| {row['side']} x {row['side']} | {row['process_s']:.2f} | {row['work_s']:.2f} |"
        f" {row['ratio']:.2f} |"
        for row in found["start"]
    ]
    lines += ["", "| 12,000 x 9,000 | MB over the model's own | s |", "| --- " * 3 + "|"]
    lines += [
        f"| {kind} | {row['more_mb']:.0f} | {row['s']:.1f} |" for kind, row in found["huge"].items()
    ]
    tenths = ", ".join(f"{mb:.0f}" for mb in held)
    lines += ["", f"memory held along the run, in MB: {tenths}"]
    path = ", ".join(f"{kind} {1 / s:.2f}" for kind, s in found["path"].items())
    return "\n".join([*lines, f"photos a second from file to file: {path}"])


if __name__ == "__main__":
    main()
