"""`latefusion matte --engine ray` on a real cluster of two nodes; workers and jobs die."""

import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from latefusion.cli import app
from latefusion.cluster.ledger import PARTS
from latefusion.folder.manifest import NAME, Record
from tests.helpers.clusters import (
    ENVIRONMENT,
    free_port,
    kill,
    ray_cluster,
    started,
    wait_until,
    workers,
)
from tests.helpers.toy_model import write_toy_model

PHOTOS = 96
EVERY = 5  # of the store's answers one fails


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which s3:// is a server on this machine that fails now and then."""
    port = free_port()
    log = tmp_path_factory.mktemp("s3") / "log"
    script = Path(__file__).parents[1] / "helpers" / "s3_server.py"
    server = started([sys.executable, str(script), str(port), str(EVERY)], dict(os.environ), log)
    try:
        wait_until(lambda: b"Running on" in log.read_bytes())
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        kill(server)


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, store: dict[str, str]
) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    with ray_cluster([1, 1], tmp_path_factory.mktemp("ray"), store) as found:
        yield found


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        path = folder / f"{number % 7}" / f"{number:03}.jpg"
        path.parent.mkdir(exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        coarse.resize((200, 150)).save(path)
    (folder / "3" / "bad.jpg").write_bytes(b"no photo")
    return folder


Job = "subprocess.Popen[bytes]"


def start(source: object, out: object, model: Path, address: str | None, *more: str) -> Any:
    engine = ["--engine", "ray", "--address", address] if address else []
    command = [sys.executable, "-m", "latefusion", "matte", str(source), "-o", str(out), "-r"]
    command += ["--refine", "off"]  # all of the photos is outline
    return subprocess.Popen(
        [*command, *engine, "--model", str(model), *more],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def ended(job: Any) -> tuple[int, list[str], list[str]]:
    out, err = job.communicate(timeout=180)
    return job.returncode, out.decode().splitlines(), err.decode().splitlines()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def here(photos: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one machine."""
    out = tmp_path_factory.mktemp("here")
    code, _, err = ended(start(photos, out, model, None))
    assert code == 1, err
    return out


def results(folder: Path) -> dict[str, bytes]:
    """All files below a folder, but for the manifest; hidden and half-written ones, too."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    assert not any(name.startswith(PARTS) for name in files)
    return {
        name: path.read_bytes()
        for name, path in files.items()
        if path.is_file() and path.name != NAME
    }


def records(text: bytes) -> dict[str, dict[str, Any]]:
    """Records by photo, less what differs from run to run; each photo has one."""
    lines = [json.loads(line) for line in text.splitlines()]
    found = {line["photo"]: line | {"seconds": None} for line in lines}
    assert len(found) == len(lines)
    assert all(set(line) == {field.name for field in fields(Record)} for line in lines)
    return found


def assert_same(out: Path, here: Path) -> None:
    assert results(out) == results(here)
    assert records((out / NAME).read_bytes()) == records((here / NAME).read_bytes())


def committed(out: Path) -> int:
    """The number of groups that are done; the part of one that is begun may be there, empty."""
    return sum(path.stat().st_size > 0 for path in (out / PARTS).glob("*.jsonl"))


def test_a_worker_that_is_killed_changes_nothing(
    cluster: Any, photos: Path, tmp_path: Path, model: Path, here: Path
) -> None:
    out = tmp_path / "out"
    job = start(photos, out, model, cluster[0])
    wait_until(lambda: committed(out) >= 2)
    assert len(workers(cluster[1])) == 2
    os.kill(workers(cluster[1])[0], signal.SIGKILL)
    code, said, err = ended(job)
    assert code == 1
    assert not (out / PARTS).exists()
    assert_same(out, here)
    assert sorted(said) == sorted(str(out / name) for name in results(out))
    assert err[0].startswith(f"error: {photos}/3/bad.jpg is not an image")
    assert len(err) == 2, err


@pytest.mark.parametrize("into", ["files", "tar"])
def test_a_job_that_is_killed_can_be_gone_on_with(
    cluster: Any, photos: Path, tmp_path: Path, model: Path, here: Path, into: str
) -> None:
    out = tmp_path / "out"
    options = ["--into", into, "--per-shard", "8"]
    job = start(photos, out, model, cluster[0], *options)
    wait_until(lambda: committed(out) >= 3)
    kill(job)
    job.communicate()
    wait_until(lambda: not workers(cluster[1]))
    done = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.suffix != ".jsonl"}
    assert done
    code, _, err = ended(start(photos, out, model, cluster[0], *options, "--resume"))
    assert code == 1
    left = [path for path, changed in done.items() if path.exists()]
    kept = sum(path.stat().st_mtime_ns == done[path] for path in left)
    assert kept >= (3 if into == "tar" else 16)
    assert any("done before" in line for line in err)
    if into == "files":
        assert_same(out, here)
        return
    unpacked = {}
    for path in out.glob("*.tar"):
        with tarfile.open(path) as shard:
            for member in shard:
                assert member.name not in unpacked
                stream = shard.extractfile(member)
                assert stream
                unpacked[member.name] = stream.read()
    assert unpacked == results(here)
    assert set(records((out / NAME).read_bytes())) == set(records((here / NAME).read_bytes()))
    assert {path.suffix for path in out.iterdir()} == {".tar", ".jsonl"}


def test_an_object_store_that_fails_now_and_then(
    cluster: Any,
    store: dict[str, str],
    photos: Path,
    tmp_path: Path,
    model: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in store.items():
        monkeypatch.setenv(name, value)
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    fs.mkdir("photos")
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))[:20]
    for name in names:
        fs.pipe_file(f"photos/in/{name}", (photos / name).read_bytes())
    code, said, err = ended(start("s3://photos/in", "s3://photos/out", model, cluster[0]))
    assert code == 0, err
    expected = {
        name: data
        for name, data in results(here).items()
        if name.replace("-cutout.png", ".jpg") in names
    }
    found = [path.removeprefix("photos/out/") for path in fs.find("photos/out")]
    assert sorted(found) == sorted([*expected, NAME])
    assert {name: fs.cat_file(f"photos/out/{name}") for name in expected} == expected
    assert sorted(said) == sorted(f"s3://photos/out/{name}" for name in expected)
    with fsspec.open(f"{store['AWS_ENDPOINT_URL']}/_failures", "rb") as file:
        failures = file.read().decode()
    assert all(int(part.rpartition(":")[2]) for part in failures.strip("{}").split(",")), failures


def test_parquet_in_and_out(
    cluster: Any, photos: Path, tmp_path: Path, model: Path, here: Path
) -> None:
    names = [f"0/{number:03}.jpg" for number in range(0, 35, 7)]
    table = {"path": names, "image": [(photos / name).read_bytes() for name in names]}
    parquet.write_table(pa.table(table), tmp_path / "in.parquet")
    source, out = tmp_path / "in.parquet", tmp_path / "out"
    options = ["--into", "parquet", "--save", "cutout,alpha", "--per-shard", "2"]
    code, _, err = ended(start(source, out, model, cluster[0], *options))
    assert code == 0, err
    rows = [
        row for path in sorted(out.glob("in/*")) for row in parquet.read_table(path).to_pylist()
    ]
    rows += [
        row
        for path in sorted(out.glob("*.parquet"))
        for row in parquet.read_table(path).to_pylist()
    ]
    assert [row["photo"] for row in rows] == [f"in/{name}" for name in names]
    expected = results(here)
    for row, name in zip(rows, names, strict=True):
        assert row["cutout"] == expected[name.replace(".jpg", "-cutout.png")]


def call(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["matte", "--engine", "ray", *words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{}", "{}", "-o", "out"], "takes one folder, glob or shard, not 2"),
        (["{}", "-o", "out.png"], "is a file; --engine ray writes into a folder"),
        (["{}", "-o", "out", "--watch"], "--review, --watch and --timeout do not go with"),
        (["-", "-o", "out"], "--timeout and --engine do not go"),
        (["{}", "-o", "out", "--into", "tar", "--engine", "local"], "go with --engine ray"),
        (["{}", "-o", "s3://b/out", "--engine", "local"], "add --engine ray"),
        (["{}/never", "-o", "out"], "does not exist"),
        (
            ["{}", "-r", "-o", "out", "--background", "out/back.png"],
            "lies in the folder of the results",
        ),
        (["{}", "-r", "-o", "out", "--address", "127.0.0.1:1"], "no Ray cluster at 127.0.0.1:1"),
    ],
)
def test_what_does_not_go_is_said_in_a_line(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    Image.new("RGB", (9, 9)).save("out/back.png")
    code, err = call(*(word.format(photos) for word in words))
    assert code in (1, 2)
    assert message in " ".join(err.split())
    assert not Path("out", NAME).exists()


def test_a_worker_that_cannot_start_ends_the_run(
    cluster: Any, photos: Path, tmp_path: Path, model: Path
) -> None:
    job = start(photos, tmp_path / "out", model, cluster[0], "--threads", "2")
    code, _, err = ended(job)
    assert code == 1
    assert err == ["error: no node of the cluster has room for a worker of 2 cores"]
    assert not (tmp_path / "out" / NAME).exists()


def test_shards_of_other_sources_and_folders_stay_and_old_ones_of_this_go(
    cluster: Any, photos: Path, tmp_path: Path, model: Path
) -> None:
    out = tmp_path / "out"
    options = ["--into", "tar", "--per-shard", "2"]
    assert ended(start(photos / "0", out / "below", model, cluster[0], *options))[0] == 0
    below = {path.name for path in (out / "below").iterdir()}
    code, said, _ = ended(start(photos / "0", out, model, cluster[0], *options))
    assert code == 0
    assert below == {path.name for path in out.iterdir() if path.is_file()}
    first = set(out.glob("*.tar"))
    assert sorted(said) == sorted(map(str, first))
    own = min(first).name.split("-")[1]
    orphan = out / f"latefusion-{own}-000099.tar"
    orphan.write_bytes(b"of a run that was killed before it committed")
    (out / "my-own.tar").write_bytes(b"mine")
    assert ended(start(photos / "1", out, model, cluster[0], *options))[0] == 0
    assert first < set(out.glob("*.tar"))
    options[-1] = "100"
    code, _, err = ended(start(photos / "0", out, model, cluster[0], *options, "--resume"))
    assert code == 0, err
    left = {path.name for path in out.glob(f"latefusion-{own}-*.tar")}
    assert left == {f"latefusion-{own}-000000.tar"}
    assert (out / "my-own.tar").exists()
    assert len(records((out / NAME).read_bytes())) == 28
    assert {path.name for path in (out / "below").iterdir()} == below


def test_results_of_a_shard_that_breaks_off_later_stay(
    cluster: Any, photos: Path, tmp_path: Path, model: Path
) -> None:
    source, out = tmp_path / "s.tar", tmp_path / "out"
    with tarfile.open(source, "w") as shard:
        shard.add(photos / "0", "0")
    options = ["--into", "tar", "--per-shard", "4", "--resume"]
    assert ended(start(source, out, model, cluster[0], *options))[0] == 0
    first = results(out)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    code, _, err = ended(start(source, out, model, cluster[0], *options))
    assert code == 1
    assert any("s.tar is not a complete tar file" in line for line in err), err
    assert results(out).items() >= first.items()
    assert len(records((out / NAME).read_bytes())) == 15


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_keeps_what_is_committed(
    cluster: Any, photos: Path, tmp_path: Path, model: Path, number: int
) -> None:
    job = start(photos, tmp_path, model, cluster[0])
    wait_until(lambda: committed(tmp_path) >= 2)
    job.send_signal(number)
    code, _, err = ended(job)
    assert code == 128 + number
    assert err[0] == "interrupted" or err[-1] == "interrupted"
    kept = records((tmp_path / NAME).read_bytes())
    assert len(kept) >= 16
    assert all((tmp_path / path).exists() for each in kept.values() for path in each["outputs"])


def test_a_reader_that_goes_away_is_no_fault_of_the_cluster(
    cluster: Any, photos: Path, tmp_path: Path, model: Path
) -> None:
    job = start(photos / "0", tmp_path, model, cluster[0])
    job.stdout.close()
    job.wait(timeout=100)
    assert b"no Ray cluster" not in job.stderr.read()
    job.stderr.close()


def test_a_folder_that_takes_nothing_is_said_in_a_line(
    cluster: Any, photos: Path, tmp_path: Path, model: Path
) -> None:
    (tmp_path / PARTS).write_bytes(b"in the way")
    code, _, err = ended(start(photos, tmp_path, model, cluster[0]))
    assert code == 1
    assert err == [f"error: the folder {tmp_path / PARTS} cannot be made: File exists"]


def test_another_manifest_is_refused_before_the_work(
    photos: Path, tmp_path: Path, model: Path
) -> None:
    (tmp_path / NAME).write_bytes(b'{"name": "a web app"}\n')
    code, err = call(str(photos), "-r", "-o", str(tmp_path), "--model", str(model))
    assert code == 1
    assert "not a manifest of latefusion" in err
    assert results(tmp_path) == {}
