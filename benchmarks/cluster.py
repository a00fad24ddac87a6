"""Folder mode on Ray against the local one: overhead, dying workers, nodes and jobs, S3.

    python benchmarks/cluster.py dev.tar [--photos 400] [--only overhead,store]

The folder holds the photos of the pairs, repeated under other names. Results are cut-outs by the
default network with all defaults. In every part each output must exist once and be equal, byte for
byte, to that of the local mode. The parts are:

- overhead: whole commands with start-up, in turns, on a Ray that the command starts and on a
  cluster of one node that runs already;
- killed: two nodes of one core each as separate processes; SIGKILL for a worker half-way, and in
  another run for a whole node;
- resumed: SIGKILL for the job half-way, then --resume;
- store: photos and results in moto's S3, of whose answers every seventh fails, also from a tar and
  into tars;
- memory: of the job and the workers, early and late in the run;
- ceiling: groups per second that one job hands out and takes back, with photos of 8 x 8 and a
  trivial network, all on the same cores;
- listing: memory for listing a folder of the store.
"""

import argparse
import ast
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import IO, TypeAlias

import fsspec
from folder import fill
from PIL import Image

from latefusion.cli.ray import FILES_A_GROUP
from latefusion.cluster.ledger import PARTS
from latefusion.data.sources import VAL_LIST, read_pairs
from latefusion.folder.manifest import NAME

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.helpers.clusters import (  # noqa: E402
    ENVIRONMENT,
    free_port,
    kill,
    ray_cluster,
    started,
    workers,
)
from tests.helpers.toy_model import write_toy_model  # noqa: E402

ROUNDS = 3
EVERY = 7  # of the store's answers one fails
KEYS = 20_000
Process: TypeAlias = "subprocess.Popen[bytes]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path, help="tar shard or folder of pairs")
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--only", default=",".join(PARTS_OF_IT))
    args = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    with TemporaryDirectory(prefix="latefusion-") as name:
        folder = Path(name)
        source = fill(folder / "photos", read_pairs([args.pairs], VAL_LIST), args.photos)
        run(source, folder / "plain")
        for part in args.only.split(","):
            for line in PARTS_OF_IT[part](source, folder):
                print(line, flush=True)


def start(source: object, out: object, *more: str) -> Process:
    command = [sys.executable, "-m", "latefusion", "matte", str(source), "-o", str(out)]
    return subprocess.Popen(
        [*command, *more], stdout=subprocess.DEVNULL, stderr=sys.stderr, start_new_session=True
    )


def run(source: object, out: object, *more: str) -> float:
    """Seconds of a whole command, which must succeed."""
    begin = perf_counter()
    code = start(source, out, *more).wait()
    assert code == 0, code
    return perf_counter() - begin


def overhead(source: Path, folder: Path) -> list[str]:
    photos = len(list(source.iterdir()))
    seconds: dict[str, list[float]] = {"plain": [], "own": [], "there": []}
    for turn in range(ROUNDS):
        seconds["plain"].append(run(source, folder / f"plain{turn}"))
        seconds["own"].append(run(source, folder / f"own{turn}", "--engine", "ray"))
        with ray_cluster([os.cpu_count() or 1], folder) as (address, _):
            cluster = ("--engine", "ray", "--address", address)
            seconds["there"].append(run(source, folder / f"there{turn}", *cluster))
        for name in seconds:
            check(folder / f"{name}{turn}", folder / "plain")
    lines = []
    for name, text in (("own", "a Ray of its own"), ("there", "a cluster that is there")):
        pairs = list(zip(seconds["plain"], seconds[name], strict=True))
        ratio = median(plain / ray for plain, ray in pairs)
        rates = " ".join(f"{photos / plain:.2f}:{photos / ray:.2f}" for plain, ray in pairs)
        lines.append(
            f"{photos} photos, one node, {text}: {ratio:.2f} of the plain mode's throughput"
            f" (photos a second, plain:Ray, {rates})"
        )
    return lines


def killed(source: Path, folder: Path) -> list[str]:
    """Report on runs in which a worker, and then a node, dies half-way."""
    lines = []
    for what in ("node", "worker"):
        out = folder / f"killed-{what}"
        with ray_cluster([1, 1], folder) as (address, nodes):
            job = start(source, out, "--engine", "ray", "--address", address)
            done = half_way(job, source, out)
            if what == "worker":
                os.kill(workers(nodes)[0], signal.SIGKILL)
            else:
                kill(nodes[1])
            assert job.wait() == 0
        check(out, folder / "plain")
        lines.append(
            f"two nodes, a {what} killed with {done} of {len(list(source.iterdir()))} photos"
            " committed: all outputs, each once, equal byte for byte"
        )
    return lines


def resumed(source: Path, folder: Path) -> list[str]:
    out = folder / "resumed"
    with ray_cluster([1, 1], folder) as (address, nodes):
        cluster = ("--engine", "ray", "--address", address)
        job = start(source, out, *cluster)
        half_way(job, source, out)
        kill(job)
        wait(lambda: not workers(nodes))
        done = committed(out)
        before = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
        run(source, out, *cluster, "--resume")
    kept = sum(path.stat().st_mtime_ns == changed for path, changed in before.items())
    check(out, folder / "plain")
    return [
        f"two nodes, the job killed with {done} photos committed and {len(before)} written; gone on"
        f" with: {kept} left as they were, all outputs, each once, equal byte for byte"
    ]


def store(source: Path, folder: Path) -> list[str]:
    """Report on runs with photos and results in an object store that sometimes fails."""
    with s3(folder, EVERY) as port:
        return _store(source, folder, port)


@contextmanager
def s3(folder: Path, every: int) -> Iterator[int]:
    """Run a store in which a fixed share of the answers fails; yields its port."""
    port = free_port()
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_DEFAULT_REGION="us-east-1",
    )
    log = folder / "store.log"
    script = str(ROOT / "tests" / "helpers" / "s3_server.py")
    server = started([sys.executable, script, str(port), str(every)], dict(os.environ), log)
    try:
        wait(lambda: b"Running on" in log.read_bytes())
        yield port
    finally:
        kill(server)


def _store(source: Path, folder: Path, port: int) -> list[str]:
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    fs.mkdir("photos")
    shard = BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as tar:
        for path in sorted(source.iterdir()):
            fs.pipe_file(f"photos/in/{path.name}", path.read_bytes())
            tar.add(path, path.name)
    fs.pipe_file("photos/shards/all.tar", shard.getvalue())
    before = failures(port)
    expected = outputs(folder / "plain")
    lines = []
    with ray_cluster([1, 1], folder) as (address, _):
        cluster = ("--engine", "ray", "--address", address)
        seconds = run("s3://photos/in", "s3://photos/out", *cluster)
        names = [name for name in fs.find("photos/out") if name.endswith(".png")]
        found = {name.rpartition("/")[2]: fs.cat_file(name) for name in names}
        assert found == expected, set(found) ^ set(expected)
        assert len(fs.cat_file(f"photos/out/{NAME}").splitlines()) == len(expected)
        now = failures(port)
        wrong = {kind: now[kind] - before[kind] for kind in now}
        lines.append(
            f"S3 to S3: {len(found)} photos in {seconds:.0f} s, {wrong} answers: all outputs,"
            " each once, equal byte for byte"
        )
        seconds = run("s3://photos/shards/*.tar", "s3://photos/tars", *cluster, "--into", "tar")
        found = {}
        tars = [name for name in fs.find("photos/tars") if name.endswith(".tar")]
        for name in tars:
            with tarfile.open(fileobj=BytesIO(fs.cat_file(name))) as tar:
                for member in tar:
                    found[member.name.removeprefix("all/")] = content(tar, member)
        assert found == expected, set(found) ^ set(expected)
        wrong = {kind: count - now[kind] for kind, count in failures(port).items()}
        lines.append(
            f"S3, a tar into {len(tars)} tars: {len(found)} photos in {seconds:.0f} s, {wrong}"
            " answers: all outputs, each once, equal byte for byte"
        )
    return lines


def memory(source: Path, folder: Path) -> list[str]:
    """Report the memory of the job and of Ray's processes, including the object store."""
    out = folder / "memory"
    with ray_cluster([os.cpu_count() or 1], folder) as (address, nodes):
        job = start(source, out, "--engine", "ray", "--address", address)
        held = []
        for tenths in (2, 9):
            wait(partial(reached, out, len(list(source.iterdir())) * tenths // 10))
            held.append([resident(job.pid), *map(resident, workers(nodes))])
        assert job.wait() == 0
    told = [
        f"the job {first:.0f}, workers {', '.join(f'{each:.0f}' for each in rest)}"
        for first, *rest in held
    ]
    return [f"memory in MB: with a fifth done {told[0]}; with nine tenths {told[1]}"]


def ceiling(source: Path, folder: Path) -> list[str]:
    """Report the rate of tiny photos from two runs with the same start-up."""
    model = write_toy_model(folder)
    options = ("--model", str(model), "--refine", "off", "--framing", "whole", "--save", "alpha")
    seconds = {}
    with ray_cluster([os.cpu_count() or 1], folder) as (address, _):
        cluster = ("--engine", "ray", "--address", address, *options)
        for photos in (800, 4000):
            tiny = folder / f"tiny{photos}"
            tiny.mkdir()
            for number in range(photos):
                Image.new("RGB", (8, 8), (number % 256, 0, 0)).save(tiny / f"{number:06}.png")
            seconds[photos] = run(tiny, folder / f"tiny-out{photos}", *cluster)
    few, many = seconds
    rate = (many - few) / (seconds[many] - seconds[few])
    return [
        f"photos of 8 x 8 and next to no network: {rate:.0f} photos a second,"
        f" {rate / FILES_A_GROUP:.0f} groups ({many} in {seconds[many]:.1f} s, {few} in"
        f" {seconds[few]:.1f} s)"
    ]


def listing(source: Path, folder: Path) -> list[str]:
    with s3(folder, every=0):
        fs = fsspec.filesystem("s3")
        fs.mkdir("many")
        fs.pipe({f"many/in/{number:012}.jpg": b"" for number in range(KEYS)})
        found = [
            json.loads(subprocess.check_output([sys.executable, "-c", LIST.format(folder)]))
            for folder in ("empty", "in")
        ]
    (_, none, without), (seconds, listed, peak) = found
    assert (none, listed) == (0, KEYS)
    held = 1024 * (peak - without) / KEYS
    return [f"a folder of {KEYS} objects: listed in {seconds:.1f} s, {held:.0f} bytes each at most"]


LIST = """
import json, time
from pathlib import Path
from latefusion.cluster.storage import Storage
begin = time.perf_counter()
found = len(Storage("s3://many/{}").entries())
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
print(json.dumps([time.perf_counter() - begin, found, peak]))
"""


def content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream: IO[bytes] | None = tar.extractfile(member)
    assert stream
    return stream.read()


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".png"}


def check(out: Path, plain: Path) -> None:
    """Check for the same files and bytes, no partial file, and a record per photo."""
    assert {path.name for path in out.iterdir()} == {path.name for path in plain.iterdir()}
    assert outputs(out) == outputs(plain)
    lines = (out / NAME).read_bytes().splitlines()
    assert len(lines) == len({json.loads(line)["photo"] for line in lines}) == len(outputs(plain))


def half_way(job: Process, source: Path, out: Path) -> int:
    """Wait until half of the photos are committed and return their number."""
    half = len(list(source.iterdir())) // 2
    wait(lambda: committed(out) >= half or job.poll() is not None)
    assert job.poll() is None, "it ended too early"
    return committed(out)


def reached(out: Path, photos: int) -> bool:
    return committed(out) >= photos


def committed(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (out / PARTS).glob("*.jsonl"))


def failures(port: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_failures") as answer:
        found: dict[str, int] = ast.literal_eval(answer.read().decode())
        return found


def resident(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def wait(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not true():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


PARTS_OF_IT: dict[str, Callable[[Path, Path], list[str]]] = {
    "overhead": overhead,
    "killed": killed,
    "resumed": resumed,
    "store": store,
    "memory": memory,
    "ceiling": ceiling,
    "listing": listing,
}

if __name__ == "__main__":
    main()
