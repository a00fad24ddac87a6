"""The `latefusion` command with the toy preset: `python -m tests.helpers.toy_command train ...`."""

import pytest

from latefusion.cli import main
from tests.helpers.toy_network import add_toy_preset

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_toy_preset(monkeypatch)
        main()
