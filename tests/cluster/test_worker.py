"""The results of a worker for a group; doing it twice changes nothing."""

import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from latefusion import Predictor
from latefusion.cluster.ledger import Index, commit, part_of, read_index, roll_up
from latefusion.cluster.sources import Group, Item, find_source, groups_of
from latefusion.cluster.storage import Storage, storage_of
from latefusion.cluster.worker import Order, Worker
from latefusion.errors import LatefusionError, OutputError
from latefusion.folder.batch import Batch, Done, run
from latefusion.folder.jobs import Wish, plan
from latefusion.folder.listing import Passed, passed_of
from latefusion.folder.manifest import NAME, Record
from latefusion.inference.outputs import PLAIN, Into

NONE = Index(np.empty(0, np.uint64), np.empty(0, np.uint64), {})
REMOTE = "memory://bucket/out"
KINDS = ("cutout", "alpha")


pytestmark = pytest.mark.usefixtures("patient_store")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a.png", "b/c.png", "b/d.jpg", "e.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no photo")
    return tmp_path / "in"


def order(photos: Path | str, out: Path | str, model: Path, into: Into = "files") -> Order:
    place = storage_of(str(out))
    predictor = Predictor(model, threads=1)
    return Order(
        source=find_source(str(photos), place, True),
        out=place,
        predictor=predictor,
        model=predictor.model.card["sha256"],
        kinds=KINDS,
        suffix=".png",
        look=PLAIN,
        settings="settings",
        into=into,
        size=3,
    )


def do(order: Order, before: Index = NONE) -> list[Done]:
    one = Worker(pickle.loads(pickle.dumps(order)), before)
    paths = order.source.shards
    groups = [group for path in paths for group in groups_of(order.source, path, order.size)]
    rows = list(one({"group": [pickle.dumps(group) for group in groups]}))
    assert [row["key"] for row in rows] == [[group.key] for group in groups]
    return [done for row in rows for done in pickle.loads(row["done"][0])]


def tree(folder: Path) -> dict[str, bytes]:
    """Files below a folder, but for the manifest."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    return {name: data for name, data in files.items() if not name.startswith("manifest")}


@pytest.fixture
def here(photos: Path, tmp_path: Path, toy_model: Path) -> tuple[dict[str, bytes], list[Record]]:
    """The results of the folder mode of one machine."""
    out = tmp_path / "here"
    jobs = plan([photos], Wish(KINDS, out, recursive=True))
    done: list[Done] = []
    run(jobs, Batch(Predictor(toy_model, threads=1), out), done.append)
    return tree(out), [each.record for each in done]


def told(records: list[Record]) -> dict[str, Record]:
    """Records by their photos, less what differs from run to run."""
    return {each.photo: replace(each, seconds=None, sha256="", settings="") for each in records}


def test_files_are_those_of_one_machine(
    photos: Path, tmp_path: Path, toy_model: Path, here: tuple[dict[str, bytes], list[Record]]
) -> None:
    done = do(order(photos, tmp_path / "out", toy_model))
    assert tree(tmp_path / "out") == here[0]
    assert len(done) == 5
    assert told([each.record for each in done]) == told(here[1])


@pytest.mark.parametrize("into", ["files", "tar"])
def test_what_is_passed_over_is_in_the_manifest_and_has_no_results(
    into: Into, photos: Path, tmp_path: Path, toy_model: Path
) -> None:
    (photos / "a.mp4").write_bytes(b"a clip")
    *_, last = do(order(photos, tmp_path / "out", toy_model, into))
    assert (last.record.photo, last.record.error, last.fresh) == ("a.mp4", None, True)
    assert passed_of(last.record) == Passed("a.mp4", "clip")
    roll_up(storage_of(str(tmp_path / "out")))
    assert '{"photo": "a.mp4"' in (tmp_path / "out" / NAME).read_text()


def test_remote_files_are_those_of_one_machine(
    photos: Path, toy_model: Path, here: tuple[dict[str, bytes], list[Record]]
) -> None:
    fs = MemoryFileSystem()
    for path in photos.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"/bucket/in/{path.relative_to(photos)}", path.read_bytes())
    done = do(order("memory://bucket/in", REMOTE, toy_model))
    place = storage_of(REMOTE)
    names = [name for name in place.files() if not name.startswith("manifest")]
    assert {name: place.read(name) for name in names} == here[0]
    errors = [each.record.error for each in done if each.record.error]
    assert len(errors) == 1
    assert errors[0].startswith("memory://bucket/in/bad.jpg is not an image")


def test_a_tar_unpacked_is_that_of_one_machine(
    photos: Path, tmp_path: Path, toy_model: Path, here: tuple[dict[str, bytes], list[Record]]
) -> None:
    done = do(order(photos, tmp_path / "out", toy_model, "tar"))
    found = {}
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path) as shard:
            for member in shard:
                stream = shard.extractfile(member)
                assert stream
                found[member.name] = stream.read()
                assert (member.mtime, member.uid, member.mode) == (0, 0, 0o644)
    assert found == here[0]
    output = next(each.record.outputs[0] for each in done if each.record.photo == "b/c.png")
    own = order(photos, tmp_path / "out", toy_model).source.own_name
    assert output == f"tar://b/c-cutout.png::latefusion-{own}-000001.tar"


def test_parquet_holds_a_row_for_each_photo(
    photos: Path, tmp_path: Path, toy_model: Path, here: tuple[dict[str, bytes], list[Record]]
) -> None:
    done = do(order(photos, tmp_path / "out", toy_model, "parquet"))
    rows = [
        row
        for path in sorted((tmp_path / "out").glob("latefusion-*.parquet"))
        for row in pyarrow.parquet.read_table(path).to_pylist()
    ]
    assert {row["photo"] for row in rows} == {"a.png", "e.png", "b/c.png", "b/d.jpg"}
    for row in rows:
        base = row["photo"].rpartition(".")[0]
        assert row["cutout"] == here[0][f"{base}-cutout.png"]
        assert row["alpha"] == here[0][f"{base}-alpha.png"]
        assert (row["width"], row["height"]) == (60, 40)
    (output,) = next(each.record.outputs for each in done if each.record.photo == "a.png")
    assert (tmp_path / "out" / output).is_file()


@pytest.mark.parametrize("into", ["files", "tar", "parquet"])
def test_a_group_done_twice_is_the_same(
    photos: Path, tmp_path: Path, toy_model: Path, into: Into
) -> None:
    wanted = order(photos, tmp_path / "out", toy_model, into)
    first = [told([each.record for each in do(wanted)]), tree(tmp_path / "out")]
    assert first == [told([each.record for each in do(wanted)]), tree(tmp_path / "out")]


@pytest.mark.parametrize("into", ["files", "tar", "parquet"])
def test_what_is_done_is_left_as_it_is(
    photos: Path, tmp_path: Path, toy_model: Path, into: Into
) -> None:
    out = tmp_path / "out"
    wanted = order(photos, out, toy_model, into)
    do(wanted)
    roll_up(wanted.out)

    def again() -> set[str]:
        """The photos that are done again."""
        done = do(wanted, read_index(wanted.out, into != "files"))
        roll_up(wanted.out)
        return {each.record.photo for each in done if each.fresh}

    bad = {"bad.jpg"} if into == "files" else set()
    assert again() == bad
    group = {"b/c.png", "b/d.jpg"}
    shard = f"latefusion-{wanted.source.own_name}-000001.{into}"
    (out / ("b/c-alpha.png" if into == "files" else shard)).unlink()
    assert again() == ({"b/c.png", "bad.jpg"} if into == "files" else group)
    Image.new("RGB", (60, 40), "red").save(photos / "b/c.png")
    assert again() == ({"b/c.png", "bad.jpg"} if into == "files" else group)
    (photos / "b/d.jpg").unlink()
    assert again() == (bad if into == "files" else {"b/c.png"})


def test_a_shard_that_lost_a_photo_is_right_at_once(
    photos: Path, tmp_path: Path, toy_model: Path
) -> None:
    wanted = order(photos, tmp_path / "out", toy_model, "tar")
    fresh = []
    for _ in range(3):
        done = do(wanted, read_index(wanted.out, True))
        roll_up(wanted.out)
        fresh.append({each.record.photo for each in done if each.fresh})
        (photos / "b/d.jpg").unlink(missing_ok=True)
    assert fresh[1:] == [{"b/c.png"}, set()]
    manifest = read_index(wanted.out, True)
    assert len(manifest) == 4


def test_a_shard_written_but_not_committed_is_made_again(
    photos: Path, tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = order(photos, tmp_path / "out", toy_model, "tar")
    do(wanted)
    roll_up(wanted.out)
    before = tree(tmp_path / "out")

    def killed(out: Storage, key: str, records: list[Record]) -> None:
        if records:
            raise KeyboardInterrupt
        commit(out, key, records)

    monkeypatch.setattr("latefusion.cluster.worker.commit", killed)
    with pytest.raises(KeyboardInterrupt):
        do(replace(wanted, size=1, settings="others"))
    assert tree(tmp_path / "out") != before
    monkeypatch.undo()
    roll_up(wanted.out)
    do(wanted, read_index(wanted.out, True))
    assert tree(tmp_path / "out") == before


def test_a_shard_that_breaks_off_is_a_record(tmp_path: Path, toy_model: Path) -> None:
    (tmp_path / "s.tar").write_bytes(b"no tar")
    wanted = order(tmp_path / "s.tar", tmp_path / "out", toy_model)
    (done,) = do(wanted)
    assert done.record.photo == "s.tar"
    assert "s.tar is not a complete tar file" in (done.record.error or "")
    assert wanted.out.exists(part_of(f"{wanted.source.own_name}-s-broken"))


def test_a_photo_that_cannot_be_read_is_a_record(photos: Path, toy_model: Path) -> None:
    MemoryFileSystem().pipe_file("/bucket/in/a.png", (photos / "a.png").read_bytes())
    wanted = order("memory://bucket/in", REMOTE, toy_model)
    group = Group("000000", (Item("gone.png", "gone"), Item("a.png", "a")))
    gone, there = Worker(wanted, NONE).do(group)
    assert gone.record.error == "memory://bucket/in/gone.png does not exist"
    assert there.record.error is None


def test_results_that_cannot_be_written_are_records(
    photos: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no room")

    wanted = order(photos / "a.png", REMOTE, toy_model)
    real = MemoryFileSystem.pipe_file
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", full)
    with pytest.raises(OutputError, match="no room"):
        do(wanted)  # not even its record can be

    def no_alpha(fs: MemoryFileSystem, path: str, data: bytes) -> None:
        if path.endswith("alpha.png"):
            raise OSError("no room")
        real(fs, path, data)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", no_alpha)
    (done,) = do(wanted)
    assert done.record.error == f"{REMOTE}/a-alpha.png cannot be written: no room"
    assert done.record.outputs == ()


def test_another_model_on_a_worker_is_refused(
    photos: Path, tmp_path: Path, toy_model: Path
) -> None:
    wanted = order(photos, tmp_path / "out", toy_model)
    for other in (replace(wanted, model="another"), replace(wanted, version="0.0.1")):
        with pytest.raises(LatefusionError, match="another latefusion or another model"):
            Worker(other, NONE)


def test_a_packaged_model_is_found_where_the_worker_has_it() -> None:
    predictor = Predictor()
    _ = predictor.model
    state = predictor.file.__getstate__()
    assert state["_path"] is None
    assert "model" not in state
