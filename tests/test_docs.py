"""The Python snippets of the docs, run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "astronaut.jpg"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOUND = [
    (path.name, code)
    for path in (ROOT / "README.md", ROOT / "docs" / "python.md")
    for code in SNIPPET.findall(path.read_text())
]


@pytest.mark.parametrize(
    "code", [code for _, code in FOUND], ids=[f"{i}-{name}" for i, (name, _) in enumerate(FOUND)]
)
def test_a_snippet_runs(code: str, tmp_path: Path) -> None:
    (tmp_path / "me.jpg").write_bytes(SAMPLE.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_there_are_snippets() -> None:
    assert len(FOUND) >= 5
