import json
import warnings
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from latefusion.folder.manifest import NAME, Manifest, Record
from latefusion.folder.review import is_sure, write_review

SURE = Record("sure.jpg", "1", "s", ("sure-cutout.png",), 40, 30, confidence=0.97)
OLD = Record("old.jpg", "1", "s", ("old-cutout.png",), 40, 30, confidence=0.31)  # without notes
UNSURE = Record(
    "arm.jpg", "1", "s", ("arm.png",), 40, 30, confidence=0.5, notes=("unsure", "parts")
)
NOBODY = Record("sea.jpg", "1", "s", ("s.png",), 40, 30, confidence=0.0, notes=("no-subject",))


@pytest.mark.parametrize(
    ("record", "sure"), [(SURE, True), (OLD, False), (UNSURE, False), (NOBODY, False)]
)
def test_only_a_confident_cut_out_is_sure(record: Record, sure: bool) -> None:
    assert is_sure(record) == sure


def test_the_page_begins_with_what_to_look_at_and_says_what_to_try(tmp_path: Path) -> None:
    skipped = Record("clip.mp4", "", "s", skipped="a clip")
    failed = Record("torn.jpg", "1", "s", error="torn.jpg is <damaged>")
    page = write_review(tmp_path, [SURE, OLD, skipped, UNSURE, failed, NOBODY]).read_text()
    places = [page.index(record.photo) for record in (failed, NOBODY, OLD, UNSURE, SURE)]
    assert places == sorted(places)
    assert "4 cut-outs: 3 to look at, 1 sure" in page
    assert "Nobody found" in page
    assert "Look at it (50%)" in page
    assert "Sure (97%)" in page
    assert "--subject largest" in page
    assert "clip.mp4" not in page
    assert "&lt;damaged&gt;" in page


SCRIPT = "<script>alert(1)</script>"


@pytest.mark.parametrize("field", [each.name for each in fields(Record)])
@pytest.mark.parametrize("kind", ["text", "list", "object"])
def test_nothing_in_a_manifest_runs_on_the_page(tmp_path: Path, field: str, kind: str) -> None:
    """Whatever the type of an entry, its record is shown as text or its line is skipped."""
    value = {"text": SCRIPT, "list": [SCRIPT], "object": {SCRIPT: SCRIPT}}[kind]
    lines = [asdict(SURE), asdict(NOBODY) | {field: value}]
    (tmp_path / NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manifest = Manifest(tmp_path / NAME)
    with manifest:
        page = write_review(tmp_path, manifest.records.values()).read_text()
    assert "<script" not in page
    assert "sure.jpg" in page


def test_links_of_a_page_stay_below_its_folder(tmp_path: Path) -> None:
    record = replace(SURE, outputs=("//host/share/a.png", "javascript:alert(1)"))
    page = write_review(tmp_path, [record]).read_text()
    assert 'href="./' in page
    assert 'href="//' not in page
    assert 'href="javascript' not in page


def test_names_that_are_not_text_have_their_place_on_the_page(tmp_path: Path) -> None:
    names = ("\udcff.jpg", "\ud800.jpg")  # a byte of Linux, half a letter of Windows
    page = write_review(tmp_path, [replace(SURE, photo=name) for name in names]).read_text()
    assert 'id="%FF.jpg"' in page
    assert 'id="%3F.jpg"' in page


def test_a_name_that_no_disk_holds_has_no_picture(tmp_path: Path) -> None:
    page = write_review(tmp_path, [replace(SURE, photo="z" * 300 + ".jpg")]).read_text()
    assert "<img" not in page
    assert "z" * 300 in page
