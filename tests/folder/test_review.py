from pathlib import Path

import pytest

from latefusion.folder.manifest import Record
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
