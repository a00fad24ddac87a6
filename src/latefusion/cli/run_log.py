"""The output of a run over photos: results on stdout, errors and a summary on stderr."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from latefusion.cli.streams import print_name
from latefusion.cli.terminal import complain
from latefusion.errors import shown
from latefusion.folder.batch import Done
from latefusion.folder.listing import Listing, Passed, passed_over, records_of
from latefusion.folder.manifest import Manifest, Record
from latefusion.inference.confidence import NO_SUBJECT


class RunLog:
    """Counts of photos as they are done; each is added to `manifest`, if there is one.

    `settings` is their digest, for records of what is passed over.
    """

    def __init__(self, manifest: Manifest | None = None, settings: str = "") -> None:
        self.manifest = manifest
        self.settings = settings
        self.device = ""
        self.done = self.empty = self.failed = self.left = 0
        self._last: Record | None = None
        self.passed: dict[Path, Passed] = {}
        self.unread: dict[Path, tuple[str, str]] = {}
        self.start = perf_counter()

    def note(self, listing: Listing) -> None:
        """Count what is passed over, and complain about folders that cannot be read; each once."""
        new = replace(
            listing,
            passed={path: each for path, each in listing.passed.items() if path not in self.passed},
            unread={path: each for path, each in listing.unread.items() if path not in self.unread},
        )
        self.passed |= new.passed
        self.unread |= new.unread
        for record in records_of(new, self.settings):
            self.add(Done(record, True), ())

    def add(self, done: Done, results: Iterable[object]) -> None:
        """Print the results of a photo, or its error. A repeated record is counted once."""
        record = done.record
        if self.manifest and done.fresh:
            self.manifest.add(record)
        if record is self._last:
            return
        self._last = record
        if not done.fresh:
            self.left += 1
            return
        if record.error:
            self.failed += 1
            complain(f"error: {record.error}")
            return
        if record.skipped:
            return
        self.device = record.device or ""
        self.done += 1
        if NO_SUBJECT in record.notes:
            self.empty += 1
        for warning in record.warnings:
            complain(f"warning: {shown(record.photo)}: {warning}")
        for path in results:
            print_name(path)

    def summary(self) -> None:
        """Print the last lines: what was passed over, and `24 cut out, 0.31 s a photo on cpu`.

        The error of a single photo says it all.
        """
        if line := passed_over(self.passed.values()):
            complain(line)
        if (self.left, self.done, self.failed) == (0, 0, 1):
            return
        parts = [
            (self.left, f"{self.left} done before"),
            (self.done, f"{self.done} cut out"),
            (self.empty, f"{self.empty} of them without a subject"),
            (self.failed, f"{self.failed} failed"),
        ]
        told = [text for count, text in parts if count]
        if self.done:
            each = (perf_counter() - self.start) / (self.done + self.failed)
            told.append(f"{each:.2f} s a photo on {self.device}")
        if told:
            complain(", ".join(told))
