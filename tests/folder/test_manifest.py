import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefusion.errors import OutputError
from latefusion.folder.manifest import BEGIN, Manifest, Record, digest_of, line_of

DONE = Record("a.jpg", "12ab", "s1", ("a-cutout.png",), 30, 20, 0.5, "cpu", 0.9, 0.25)
NEW = ("sizes", "digests")  # fields that records of earlier versions lack


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a-cutout.png").write_bytes(b"cutout")
    return tmp_path / "manifest.jsonl"


def test_a_run_is_gone_on_with_where_all_is_the_same(path: Path) -> None:
    with Manifest(path) as manifest:
        manifest.add(DONE)
    with Manifest(path, resume=True) as manifest:
        assert manifest.holds("a.jpg", "12ab", "s1", ["a-cutout.png"])
        assert not manifest.holds("b.jpg", "12ab", "s1", ["a-cutout.png"])
        assert not manifest.holds("a.jpg", "other", "s1", ["a-cutout.png"])
        assert not manifest.holds("a.jpg", "12ab", "s2", ["a-cutout.png"])
        assert not manifest.holds("a.jpg", "12ab", "s1", ["a-alpha.png"])
        (path.parent / "a-cutout.png").unlink()
        assert not manifest.holds("a.jpg", "12ab", "s1", ["a-cutout.png"])


def test_what_failed_is_tried_again(path: Path) -> None:
    with Manifest(path) as manifest:
        manifest.add(replace(DONE, error="a.jpg is damaged"))
        assert not manifest.holds("a.jpg", "12ab", "s1", ["a-cutout.png"])


def test_without_resume_nothing_is_done_but_records_stay(path: Path) -> None:
    with Manifest(path) as manifest:
        manifest.add(DONE)
    with Manifest(path) as manifest:
        assert not manifest.holds("a.jpg", "12ab", "s1", ["a-cutout.png"])
        assert manifest.records == {"a.jpg": DONE}


def test_the_last_record_of_a_photo_counts_and_the_file_is_compacted(path: Path) -> None:
    with Manifest(path) as manifest:
        manifest.add(replace(DONE, error="damaged"))
        manifest.add(DONE)
        both = path.read_bytes()
        assert len(lines(path)) == 2
    assert [line["error"] for line in lines(path)] == [None]
    path.write_bytes(both)  # as a run leaves it that is killed
    with Manifest(path, resume=True) as manifest:
        assert len(lines(path)) == 1
        assert manifest.records == {"a.jpg": DONE}


def test_a_run_that_fails_compacts_its_manifest_too(path: Path) -> None:
    def stopped() -> None:
        with Manifest(path) as manifest:
            manifest.add(replace(DONE, error="damaged"))
            manifest.add(DONE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert len(lines(path)) == 1


def test_names_are_readable_and_lines_are_utf_8(path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.jpg")
    strange = "a\u2028b\x85c.jpg"  # line ends to some programs
    with Manifest(path) as manifest:
        for name in ("Zoë 写真.jpg", odd, strange):
            manifest.add(replace(DONE, photo=name))
    text = path.read_bytes().decode("utf-8")
    assert "Zoë 写真.jpg" in text
    assert len(text.splitlines()) == 3
    assert [json.loads(line)["photo"] for line in text.splitlines()][1:] == [odd, strange]


def test_what_was_passed_over_is_forgotten_by_the_next_run(path: Path) -> None:
    with Manifest(path) as manifest:
        manifest.add(DONE)
        manifest.add(replace(DONE, photo="gone.jpg", error="damaged"))
        manifest.add(Record("a.mp4", "", "s1", skipped="clip"))
        manifest.add(Record("closed/", "", "s1", error="the folder closed cannot be read"))
    assert len(lines(path)) == 4
    with Manifest(path, resume=True) as manifest:
        assert list(manifest.records) == ["a.jpg", "gone.jpg"]


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_line_that_was_cut_off_is_left_out(path: Path, kept: int) -> None:
    with Manifest(path) as manifest:
        manifest.add(DONE)
        manifest.add(replace(DONE, photo="b.jpg"))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:-1][:kept])
    with (
        pytest.warns(
            UserWarning, match=r"^1 line of .*manifest\.jsonl could not be read; its photo"
        ),
        Manifest(path, resume=True) as manifest,
    ):
        manifest.add(replace(DONE, photo="c.jpg"))
    assert [line["photo"] for line in lines(path)] == ["a.jpg", "c.jpg"]


def line_for(photo: str) -> bytes:
    return line_of(replace(DONE, photo=photo))


@pytest.mark.parametrize(
    ("middle", "unread"),
    [
        (b"\0" * 4096 + line_for("b.jpg"), 1),  # a block that was lost, and what came after it
        (line_for("c.jpg")[:30] + b"\0" * 70 + line_for("b.jpg"), 1),
        (line_for("b.jpg") + line_for("c.jpg")[:40] + b"\n" + b"[[1]\n" + b"\xff\xfe\n", 3),
        (b'{"photo": 7, "sha256": 1}\n' + b"[" * 100_000 + b"\n" + line_for("b.jpg"), 2),
        (line_for("b.jpg") + b"\0" * 100, 1),
    ],
    ids=["NUL bytes", "NUL bytes in a line", "half lines", "odd JSON", "NUL bytes at the end"],
)
def test_lines_that_a_power_cut_spoilt_cost_their_photos_only(
    path: Path, middle: bytes, unread: int
) -> None:
    path.write_bytes(line_for("a.jpg") + middle)
    with (
        pytest.warns(UserWarning, match=rf"^{unread} lines? of .* done again") as told,
        Manifest(path, resume=True) as manifest,
    ):
        assert list(manifest.records) == ["a.jpg", "b.jpg"]
    assert len(told) == 1
    assert [line["photo"] for line in lines(path)] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("data", [b"\0" * 5000, b"\0" * 9 + BEGIN[:5], line_for("a.jpg")[:50]])
def test_a_manifest_whose_only_line_is_lost_is_still_one(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="1 line of"), Manifest(path) as manifest:
        assert not manifest.records


def test_a_result_of_another_size_is_done_again(path: Path) -> None:
    cutout = path.parent / "a-cutout.png"
    with Manifest(path) as manifest:
        manifest.add(replace(DONE, sizes=(6,), digests=("ab",)))
    with Manifest(path, resume=True) as manifest:
        assert manifest.holds("a.jpg", "12ab", "s1", ["a-cutout.png"])
        for content in (b"", b"cut", b"cutouts"):
            cutout.write_bytes(content)
            assert not manifest.holds("a.jpg", "12ab", "s1", ["a-cutout.png"])


def test_records_without_sizes_need_results_that_are_not_empty(path: Path) -> None:
    known = {name: value for name, value in asdict(DONE).items() if name not in NEW}
    path.write_text(json.dumps(known) + "\n")  # as earlier versions wrote it
    with Manifest(path, resume=True) as manifest:
        assert manifest.holds("a.jpg", "12ab", "s1", ["a-cutout.png"])
        (path.parent / "a-cutout.png").write_bytes(b"")
        assert not manifest.holds("a.jpg", "12ab", "s1", ["a-cutout.png"])


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
def test_a_record_that_does_not_fit_on_the_disk_leaves_no_half_line(path: Path) -> None:
    """A limit of the process stops a write in the middle of a line, as a full disk does."""
    program = """
import resource, signal, sys
from pathlib import Path
from latefusion.errors import OutputError
from latefusion.folder.manifest import Manifest, Record
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
manifest = Manifest(Path(sys.argv[1]), resume=True)
manifest.add(Record("a.jpg", "12ab", "s1"))
size = Path(sys.argv[1]).stat().st_size
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
try:
    manifest.add(Record("b.jpg", "12ab", "s1"))
except OutputError as error:
    print(error)
print(Path(sys.argv[1]).stat().st_size == size)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
manifest.add(Record("c.jpg", "12ab", "s1"))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"{path} cannot be written: File too large", "True"]
    assert [line["photo"] for line in lines(path)] == ["a.jpg", "c.jpg"]


@pytest.mark.parametrize(
    "line", ["[]", "3", '{"photo": 1}', '"x"', "{}", "null", "\x00", '{\n"name": "web"}\n\0']
)
def test_a_file_of_something_else_is_left_alone(path: Path, line: str) -> None:
    path.write_text(line + "\n")
    with pytest.raises(OutputError, match="is not a manifest of latefusion"):
        Manifest(path)
    assert path.read_text() == line + "\n"


WRONG = {
    "photo": 3,
    "sha256": None,
    "settings": ["s1"],
    "outputs": "a-cutout.png",
    "width": "30",
    "height": True,
    "seconds": float("nan"),
    "confidence": 10**400,
    "error": {},
    "subject_found": 1,
    "notes": [3],
    "warnings": {"a": "b"},
    "sizes": [1.5],
    "digests": [["a"]],
}


@pytest.mark.parametrize("field", WRONG)
def test_a_line_with_a_value_of_another_type_is_skipped_and_counted(path: Path, field: str) -> None:
    wrong = asdict(Record("b.jpg", "34cd", "s1")) | {field: WRONG[field]}
    path.write_bytes(line_for("a.jpg") + json.dumps(wrong).encode() + b"\n")
    with pytest.warns(UserWarning, match="1 line of .* could not be read"):
        manifest = Manifest(path, resume=True)
    with manifest:
        assert list(manifest.records) == ["a.jpg"]


def test_a_pipe_in_its_place_is_one_line(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(OutputError, match="cannot be read: it is a pipe"):
        Manifest(path)


@given(name=st.text(st.characters(exclude_categories=[]), min_size=1))
def test_any_name_survives(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    path = tmp_path_factory.mktemp("m") / "manifest.jsonl"
    with Manifest(path) as manifest:
        manifest.add(replace(DONE, photo=name, outputs=[name]))
    with Manifest(path, resume=True) as manifest:
        assert manifest.records[name].outputs == (name,)


def test_a_folder_in_its_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"manifest\.jsonl cannot be"):
        Manifest(tmp_path / "manifest.jsonl", resume=True)


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_of(tmp_path / "a").startswith("ba7816bf8f01cfea")
    assert digest_of(tmp_path / "none") == ""
