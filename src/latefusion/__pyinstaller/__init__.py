"""Hooks with which PyInstaller freezes programs that use latefusion."""

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """Return the folder of the hooks, for PyInstaller's entry point."""
    return [str(Path(__file__).parent)]
