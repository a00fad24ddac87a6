"""Folder mode: throughput against the network alone, memory, and a kill half-way.

    python benchmarks/folder.py dev.tar [--photos 500]

The folder holds the dev photos, repeated under other names. Throughput compares the folder mode
with the network alone on the same inputs in memory, in turns, without start-up; both share out the
cores as the command does, and both use framing `whole`, so that the network runs once per photo,
with --refine off and by default. Memory is that of the process early in a run and at its end. Kill
is SIGKILL half-way, then --resume; every output must exist once and be complete.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import cv2
import numpy as np
from PIL import Image

from latefusion import MattingOptions, Predictor
from latefusion.data.members import read_encoded
from latefusion.data.sources import VAL_LIST, Pair, read_pairs
from latefusion.folder.batch import Batch, Done, run, workers_for
from latefusion.folder.jobs import Wish, plan
from latefusion.folder.manifest import NAME
from latefusion.images.reading import read_photo
from latefusion.inference.options import CLOSED_FORM, OFF, WHOLE, Refinement

SAMPLE = 64  # photos of a round of throughput
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path, help="tar shard or folder of pairs")
    parser.add_argument("--photos", type=int, default=500)
    args = parser.parse_args()
    with TemporaryDirectory(prefix="latefusion-") as folder:
        source = fill(Path(folder) / "photos", read_pairs([args.pairs], VAL_LIST), args.photos)
        rounds: tuple[tuple[str, Refinement], ...]
        rounds = (("alpha", OFF), ("cutout", OFF), ("cutout", CLOSED_FORM))
        for kind, refine in rounds:
            print(throughput(source, kind, refine, Path(folder)), flush=True)
        print(killed_and_resumed(source, args.photos, Path(folder) / "out"))


def fill(folder: Path, pairs: list[Pair], photos: int) -> Path:
    folder.mkdir()
    for number in range(photos):
        data = read_encoded(pairs[number % len(pairs)].image)
        (folder / f"{number:04}.jpg").write_bytes(data)
    return folder


def throughput(source: Path, kind: str, refine: Refinement, folder: Path) -> str:
    """Report photos per second of the folder mode and of the network alone."""
    workers, threads = workers_for(SAMPLE, None)
    cv2.setNumThreads(1)
    predictor = Predictor(options=MattingOptions(framing=WHOLE, refine=refine), threads=threads)
    network = predictor.file.load()
    jobs = plan([source], Wish([kind], folder / kind))
    jobs = jobs[:: max(1, len(jobs) // SAMPLE)][:SAMPLE]
    inputs = [as_input(predictor, job.photo) for job in jobs]
    batch = Batch(predictor, folder / kind)
    rates: dict[str, list[float]] = {"folder": [], "forward": []}
    for turn in range(ROUNDS + 1):  # the first one warms up
        start = perf_counter()
        found: list[Done] = []
        run(jobs, batch, found.append, workers)
        whole = perf_counter() - start
        assert all(done.record.error is None for done in found)
        start = perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(network, inputs))
        alone = perf_counter() - start
        if turn:
            rates["folder"].append(len(jobs) / whole)
            rates["forward"].append(len(jobs) / alone)
    ratio = statistics.median(a / b for a, b in zip(*rates.values(), strict=True))
    both = (statistics.median(rates[name]) for name in rates)
    return "{}, --refine {}: {:.2f} photos a second, the network alone {:.2f}: {:.2f} of it".format(
        kind, refine, *both, ratio
    )


def as_input(predictor: Predictor, photo: Path) -> np.ndarray:
    image = read_photo(photo).image
    pixels = predictor.model.frame((image.shape[0], image.shape[1])).fit(image)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def killed_and_resumed(source: Path, photos: int, out: Path) -> str:
    """Kill a run half-way and resume it; memory is that of the second run, from start to end."""
    command = [sys.executable, "-m", "latefusion", "matte", str(source), "-o", str(out), "--resume"]
    manifest = out / NAME
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(manifest, photos // 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(manifest.read_bytes().splitlines())
    parts = len(list(out.glob(".latefusion-*")))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    held = [memory_at(manifest, before + done, process) for done in (50, photos - before - 5)]
    assert process.wait() == 0
    records = [json.loads(line) for line in manifest.read_text().splitlines()]
    names = [record["photo"] for record in records]
    assert sorted(names) == sorted(path.name for path in source.iterdir())
    outputs = [path for path in out.iterdir() if path != manifest]
    assert len(outputs) == photos
    for path in outputs:
        with Image.open(path) as image:
            image.load()
    return (
        f"killed after {before} of {photos}, {parts} of them half-written; gone on with: {photos}"
        f" outputs, each once and whole, {len(records)} records. Memory, MB: {held[0]:.0f} after"
        f" the first 50 of the second run, {held[1]:.0f} before its end"
    )


def wait_for(manifest: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    while not manifest.exists() or manifest.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, "it ended too early"
        time.sleep(0.02)


def memory_at(manifest: Path, lines: int, process: subprocess.Popen[bytes]) -> float:
    wait_for(manifest, lines, process)
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
