"""A toy network with the interface of the exported one, and answers that the photo shows."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from latefusion.inference.options import MattingOptions
from latefusion.inference.predictor import Predictor
from tests.helpers.toy_model import write_toy_model

# PyTorch's threads spin while they wait, which is half of the time of a toy network's steps, and
# takes the cores from the other tests. Read when PyTorch is loaded, here or in a process of a test.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Fixtures that start or build something large, and the marker of the tests that use them.
LARGE = {
    "chromium": "browser",
    "cluster": "cluster",
    "installed": "cpp",
    "sanitized": "cpp",
    "exports": "slow",
}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test by the large fixtures that it uses, and as slow if it is marked as large."""
    for fixture in LARGE.keys() & set(getattr(item, "fixturenames", ())):
        item.add_marker(LARGE[fixture])
    if any(item.get_closest_marker(name) for name in LARGE.values()):
        item.add_marker("slow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files that have slow tests, so that none is left to one process at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def toy_model(tmp_path: Path) -> Path:
    """A network so simple that what it makes of a photo can be told beforehand."""
    return write_toy_model(tmp_path)


@pytest.fixture
def toy(toy_model: Path) -> Predictor:
    """That network on one thread, at a small size and without a closer look."""
    return Predictor(toy_model, MattingOptions(size=64, framing="whole"), threads=1)


@pytest.fixture
def patient_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`memory://` empty before and after, and no pause between the tries of what fails."""
    from fsspec.implementations.memory import MemoryFileSystem
    from tenacity import wait_none

    monkeypatch.setattr("latefusion.cluster.storage.WAIT", wait_none())
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def toy_preset() -> Iterator[None]:
    """The preset `toy` beside the others, and no GPU."""
    from tests.helpers.toy_network import add_toy_preset

    with pytest.MonkeyPatch.context() as monkeypatch:
        add_toy_preset(monkeypatch)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield
