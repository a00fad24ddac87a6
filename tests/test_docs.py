"""The Python snippets of the docs, run as they stand."""

import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "astronaut.jpg"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOUND = [
    (path.name, code)
    for path in (ROOT / "README.md", ROOT / "docs" / "python.md")
    for code in SNIPPET.findall(path.read_text())
]


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
