"""Ray's own output is kept off the terminal, and no other."""

import sys
import threading

import pytest

from latefusion.cli.terminal import complain
from latefusion.cluster.hush import hushed


def test_only_rays_threads_are_not_heard(capsys: pytest.CaptureFixture[str]) -> None:
    """The first one to speak is Ray's: click must not take the stream for a binary one then."""
    with hushed():
        for name in ("ray_print_logs", "StreamingExecutor-1", "latefusion"):
            thread = threading.Thread(target=complain, args=[f"from {name}"], name=name)
            thread.start()
            thread.join()
        complain("error: a photo")
        sys.stdout.write("me-cutout.png\n")
    said = capsys.readouterr()
    assert said.err == "from latefusion\nerror: a photo\n"
    assert said.out == "me-cutout.png\n"
