"""What a run over files and folders reads, and what it passes over with a word."""

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from latefusion.errors import OutputError
from latefusion.folder import listing
from latefusion.folder.jobs import Wish, plan
from latefusion.folder.listing import find_photos, passed_over, records_of
from latefusion.folder.manifest import Manifest, Record
from latefusion.images.formats import RAW_SUFFIXES, SUFFIXES
from latefusion.images.raw import photo_suffixes
from latefusion.inference.outputs import KINDS


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def fill(folder: Path, *names: str, content: bytes = b"") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def jpeg(path: Path) -> None:
    Image.new("RGB", (9, 5), (200, 30, 10)).save(path, "JPEG")


def names(source: Path, recursive: bool = False) -> list[str]:
    return [name for _, name in find_photos([source], source / "out", recursive).photos]


def passed(source: Path, recursive: bool = False) -> dict[str, str]:
    found = find_photos([source], source / "out", recursive)
    return {each.name: each.why for each in found.passed.values()}


def test_every_suffix_of_a_format_that_is_read_is_found(source: Path) -> None:
    wanted = sorted(f"me{suffix}" for known in SUFFIXES.values() for suffix in known)
    fill(source, *wanted, "LOUD.JFIF")
    assert sorted(names(source)) == ["LOUD.JFIF", *wanted]
    assert passed(source) == {}


def test_the_docs_name_every_suffix() -> None:
    text = (Path(__file__).parents[2] / "docs" / "photos.md").read_text()
    named = set(re.findall(r"\.\w+", text))
    assert {suffix for known in SUFFIXES.values() for suffix in known} <= named


def test_what_is_passed_over_is_counted_by_kind(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = photo_suffixes() - RAW_SUFFIXES
    monkeypatch.setattr(listing, "photo_suffixes", lambda: photos)
    fill(source, "a.CR2", "b.nef", "deep/c.dng", "a.mp4", "B.MOV", "d.psd", "notes.txt", "a.xmp")
    fill(source, ".hidden.cr2", "out/a-cutout.png", "manifest.json")
    jpeg(source / "me.jpg_original")
    found = find_photos([source], source / "out", recursive=True)
    assert {each.name: each.why for each in found.passed.values()} == {
        "a.CR2": "raw",
        "b.nef": "raw",
        "deep/c.dng": "raw",
        "a.mp4": "clip",
        "B.MOV": "clip",
        "d.psd": "unread",
        "me.jpg_original": "unnamed",
    }
    line = passed_over(found.passed.values())
    assert line.startswith("passed over: 3 RAW files (run pip install")
    assert "2 clips (`latefusion video` takes them), 1 picture in a format" in line
    records = {record.photo: record for record in records_of(found, "s")}
    assert len(records) == 7
    assert (records["B.MOV"].skipped or "").startswith("clip; `latefusion video`")
    assert (records["B.MOV"].error, list(records["B.MOV"].outputs)) == (None, [])


def test_with_the_extra_raw_files_are_photos(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = photo_suffixes() | RAW_SUFFIXES
    monkeypatch.setattr(listing, "photo_suffixes", lambda: photos)
    fill(source, "a.CR2", "a.jpg")
    assert names(source) == ["a.CR2", "a.jpg"]


def test_a_file_without_a_suffix_is_read_if_it_begins_like_a_photo(source: Path) -> None:
    jpeg(source / "IMG_0001")
    fill(source, "Makefile", content=b"BM = a car maker\n")
    fill(source, "empty")
    assert names(source) == ["IMG_0001"]
    assert passed(source) == {}


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
def test_a_pipe_without_a_suffix_does_not_hang(source: Path) -> None:
    os.mkfifo(source / "pipe")
    assert names(source) == []


def test_folders_below_and_links_to_folders_are_said(source: Path, tmp_path: Path) -> None:
    fill(source, "a.jpg", "deep/b.jpg", ".git/c.jpg")
    (source / "out").mkdir()
    assert passed(source) == {"deep/": "below"}
    (tmp_path / "elsewhere").mkdir()
    (source / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert passed(source, recursive=True) == {"link/": "link"}
    assert names(source, recursive=True) == ["a.jpg", "deep/b.jpg"]


def test_a_folder_that_cannot_be_read_is_an_error_of_its_own(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, "a.jpg", "closed/b.jpg")
    there = Path.iterdir

    def closed(folder: Path) -> object:
        if folder.name == "closed":  # root may read all
            raise PermissionError(13, "Permission denied")
        return there(folder)

    monkeypatch.setattr(Path, "iterdir", closed)
    found = find_photos([source], source / "out", recursive=True)
    assert [name for _, name in found.photos] == ["a.jpg"]
    (record,) = records_of(found, "s")
    assert record.photo == "closed/"
    assert record.error == f"the folder {source / 'closed'} cannot be read: Permission denied"
    with pytest.raises(OutputError, match="closed cannot be read"):
        find_photos([source / "closed"], source / "out")


def test_two_links_to_one_photo_are_two_photos(source: Path, tmp_path: Path) -> None:
    fill(source, "a.jpg")
    (source / "soft.jpg").symlink_to("a.jpg")
    (source / "hard.jpg").hardlink_to(source / "a.jpg")
    jobs = plan([source], Wish(["alpha"], tmp_path / "out"))
    assert [job.name for job in jobs] == ["a.jpg", "hard.jpg", "soft.jpg"]


def test_one_name_that_is_given_twice_is_one_photo(source: Path, tmp_path: Path) -> None:
    fill(source, "a.jpg", "b.jpg")
    (tmp_path / "link").symlink_to(source, target_is_directory=True)
    again = [source / "a.jpg", source / ".." / "in" / "a.jpg", tmp_path / "link" / "a.jpg", source]
    assert [job.name for job in plan(again, Wish(["alpha"], tmp_path / "out"))] == [
        "a.jpg",
        "b.jpg",
    ]


def test_a_link_to_itself_is_that_photos_error(source: Path, tmp_path: Path) -> None:
    (source / "loop.jpg").symlink_to(source / "loop.jpg")
    fill(source, "a.jpg")
    jobs = plan([source / "a.jpg", source / "loop.jpg"], Wish(["alpha"], tmp_path / "out"))
    assert [job.name for job in jobs] == ["a.jpg", "loop.jpg"]


@pytest.mark.parametrize("kind", KINDS)
def test_results_beside_their_photos_are_passed_over(kind: str, source: Path) -> None:
    fill(source, "a.jpg", "b.jpg", "b.png", "a.b.jpg", "IMG-2.jpg")
    wish = Wish([kind], source)
    photos = sorted(source.iterdir())
    before = plan(photos, wish)
    for job in before:
        job.results[0][1].touch()
    fill(source, "stranger-cutout.png", "a-portrait.png")
    later = plan(sorted(source.iterdir()), wish)
    assert [job.name for job in later] == sorted(
        [*(job.name for job in before), "stranger-cutout.png", "a-portrait.png"]
    )
    found = find_photos(sorted(source.iterdir()), source)
    assert [each.why for each in found.passed.values()] == ["result"] * 5


def test_results_of_a_folder_are_known_where_they_lie(source: Path) -> None:
    fill(source, "a.jpg", "deep/c.jpg", "deep/d.png")
    wish = Wish(["alpha"], source)
    before = plan(sorted(source.iterdir()), wish)
    for job in before:
        job.results[0][1].touch()
    assert sorted(path.name for path in source.glob("*.png")) == [
        "a-alpha.png",
        "c-alpha.png",
        "d-alpha.png",
    ]
    assert sorted(job.name for job in plan(sorted(source.iterdir()), wish)) == [
        "a.jpg",
        "c.jpg",
        "d.png",
    ]


def test_results_that_a_manifest_names_are_no_photos(source: Path, tmp_path: Path) -> None:
    fill(source, "a.jpg", "out/a-cutout.png", "out/deep/b-cutout.png", "out/mine.jpg")
    fill(source, "out/review/a.jpg.jpg")
    with Manifest(source / "out" / "manifest.jsonl") as manifest:
        manifest.add(Record("a.jpg", "", "", ["a-cutout.png"]))
        manifest.add(Record("deep/b.jpg", "", "", ["deep/b-cutout.png"]))
    found = find_photos([source], tmp_path / "other", recursive=True)
    assert [name for _, name in found.photos] == ["a.jpg", "out/mine.jpg"]
    assert [each.why for each in found.passed.values()] == ["result", "result"]
    (source / "out" / "manifest.jsonl").write_text("something else\n")
    assert len(find_photos([source], tmp_path / "other", recursive=True).photos) == 5


def test_a_result_that_is_given_alone_is_a_photo(source: Path) -> None:
    fill(source, "a.jpg", "a-cutout.png")
    assert len(plan([source / "a-cutout.png"], Wish(["alpha"], source))) == 1


def test_what_a_run_leaves_in_its_folder_is_no_photo(source: Path) -> None:
    fill(source, "a.jpg", "manifest.jsonl", "review.html", "review/a.jpg.jpg", "done/a-cutout.png")
    given = sorted(source.iterdir())
    found = find_photos(given, source)
    assert [name for _, name in found.photos] == ["a.jpg", "a-cutout.png"]
    assert [each.name for each in found.passed.values()] == [
        "manifest.jsonl",
        "review",
        "review.html",
    ]
    apart = find_photos(given, source / "done")
    assert {each.name: each.why for each in apart.passed.values()} == {"done/": "target"}
