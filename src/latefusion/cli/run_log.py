"""What a run over many photos says: results on stdout, complaints and a summary on stderr."""

from collections.abc import Iterable
from time import perf_counter

import typer

from latefusion.cli.terminal import complain
from latefusion.folder.batch import Done
from latefusion.folder.manifest import Manifest


class RunLog:
    """Counts photos as they are done; those of `manifest` are added to it, where there is one."""

    def __init__(self, manifest: Manifest | None = None) -> None:
        self.manifest = manifest
        self.device = ""
        self.done = self.failed = self.left = 0
        self.shares = 0.0  # of the tiles, in which the fusion network ran: their sum
        self.start = perf_counter()

    def add(self, done: Done, results: Iterable[object]) -> None:
        """Say what became of a photo: its results, or what is wrong with it."""
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
        self.shares += record.fused or 0.0
        for path in results:
            typer.echo(path)

    def summary(self) -> None:
        """The last line: time a photo, and how much of the network ran."""
        if self.left:
            complain(f"{self.left} were done before")
        if self.done:
            each = (perf_counter() - self.start) / (self.done + self.failed)
            share = self.shares / self.done
            complain(f"{self.device}: {each:.2f} s a photo, fusion in {share:.0%} of the tiles")
