"""The output of a run over photos: results on stdout, errors and a summary on stderr."""

from collections.abc import Iterable
from time import perf_counter

import typer

from latefusion.cli.terminal import complain
from latefusion.errors import shown
from latefusion.folder.batch import Done
from latefusion.folder.manifest import Manifest
from latefusion.inference.confidence import NO_SUBJECT


class RunLog:
    """Counts of photos as they are done; each is added to `manifest`, if there is one."""

    def __init__(self, manifest: Manifest | None = None) -> None:
        self.manifest = manifest
        self.device = ""
        self.done = self.empty = self.failed = self.left = 0
        self.start = perf_counter()

    def add(self, done: Done, results: Iterable[object]) -> None:
        """Print the results of a photo, or its error."""
        record = done.record
        if not done.fresh:
            self.left += 1
            return
        if self.manifest:
            self.manifest.add(record)
        if record.error:
            self.failed += 1
            complain(f"error: {record.error}")
            return
        self.device = record.device or ""
        self.done += 1
        if NO_SUBJECT in record.notes:
            self.empty += 1
            complain(f"warning: {shown(record.photo)}: no subject found; the cut-out is empty")
        for path in results:
            typer.echo(path)

    def summary(self) -> None:
        """Print the last line, such as `24 cut out, 6 failed, 0.31 s a photo on cpu`."""
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
