"""The `latefusion` command with the toy preset: `python tests/toy_command.py train ...`."""

import pytest

from latefusion.cli import main
from toy_network import add_toy_preset

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_toy_preset(monkeypatch)
        main()
