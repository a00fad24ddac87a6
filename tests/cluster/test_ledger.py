"""The manifest in parts, rolled up, and looked up by workers."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefusion.cluster.ledger import NOTHING, PARTS, commit, part_of, read_index, roll_up
from latefusion.cluster.storage import Storage, storage_of
from latefusion.errors import OutputError
from latefusion.folder.manifest import NAME, Manifest, Record


def record(photo: str, sha256: str = "aa", *outputs: str, error: str | None = None) -> Record:
    return Record(photo, sha256, "settings", outputs, error=error)


@pytest.fixture
def out(tmp_path: Path) -> Storage:
    return storage_of(str(tmp_path / "out"))


def lines(out: Storage) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.read(NAME).splitlines()]


def test_parts_become_the_manifest_of_the_folder_mode(out: Storage, tmp_path: Path) -> None:
    commit(out, "000000", [record("b.jpg", "1", "b.png"), record("a.jpg", "2", "a.png")])
    commit(out, "deep/s-000001", [record("c.jpg", "", error="c.jpg is damaged")])
    assert not out.exists(NAME)
    roll_up(out)
    assert not out.exists(PARTS)
    with Manifest(tmp_path / "out" / NAME, resume=True) as manifest:
        assert list(manifest.records) == ["b.jpg", "a.jpg", "c.jpg"]
        assert manifest.records["c.jpg"].error == "c.jpg is damaged"


def test_of_several_records_the_last_one_counts(out: Storage) -> None:
    commit(out, "000000", [record("a.jpg", "1"), record("b.jpg", "1")])
    roll_up(out)
    commit(out, "000000", [record("a.jpg", "2")])
    roll_up(out)
    roll_up(out)
    assert [(line["photo"], line["sha256"]) for line in lines(out)] == [
        *[("b.jpg", "1"), ("a.jpg", "2")]
    ]


def test_nothing_done_makes_no_manifest(out: Storage) -> None:
    roll_up(out)
    assert not out.exists(NAME)
    assert len(read_index(out, shards=False)) == 0


def test_a_roll_up_that_was_killed_is_done_again(out: Storage) -> None:
    commit(out, "000000", [record("a.jpg", "1")])
    part = out.read(part_of("000000"))
    roll_up(out)
    out.write(part_of("000000"), part)  # as if it had died before it removed the parts
    roll_up(out)
    assert len(lines(out)) == 1


def test_a_line_that_was_cut_off_is_left_out(out: Storage) -> None:
    commit(out, "000000", [record("a.jpg"), record("b.jpg")])
    roll_up(out)
    out.write(NAME, out.read(NAME)[:-20])
    with pytest.warns(UserWarning, match="1 line of .*could not be read"):
        assert len(read_index(out, shards=False)) == 1
    commit(out, "000001", [record("c.jpg")])
    with pytest.warns(UserWarning, match="1 line of .*could not be read"):
        roll_up(out)
    assert [line["photo"] for line in lines(out)] == ["a.jpg", "c.jpg"]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_another_file_of_that_name_is_left_alone(out: Storage, end: bytes) -> None:
    out.write(NAME, b'{"name": "a web app"}' + end)
    commit(out, "000000", [record("a.jpg")])
    for refused in (roll_up, partial(read_index, shards=False)):
        with pytest.raises(OutputError, match="not a manifest of latefusion"):
            refused(out)
    assert out.read(NAME) == b'{"name": "a web app"}' + end


def test_what_was_said_of_a_shard_falls_where_it_is_made_anew(out: Storage) -> None:
    for shard, photos in (("x.tar", "abc"), ("y.tar", "d")):
        made = [record(photo, "1", f"tar://{photo}.png::{shard}") for photo in photos]
        commit(out, shard, made)
    roll_up(out)
    commit(out, "x.tar", [record("b", "1", "tar://b.png::x.tar")])
    roll_up(out)
    assert [line["photo"] for line in lines(out)] == ["d", "b"]
    assert read_index(out, shards=True).sizes == {"x.tar": 1, "y.tar": 1}


def test_the_index_knows_a_photo_only_as_it_was_done(out: Storage) -> None:
    done = record("a.jpg", "1", "a.png", "a-alpha.png")
    failed = record("b.jpg", "1", error="b.jpg is damaged")
    commit(out, "000000", [done, failed])
    roll_up(out)
    index = read_index(out, shards=False)
    assert index.holds(done)
    assert index.holds(replace(done, outputs=("a-alpha.png", "a.png"), seconds=3.0))
    assert index.holds(replace(failed, error="another text"))
    for other in (
        replace(done, sha256="2"),
        replace(done, settings="others"),
        replace(done, outputs=("a.png",)),
        replace(done, photo="c.jpg"),
        replace(failed, error=None),
    ):
        assert not index.holds(other)
    assert not NOTHING.holds(done)


@given(st.sets(st.text(max_size=4), max_size=40), st.sets(st.text(max_size=4), max_size=40))
def test_the_index_holds_what_is_there_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, there: set[str], other: set[str]
) -> None:
    out = storage_of(str(tmp_path_factory.mktemp("out")))
    commit(out, "000000", [record(name) for name in there])
    roll_up(out)
    index = read_index(out, shards=False)
    assert all(index.holds(record(name)) for name in there)
    assert not any(index.holds(record(name)) for name in other - there)


def test_records_of_shards_that_are_gone_are_left_out(out: Storage) -> None:
    for number in range(3):
        shard = f"latefusion-{number:06}.tar"
        out.write(shard, b"tar")
        commit(out, f"{number:06}", [record(f"{number}.jpg", "1", f"tar://{number}.png::{shard}")])
    commit(out, "000009", [record("bad.jpg", "1", error="bad")])
    roll_up(out)
    assert read_index(out, shards=True).sizes == {
        f"latefusion-{number:06}.tar": 1 for number in range(3)
    }
    roll_up(out, gone=lambda shard: shard == "latefusion-000002.tar")
    assert [line["photo"] for line in lines(out)] == ["0.jpg", "1.jpg", "bad.jpg"]
