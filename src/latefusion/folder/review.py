"""The review page of a run: every photo beside its cut-out, those to look at first."""

import re
import time
from collections.abc import Iterable
from html import escape
from pathlib import Path
from urllib.parse import quote

from latefusion.folder.batch import relative, thumb_of
from latefusion.folder.listing import PAGE_NAME, THUMBS
from latefusion.folder.manifest import Manifest, Record, size_of
from latefusion.folder.page_style import STYLE
from latefusion.images.writing import whole_file
from latefusion.inference.confidence import NO_SUBJECT, SENTENCES, SURE

REVIEW_SECONDS = 3.0  # between two reviews of a run that goes on, and at least
REVIEW_SHARE = 20  # times what a review takes to write
NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # in a name, neither a letter nor a byte


def write_review(out: Path, records: Iterable[Record]) -> Path:
    """Write the page into the folder of a run, beside its thumbs. Raises OutputError."""
    records = list(records)
    failed = [record for record in records if record.error]
    done = sorted(
        (record for record in records if not record.error and not record.skipped),
        key=lambda record: (record.confidence or 0.0, record.photo),
    )
    doubtful = sum(not is_sure(record) for record in done)
    text = PAGE.format(
        style=STYLE,
        told=f"{len(done)} cut-outs: {doubtful} to look at, {len(done) - doubtful} sure",
        failed=_failures(failed),
        photos="".join(_card(record, out) for record in done),
    )
    with whole_file(out / PAGE_NAME) as file:
        file.write(text.encode("utf-8", "backslashreplace"))  # a file name need not be text
    return out / PAGE_NAME


def is_sure(record: Record) -> bool:
    """True for a cut-out that need not be looked at; older records have no notes."""
    return (record.confidence or 0) >= SURE and NO_SUBJECT not in record.notes


class ReviewPage:
    """The review of a run, written anew while the run goes on, but not all the time."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self._root, self._manifest = root, manifest
        self._behind, self._due = False, 0.0

    def behind(self) -> None:
        """Mark that a photo was done, and write the page if that is due."""
        self._behind = True
        self.keep_up()

    def keep_up(self) -> None:
        """Write the page if a photo was done since, every few seconds at most."""
        if self._behind and time.monotonic() >= self._due:
            self.write()

    def write(self) -> Path:
        """Write the page now. Raises OutputError."""
        start = time.monotonic()
        path = write_review(self._root, self._manifest.records.values())
        cost = time.monotonic() - start
        self._behind, self._due = False, start + max(REVIEW_SECONDS, REVIEW_SHARE * cost)
        return path


def _failures(records: list[Record]) -> str:
    if not records:
        return ""
    lines = "".join(f"<li>{escape(record.error or '')}</li>" for record in records)
    return f'<section class="bad"><h2>{len(records)} failed</h2><ul>{lines}</ul></section>'


def _card(record: Record, out: Path) -> str:
    links = " ".join(
        f'<a href="./{_address(output)}">{escape(Path(output).name)}</a>'  # //HOST would leave
        for output in record.outputs
    )
    thumb = thumb_of(out / THUMBS, record.photo)
    picture = (
        f'<img src="{_address(relative(thumb, out))}" loading="lazy"'
        ' alt="photo, alpha, over green, over white">'
        if size_of(thumb)  # a run without --review makes none
        else ""
    )
    return (
        f'<article id="{_address(record.photo)}"><h3>{escape(record.photo)}'
        f" <small>{escape(f'{record.width} x {record.height}')}</small></h3>"
        f'<p class="scores"><span><b>{_verdict(record)}</b></span>{links}</p>'
        f"{_advice(record)}"
        f'<div class="views">{picture}</div></article>'
    )


def _verdict(record: Record) -> str:
    if NO_SUBJECT in record.notes:
        return "Nobody found"
    chance = f"{record.confidence or 0:.0%}"
    return f"Sure ({chance})" if is_sure(record) else f"Look at it ({chance})"


def _advice(record: Record) -> str:
    told = [text for note, text in SENTENCES.items() if note in record.notes]
    return f"<p>{escape(' '.join(told))}</p>" if told else ""


def _address(path: str) -> str:
    return escape(quote(NO_BYTE.sub("?", path), errors="surrogateescape"))


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>latefusion review</title>
<style>{style}</style>
</head>
<body>
<header><h1>Review</h1><p>{told}.</p>
<p>Each picture shows the photo, its mask (white is kept), and the cut-out on green and on white.
Those to look at come first. The percentage is the estimated chance that a cut-out is good as it
is; on photos with known mattes, at least 95 of 100 that were called sure were good.</p></header>
{failed}
{photos}
</body>
</html>
"""
