"""Folder runs on a disk that loses its power or is full for a while, by `forgetful-disk.c`."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from latefusion.cli import app

SHIM = Path(__file__).parents[1] / "files" / "forgetful-disk.c"
NAME = "manifest.jsonl"
PHOTOS = 60


def build(folder: Path) -> Path:
    """Compile the shim into a folder."""
    library = folder / "forgetful-disk.so"
    flags = ("-shared", "-fPIC", "-o", str(library), str(SHIM), "-ldl", "-lpthread")
    subprocess.run(["gcc", *flags], check=True)
    return library


class Change(NamedTuple):
    """A line of the journal: C, R, U, M or D, and what belongs to it."""

    what: str
    a: str
    b: str
    c: str


@dataclass(frozen=True)
class Run:
    """A run over the photos in `folder`, and its results in `folder/out`; repeatable."""

    library: Path
    model: Path
    folder: Path

    @property
    def out(self) -> Path:
        """The folder of the results."""
        return self.folder / "out"

    @property
    def words(self) -> list[str]:
        """The words of `latefusion matte --resume`."""
        words = ["matte", str(self.folder / "in"), "-r", "-o", str(self.out)]
        words += ["--model", str(self.model), "--resume", "--save", "cutout,alpha"]
        return [*words, "--threads", "2", "--size", "64"]

    def start(self) -> "subprocess.Popen[str]":
        """Start it on the forgetful disk."""
        shim = {
            "LD_PRELOAD": str(self.library),
            "DISK_ROOT": str(self.out),
            "DISK_JOURNAL": str(self.folder / "journal"),
            "DISK_KEPT": str(self.folder / "kept"),
            "DISK_FULL": str(self.folder / "full"),
        }
        (self.folder / "kept").mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "latefusion", *self.words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **shim},
        )

    def wait_for(self, process: "subprocess.Popen[str]", records: int) -> None:
        """Wait until the manifest has so many lines, or the run ends."""
        manifest = self.out / NAME
        while process.poll() is None:
            if manifest.exists() and manifest.read_bytes().count(b"\n") >= records:
                return
            time.sleep(0.002)

    def finish(self) -> str:
        """Run to the end in this process, on a disk that works; what it says on stderr."""
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # of lines of the manifest that were spoilt
            done = CliRunner().invoke(app, self.words)
        assert done.exit_code == 0, done.stderr
        return done.stderr


def write_photos(folder: Path, count: int = PHOTOS) -> None:
    """Photos of noise, all different, in three folders."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / "in" / f"{number % 3}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 50, 3), np.uint8)).save(path)


def results(out: Path) -> dict[str, bytes]:
    """All files below a folder but the manifest, hidden ones too."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != NAME}


def records(out: Path) -> list[dict[str, object]]:
    """The lines of the manifest that can be read."""
    lines = (out / NAME).read_bytes().replace(b"\0", b"\n").splitlines()
    return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]


def lies(out: Path) -> list[str]:
    """Results that a record calls done, and that are not whole."""
    found = []
    for record in records(out) if (out / NAME).exists() else []:
        names, digests = record["outputs"], record["digests"]
        assert isinstance(names, list)
        assert isinstance(digests, list)
        for name, digest in zip(names, digests, strict=True):
            path = out / name
            data = path.read_bytes() if path.exists() else b""
            if hashlib.sha256(data).hexdigest() != digest:
                found.append(name)
    return found


def cut_power(run: Run, rng: random.Random) -> None:
    """Undo some of what was not synced when the run was killed, as a power cut may."""
    journal = run.folder / "journal"
    lines = journal.read_bytes().decode().splitlines() if journal.exists() else []
    changes = [Change(*line.split("\0")) for line in lines]
    undone = _unsynced(changes, rng)
    for change in reversed(undone):
        _undo(change)
    sizes = {int(change.b): int(change.c) for change in changes if change.what == "S"}
    for path in run.out.rglob("*"):
        if path.is_file():
            _lose_tail(path, sizes, rng)
    journal.unlink(missing_ok=True)
    shutil.rmtree(run.folder / "kept")


def _unsynced(changes: list[Change], rng: random.Random) -> list[Change]:
    """The changes to undo: in each folder those after a random one that was not synced."""
    pending: dict[str, list[int]] = defaultdict(list)
    for number, change in enumerate(changes):
        if change.what == "D":
            pending.pop(change.a, None)
        elif change.what != "S":
            path = change.b if change.what == "R" else change.a
            pending[str(Path(path).parent)].append(number)
    gone = [number for each in pending.values() for number in each[rng.randint(0, len(each)) :]]
    return [changes[number] for number in sorted(gone)]


def _undo(change: Change) -> None:
    path = Path(change.a)
    if change.what == "R" and not path.exists() and Path(change.b).exists():
        Path(change.b).rename(path)
        if change.c:
            os.link(change.c, change.b)
    if change.what == "U" and change.b and not path.exists():
        os.link(change.b, path)
    if change.what == "C":
        path.unlink(missing_ok=True)
    if change.what == "M":
        shutil.rmtree(path, ignore_errors=True)


def _lose_tail(path: Path, sizes: Mapping[int, int], rng: random.Random) -> None:
    """Keep what was synced of a file; the rest is there, cut off anywhere, or NUL bytes."""
    found = path.stat()
    synced = min(sizes.get(found.st_ino, 0), found.st_size)
    kept = rng.randint(synced, found.st_size)
    os.truncate(path, kept)
    if rng.random() < 0.5:
        os.truncate(path, found.st_size)
