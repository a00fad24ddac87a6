"""A hook of MkDocs: links from docs/ to files outside it lead to the repository."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)")  # [text](../cpp/README.md)


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Replace each `../PATH` by its address; a missing path stays, and fails the build."""

    def address(link: re.Match[str]) -> str:
        path = link[1]
        return f"]({config.repo_url}/blob/main/{path}" if (ROOT / path).exists() else link[0]

    return OUTSIDE.sub(address, markdown)
