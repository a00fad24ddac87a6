"""The Python snippets of the docs, run as they stand, and the options of their commands."""

import re
import shlex
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest
import typer.main

from latefusion.cli import app

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "astronaut.jpg"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOUND = [
    (path.name, code)
    for path in (ROOT / "README.md", ROOT / "docs" / "python.md")
    for code in SNIPPET.findall(path.read_text())
]

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "cpp").glob("*.md")]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"(?:^|&& |\|\| |-m )latefusion ([a-z-]+ .*)$", re.MULTILINE)


def calls(page: Path) -> list[list[str]]:
    """The commands of latefusion in a page, as words."""
    blocks = "\n".join(BLOCK.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ")
    lines = (re.split(r" (?:&&|\||>) ", call)[0] for call in CALL.findall(blocks))
    return [shlex.split(line, comments=True) for line in lines]


CALLING = [page for page in PAGES if calls(page)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Three frames of the sample photo."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(SAMPLE) as photo, av.open(path, "w") as container:
        frame = next(photo.decode(video=0)).reformat(192, 256, "yuv420p")
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 192, 256, "yuv420p"
        for number in range(3):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "code", [code for _, code in FOUND], ids=[f"{i}-{name}" for i, (name, _) in enumerate(FOUND)]
)
def test_a_snippet_runs(code: str, clip: bytes, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip)
    (tmp_path / "me.jpg").write_bytes(SAMPLE.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_there_are_snippets() -> None:
    assert len(FOUND) >= 5
    assert {"README.md", "deploy.md", "training.md"} <= {page.name for page in CALLING}


@pytest.mark.parametrize("page", CALLING, ids=lambda page: page.name)
def test_the_commands_of_a_page_have_the_options_that_it_gives_them(page: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for command, *words in calls(page):
        assert command in commands, f"{page.name}: {command}"
        known = {name for each in commands[command].params for name in each.opts}
        options = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
        assert options - {"--help"} <= known, f"{page.name}: {command}"


def test_the_guide_from_the_write_up_has_the_whole_road() -> None:
    found = [command for command, *_ in calls(ROOT / "docs" / "write-up.md")]
    assert {"matte", "prepare", "train", "export", "evaluate"} <= set(found)
    assert found.count("train") >= 4
