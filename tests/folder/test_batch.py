import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latefusion import MattingOptions, Predictor
from latefusion.folder import batch
from latefusion.folder.batch import Batch, Done, run, workers_for
from latefusion.folder.jobs import Job, Wish, plan
from latefusion.folder.manifest import Manifest, Record


def photos(folder: Path, count: int) -> Path:
    """Small photos of noise, all different."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (30, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


@pytest.fixture
def made(toy_model: Path, tmp_path: Path) -> Batch:
    return Batch(Predictor(toy_model, threads=1), tmp_path / "out")


def records(batch: Batch, source: Path, workers: int = 2) -> dict[str, Record]:
    jobs = plan([source], Wish(["cutout", "alpha"], batch.root, recursive=True))
    found: list[Done] = []
    run(jobs, batch, found.append, workers)
    assert len({done.record.photo for done in found}) == len(found)
    return {done.record.photo: done.record for done in found}


def test_every_photo_is_done_once_and_said_so(made: Batch, tmp_path: Path) -> None:
    found = records(made, photos(tmp_path / "in", 9))
    assert sorted(found) == [f"{number:03}.png" for number in range(9)]
    assert len(list(made.root.iterdir())) == 18
    record = found["003.png"]
    assert record.outputs == ["003-cutout.png", "003-alpha.png"]
    assert (record.width, record.height, record.device, record.error) == (50, 30, "cpu", None)
    assert record.seconds
    assert record.confidence is not None


def test_results_do_not_depend_on_the_number_of_workers(made: Batch, tmp_path: Path) -> None:
    source = photos(tmp_path / "in", 6)
    records(made, source, workers=1)
    alone = {path.name: path.read_bytes() for path in made.root.iterdir()}
    records(made, source, workers=4)
    assert {path.name: path.read_bytes() for path in made.root.iterdir()} == alone


def test_a_bad_photo_is_a_record_and_the_rest_is_done(made: Batch, tmp_path: Path) -> None:
    source = photos(tmp_path / "in", 3)
    (source / "001.png").write_bytes(b"no photo")
    found = records(made, source)
    assert "is not an image" in (found["001.png"].error or "")
    assert [found[name].error for name in ("000.png", "002.png")] == [None, None]


def test_a_photo_without_memory_is_a_record(
    made: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **_names: object) -> None:
        raise MemoryError

    monkeypatch.setattr(batch, "read_photo", full)
    assert "does not fit" in (records(made, photos(tmp_path / "in", 1))["000.png"].error or "")


def test_a_bug_is_not_hidden(made: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **_names: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(batch, "read_photo", broken)
    with pytest.raises(ZeroDivisionError):
        records(made, photos(tmp_path / "in", 5))


def test_ctrl_c_ends_what_is_in_work_and_starts_nothing_else(made: Batch, tmp_path: Path) -> None:
    jobs = plan([photos(tmp_path / "in", 40)], Wish(["alpha"], made.root))
    told: list[str] = []

    def report(done: Done) -> None:
        told.append(done.record.photo)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(jobs, made, report, workers=2)
    written = {f"{path.name[:3]}.png" for path in made.root.iterdir()}
    assert set(told) == written
    assert 3 <= len(written) <= 8


def test_photos_are_taken_as_they_are_needed(made: Batch, tmp_path: Path) -> None:
    jobs = plan([photos(tmp_path / "in", 40)], Wish(["alpha"], made.root))
    taken = told = 0

    def counted() -> Iterator[Job]:
        nonlocal taken
        for job in jobs:
            taken += 1
            assert taken - told <= 4
            yield job

    def report(_: Done) -> None:
        nonlocal told
        told += 1

    run(counted(), made, report, workers=2)
    assert told == 40


def test_the_cores_are_shared_out() -> None:
    assert workers_for(1, None)[0] == 1
    assert workers_for(100, 2) == (2, 1)
    assert workers_for(100, 32) == (8, 4)
    assert workers_for(3, 2) == (1, 2)


def test_killed_and_gone_on_with(toy_model: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle; the second run does the rest, and only that."""
    source, out = photos(tmp_path / "in", 300), tmp_path / "out"
    command = [sys.executable, "-m", "latefusion", "matte", str(source), "-o", str(out)]
    command += ["--model", str(toy_model), "--save", "alpha", "--resume", "--threads", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    manifest = out / "manifest.jsonl"
    while not manifest.exists() or manifest.read_bytes().count(b"\n") < 40:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = manifest.read_bytes().count(b"\n")
    assert before < 300
    (out / ".latefusion-0123456789abcdef.part").write_bytes(b"half")

    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 300 - before
    assert f"{before} done before" in done.stderr
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert sorted(line["photo"] for line in lines) == sorted(os.listdir(source))  # noqa: PTH208
    outputs = [path for path in out.iterdir() if path != manifest]
    assert len(outputs) == 300
    for path in outputs:
        with Image.open(path) as alpha:
            alpha.load()
    with Manifest(manifest, resume=True) as again:
        assert all(record.error is None for record in again.records.values())


def test_a_wrong_point_is_that_photos_error(toy_model: Path, tmp_path: Path) -> None:
    source = photos(tmp_path / "in", 3)
    Image.new("RGB", (200, 200), (255, 255, 30)).save(source / "001.png")
    predictor = Predictor(toy_model, MattingOptions(subject=(120, 120)), threads=1)
    found = records(Batch(predictor, tmp_path / "out"), source)
    assert found["001.png"].error is None
    assert "000.png: the subject's point" in (found["000.png"].error or "")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
def test_a_pipe_in_a_folder_does_not_hang(made: Batch, tmp_path: Path) -> None:
    source = photos(tmp_path / "in", 1)
    os.mkfifo(source / "pipe.jpg")
    with Manifest(tmp_path / "manifest.jsonl") as manifest:
        found = records(replace(made, before=manifest), source)
    assert "is a pipe" in (found["pipe.jpg"].error or "")
