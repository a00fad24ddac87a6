"""Photos in folders, globs, tars and Parquet as groups that are always the same."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from latefusion.cluster import shards, sources
from latefusion.cluster.sources import Item, Source, find_source, groups_of, in_groups, safe_name
from latefusion.cluster.storage import storage_of
from latefusion.errors import DataError, LatefusionError
from latefusion.folder.jobs import Wish, plan

OUT = storage_of("/nowhere/out")


pytestmark = pytest.mark.usefixtures("patient_store")


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))
    return folder


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as shard:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))
    return path


def items(source: Source, size: int = 3) -> list[Item]:
    groups = [group for path in source.shards for group in groups_of(source, path, size)]
    assert len({group.key for group in groups}) == len(groups)
    return [item for group in groups for item in group.items]


def named(place: str | Path, recursive: bool = False) -> dict[str, str]:
    found = items(find_source(str(place), OUT, recursive))
    return {item.name: item.base for item in found}


def test_a_folder_is_named_as_on_one_machine(tmp_path: Path) -> None:
    names = ("b.png", "a.png", "a.jpg", "A.webp", "deep/Café.JPG", "deep/more/x.tiff")
    fill(tmp_path, *names, "notes.txt", ".hidden.jpg", ".git/y.jpg", "empty/z.txt")
    jobs = plan([tmp_path], Wish(["alpha"], Path("out"), recursive=True))
    here = {job.name: str(job.results[0][1]) for job in jobs}
    there = {name: f"out/{base}-alpha.png" for name, base in named(tmp_path, True).items()}
    assert there == here
    assert set(named(tmp_path)) == {"b.png", "a.png", "a.jpg", "A.webp"}


def test_a_remote_folder_is_named_as_a_local_one(tmp_path: Path) -> None:
    names = ("b.png", "a.png", "a.jpg", "deep/c.jpg", "deep/more/x.tiff", ".h/y.jpg", "n.txt")
    fill(tmp_path, *names)
    for name in names:
        MemoryFileSystem().pipe_file(f"/bucket/in/{name}", b"1")
    assert named("memory://bucket/in", True) == named(tmp_path, True)
    assert named("memory://bucket/in/") == named(tmp_path)


def test_what_is_passed_over_comes_last(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b.mp4", "deep/c.PSD", "deep/d.JFIF", "n.txt", ".h.mp4", "out/e.mp4")
    source = find_source(str(tmp_path), storage_of(str(tmp_path / "out")), True)
    *photos, last = groups_of(source, "", 1)
    assert [item.name for group in photos for item in group.items] == ["a.jpg", "deep/d.JFIF"]
    assert (last.items, dict(last.passed)) == ((), {"b.mp4": "clip", "deep/c.PSD": "unread"})


def test_names_need_not_be_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    fill(tmp_path, name)
    assert list(named(tmp_path)) == [name]


def test_results_inside_of_the_source_are_no_photos(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "out/a-cutout.png", "deep/out/b.jpg")
    source = find_source(str(tmp_path), storage_of(str(tmp_path / "out")), True)
    assert [item.name for item in items(source)] == ["a.jpg", "deep/out/b.jpg"]


def test_a_glob_keeps_the_folders_after_its_fixed_part(tmp_path: Path) -> None:
    fill(tmp_path, "x1/a.jpg", "x1/a.png", "x1/n.txt", "x2/b.jpg", "y/c.jpg")
    assert named(f"{tmp_path}/x*/*") == {
        "x1/a.jpg": "x1/a.jpg",
        "x1/a.png": "x1/a.png",
        "x2/b.jpg": "x2/b",
    }


def test_a_relative_glob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fill(tmp_path, "a.jpg", "deep/b.jpg"))
    assert named("*.jpg") == {"a.jpg": "a"}
    assert named("**/*.jpg") == {"a.jpg": "a", "deep/b.jpg": "deep/b"}


def test_a_glob_may_begin_at_the_root(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    first, rest = str(tmp_path / "a.jpg").removeprefix("/").split("/", 1)
    assert named(f"/{first[:-1]}?/{rest}") == {f"{first}/{rest}": f"{first}/{rest[:-4]}"}


def test_links_to_the_results_are_seen_through(tmp_path: Path) -> None:
    fill(tmp_path, "in/a.jpg", "in/out/a-cutout.png")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(LatefusionError, match="both source and target"):
        find_source(str(tmp_path / "in"), storage_of(str(tmp_path / "link")), False)
    inside = storage_of(str(tmp_path / "link" / "out"))
    assert [item.name for item in items(find_source(str(tmp_path / "in"), inside, True))] == [
        "a.jpg"
    ]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    source = find_source(str(fill(tmp_path / "in", "a.jpg")), OUT, True)
    (tmp_path / "in").rename(tmp_path / "gone")
    with pytest.raises(DataError, match=r"/in cannot be listed: No such file"):
        list(groups_of(source, "", 3))


def test_a_reader_gets_only_its_shards(tmp_path: Path) -> None:
    for shard in ("a.tar", "b.tar"):
        write_tar(tmp_path / shard, [("1.jpg", b"1")])
    source = find_source(str(tmp_path), OUT, False)
    part = source.only(("b.tar",))
    assert part.shards == ("b.tar",)
    assert "a.tar" not in str(part)
    assert list(groups_of(part, "b.tar", 2)) == list(groups_of(source, "b.tar", 2))


def test_one_photo_is_a_source(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b.jpg")
    assert named(tmp_path / "a.jpg") == {"a.jpg": "a"}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_a_tar_gives_its_photos_in_their_order(tmp_path: Path, suffix: str) -> None:
    members = [("b/2.jpg", b"two"), ("n.txt", b"no"), ("1.png", b"one"), ("._2.jpg", b"no")]
    path = write_tar(tmp_path / f"s{suffix}", members, "w" if suffix == ".tar" else "w:gz")
    source = find_source(str(path), OUT, False)
    stem = "s.tar" if suffix == ".tar.gz" else "s"
    assert items(source) == [
        Item(f"{stem}/b/2.jpg", f"{stem}/b/2", b"two"),
        Item(f"{stem}/1.png", f"{stem}/1", b"one"),
    ]


def test_names_in_a_tar_stay_below_the_results_and_their_own(tmp_path: Path) -> None:
    names = ["/etc/a.jpg", "../../a.jpg", "a.png", "A.jpg", "a.jpg", "./x//y.jpg"]
    path = write_tar(tmp_path / "s.tar", [(name, b"1") for name in names])
    found = items(find_source(str(path), OUT, False))
    assert [item.base for item in found] == [
        *("s/etc/a", "s/a", "s/a.png", "s/A.jpg", "s/a.jpg-2", "s/x/y")
    ]
    assert all(item.name.startswith("s/") and ".." not in item.name for item in found)
    assert len({item.name for item in found}) == len(names)


def test_thousands_of_one_name_are_told_apart(tmp_path: Path) -> None:
    table = {"name": ["me"] * 20_000, "image": [b"1"] * 20_000}
    parquet.write_table(pa.table(table), tmp_path / "s.parquet")
    found = items(find_source(str(tmp_path / "s.parquet"), OUT, False), 1000)
    assert len({item.name for item in found}) == len({item.base for item in found}) == 20_000


@given(st.lists(st.text("aA./-\\:é", max_size=6), max_size=12))
def test_no_two_names_share_their_results(names: list[str]) -> None:
    taken: dict[str, int] = {}
    found = [sources._own_base(safe_name(name) or "x", taken) for name in names]
    assert len({base.casefold() for base in found}) == len(names)
    for base in found:
        assert not base.startswith("/")
        assert not {"..", "."} & set(base.split("/"))


def test_folders_of_shards_and_globs_of_them(tmp_path: Path) -> None:
    for shard in ("b.tar", "a.tar"):
        write_tar(tmp_path / shard, [("1.jpg", b"1")])
    expected = {"a/1.jpg": "a/1", "b/1.jpg": "b/1"}
    assert named(tmp_path) == expected
    assert named(tmp_path / "*.tar") == expected
    fill(tmp_path, "c.parquet")
    with pytest.raises(LatefusionError, match="contains parquet, tar; give a glob"):
        named(tmp_path)


@pytest.mark.parametrize("end", [0.3, 0.6, 0.99])
def test_a_tar_that_breaks_off_gives_what_came_before(tmp_path: Path, end: float) -> None:
    members = [(f"{number}.jpg", bytes([number]) * 3000) for number in range(8)]
    path = write_tar(tmp_path / "s.tar", members)
    path.write_bytes(path.read_bytes()[: int(8 * 3584 * end)])
    groups = list(groups_of(find_source(str(path), OUT, False), "s.tar", 2))
    assert groups[-1].problem
    assert "s.tar is not a complete tar file" in groups[-1].problem
    assert groups[-1].items[0].name == "s.tar"
    whole = [item.data for group in groups[:-1] for item in group.items]
    assert whole == [data for _, data in members][: len(whole)]
    assert len(whole) == int(8 * end)


def test_what_is_no_tar_is_a_problem(tmp_path: Path) -> None:
    fill(tmp_path, "s.tar")
    groups = list(groups_of(find_source(str(tmp_path), OUT, False), "s.tar", 2))
    assert [bool(group.problem) for group in groups] == [True]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"image": [b"1", b"2"], "path": ["s3://b/x.jpg", "y.png"]}, ["b/x.jpg", "y.png"]),
        ({"id": [7, 8], "jpg": [b"1", b"2"], "more": [b"", b""]}, ["7", "8"]),
        ({"picture": [b"1", b"2"]}, ["00000000", "00000001"]),
        (
            {"image": [{"bytes": b"1", "path": "x.jpg"}, {"bytes": b"2", "path": None}]},
            ["x.jpg", "00000001"],
        ),
    ],
)
def test_parquet_has_its_photos_in_a_column(
    tmp_path: Path, columns: dict[str, list[Any]], expected: list[str]
) -> None:
    parquet.write_table(pa.table(columns), tmp_path / "s.parquet")
    found = items(find_source(str(tmp_path / "s.parquet"), OUT, False))
    assert [item.name for item in found] == [f"s/{name}" for name in expected]
    assert [item.data for item in found] == [b"1", b"2"]


def test_parquet_without_photos_is_a_problem(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "s.parquet")
    fill(tmp_path, "t.parquet")
    source = find_source(str(tmp_path), OUT, False)
    first, second = (next(groups_of(source, path, 2)).problem for path in source.paths)
    assert "no column of image bytes, only a, b" in str(first)
    assert "not a complete Parquet file" in str(second)


def test_a_read_that_fails_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [(f"{number}.jpg", bytes([number])) for number in range(9)]
    source = find_source(str(write_tar(tmp_path / "s.tar", members)), OUT, False)
    whole = list(groups_of(source, "s.tar", 2))
    real, left = shards.tar_members, [3, 6, 8]

    def failing(file: Any, label: str) -> Iterator[tuple[str, bytes]]:
        ends = left.pop(0) if left else 99
        for number, member in enumerate(real(file, label)):
            if number == ends:
                raise ConnectionResetError("gone")
            yield member

    monkeypatch.setitem(shards.READERS, "tar", failing)
    assert list(groups_of(source, "s.tar", 2)) == whole
    assert not left


def test_groups_are_small_in_number_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "GROUP_BYTES", 100)
    lengths = [10, 10, 10, 10, 60, 50, 500, 1, 1]
    photos = [Item(str(number), "", bytes(length)) for number, length in enumerate(lengths)]
    groups = list(in_groups(photos, "s", 3))
    assert [len(group.items) for group in groups] == [3, 2, 1, 1, 2]
    assert [group.key for group in groups][:2] == ["s-000000", "s-000001"]


def test_keys_tell_sources_apart(tmp_path: Path) -> None:
    fill(tmp_path, "photos/a.jpg", "in/none.txt")
    write_tar(tmp_path / "in" / "a.tar", [("1.jpg", b"1")])
    places = ["in", "in/a.tar", "in/*.tar", "photos", "photos/a.jpg"]
    found = [find_source(str(tmp_path / place), OUT, False) for place in places]
    assert len({source.own_name for source in found}) == len(places)
    for source in found:
        (group,) = groups_of(source, "a.tar", 9)
        assert source.own_name in group.key
    MemoryFileSystem().pipe_file("/bucket/in/a.jpg", b"1")
    remote = [find_source(f"memory://bucket/in{end}", OUT, False) for end in ("", "/")]
    assert remote[0].own_name == remote[1].own_name
    again = find_source(str(tmp_path / "in"), OUT, False)
    assert again.own_name == found[0].own_name


def test_a_folder_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    fill(tmp_path, "holiday [1]/a.jpg")
    assert named(tmp_path / "holiday [1]") == {"a.jpg": "a"}


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("{}/never", "does not exist; check the spelling"),
        ("{}/deep", "no photos in"),
        ("{}/*.webp", "no photos or shards"),
        ("memory://bucket/never", "does not exist"),
        ("{}", "is inside the output folder"),
        ("{}/out", "both source and target"),
        ("{}/out/*.jpg", "is inside the output folder"),
    ],
)
def test_what_is_no_source_is_named(tmp_path: Path, place: str, message: str) -> None:
    fill(tmp_path, "deep/x.txt", "out/b.jpg")
    fill(tmp_path, *(["a.jpg"] if place == "{}" else []))
    out = tmp_path.parent if place == "{}" else tmp_path / "out"
    with pytest.raises(LatefusionError, match=message):
        find_source(place.format(tmp_path), storage_of(str(out)), False)


@pytest.mark.parametrize("name", ["s.tar", "s.parquet"])
def test_a_pipe_among_shards_is_a_problem_without_waiting(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    (group,) = groups_of(find_source(str(tmp_path), OUT, False), name, 2)
    assert str(group.problem).startswith(f"{tmp_path}/{name} cannot be read: it is a pipe")


@pytest.mark.parametrize("rows", [[bytes(2**25)], [bytes(2**20)] * 100])
def test_parquet_that_unpacks_to_far_more_is_a_problem(tmp_path: Path, rows: list[bytes]) -> None:
    path = tmp_path / "s.parquet"
    parquet.write_table(pa.table({"image": rows}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    *_, last = groups_of(find_source(str(path), OUT, False), "s.parquet", 2)
    assert f"{path} claims to hold over 100 times its size" in str(last.problem)
