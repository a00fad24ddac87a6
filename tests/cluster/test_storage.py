"""Folders and object storage as one; `memory://` stands for the remote ones."""

import io
import pickle
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from latefusion.cluster import storage
from latefusion.cluster.storage import Storage, patiently, storage_of
from latefusion.errors import LatefusionError, OutputError

pytestmark = pytest.mark.usefixtures("patient_store")


@pytest.fixture(params=["local", "remote"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return storage_of(str(tmp_path) if request.param == "local" else "memory://bucket/deep")


def test_what_is_written_is_read(place: Storage) -> None:
    place.write("a/b.png", b"one")
    with place.writing("a/c.tar") as file:
        file.write(b"two")
    assert place.read("a/b.png") == b"one"
    with place.reading("a/c.tar") as file:
        assert file.read() == b"two"
    assert place.files() == ["a/b.png", "a/c.tar"]
    assert place.entries() == [("a", True)]
    assert place.entries("a") == [("b.png", False), ("c.tar", False)]
    assert place.exists("a/b.png")
    assert not place.exists("b.png")
    assert place.read_all(["a/c.tar", "a/b.png"]) == [b"two", b"one"]
    assert place.read_all([]) == []


def test_what_breaks_off_is_not_there(place: Storage) -> None:
    place.write("a.tar", b"whole")
    with pytest.raises(ZeroDivisionError), place.writing("a.tar") as file:  # noqa: PT012
        file.write(b"half")
        raise ZeroDivisionError
    assert place.read("a.tar") == b"whole"
    assert place.files() == ["a.tar"]


def test_what_is_not_there_can_be_removed(place: Storage) -> None:
    place.write("a/b", b"")
    place.remove(["a/b"])
    place.remove(["a/b"])
    place.remove_tree("a")
    place.remove_tree("never")
    assert not place.exists("a/b")
    assert place.files("never") == []


def test_names_that_look_like_globs_are_removed_alone(tmp_path: Path) -> None:
    for url in (str(tmp_path / "in [1]"), "memory://bucket/in [1]"):
        place = storage_of(url)
        for name in ("a*.tar", "ab.tar", "[1].tar", "deep/x"):
            place.write(name, b"")
        place.remove(["a*.tar", "[1].tar"])
        place.remove_tree("deep")
        assert place.files() == ["ab.tar"]


def test_a_local_folder_is_no_chain_of_urls(tmp_path: Path) -> None:
    place = storage_of(str(tmp_path / "a::b"))
    place.write("x", b"1")
    assert place.files() == ["x"]
    assert place.exists("x")


def test_a_storage_goes_to_other_processes(place: Storage) -> None:
    place.write("x", b"1")
    assert pickle.loads(pickle.dumps(place)).read("x") == b"1"


def test_links_to_folders_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    assert storage_of(str(tmp_path)).entries() == [
        *[("a.jpg", False), ("b.jpg", False), ("real", True)]
    ]


def test_a_relative_folder_is_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_of("out").url == str(tmp_path / "out")
    assert storage_of("file:///out").url == "/out"
    assert storage_of("s3://shop/out/").url == "s3://shop/out"


def test_what_may_pass_is_tried_again() -> None:
    calls = []

    def busy() -> str:
        calls.append(1)
        if len(calls) < 4:
            raise ConnectionResetError("busy")
        return "there"

    assert patiently(busy) == "there"
    assert len(calls) == 4


def test_what_does_not_pass_is_an_error_in_the_end() -> None:
    calls = []

    def broken() -> None:
        calls.append(1)
        raise EOFError("cut off")

    with pytest.raises(OSError, match="cut off"):
        patiently(broken)
    assert len(calls) == storage.TRIES


def test_what_is_missing_is_not_tried_again(place: Storage) -> None:
    calls = []

    def missing() -> bytes:
        calls.append(1)
        return place.fs.cat_file(place.at("never"))

    with pytest.raises(FileNotFoundError):
        patiently(missing)
    assert len(calls) == 1


def test_a_place_of_no_known_kind_is_named() -> None:
    with pytest.raises(LatefusionError, match="nowhere://x is not a valid location"):
        _ = storage_of("nowhere://x").fs


def test_a_missing_package_has_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(storage, "url_to_fs", missing)
    with pytest.raises(LatefusionError, match=r"s3://b/x .*\.\[s3\]"):
        _ = storage_of("s3://b/x").fs


def test_a_folder_that_takes_nothing_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be made"):
        storage_of(str(tmp_path / "file")).write("a/b.png", b"")


def test_a_name_that_is_no_text_is_an_output_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_s3_does(_: object, path: str, data: bytes) -> None:
        path.encode()

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", as_s3_does)
    with pytest.raises(OutputError, match=r"memory://bucket/caf\\udce9 cannot be written"):
        storage_of("memory://bucket").write("caf\udce9", b"")


def test_a_store_that_takes_nothing_is_an_output_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", full)
    monkeypatch.setattr(MemoryFileSystem, "put_file", full)
    place = storage_of("memory://bucket")
    with pytest.raises(OutputError, match="memory://bucket/a cannot be written: no room"):
        place.write("a", io.BytesIO(b"1").getbuffer())
    with pytest.raises(OutputError, match="no room"), place.writing("a"):
        pass
