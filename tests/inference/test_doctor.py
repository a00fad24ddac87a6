"""The self-test says what is installed, whatever distribution provides it."""

import importlib.metadata
from pathlib import Path

import cv2
import pytest

from latefusion.inference import doctor
from latefusion.inference.doctor import PACKAGES, examine, installed


def without(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the metadata of distributions, as where another one provides their module."""
    version = importlib.metadata.version

    def hidden(name: str) -> str:
        if name in names:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor, "version", hidden)


def test_a_module_is_named_after_the_distribution_that_provides_it() -> None:
    version = importlib.metadata.version("opencv-python-headless")
    assert installed("cv2", ("opencv-python", "opencv-python-headless")) == [
        f"opencv-python-headless {version}"
    ]


def test_without_metadata_the_module_says_its_own_version(monkeypatch: pytest.MonkeyPatch) -> None:
    without(PACKAGES["cv2"], monkeypatch)
    assert installed("cv2", PACKAGES["cv2"]) == [f"cv2 {cv2.__version__}"]


def test_the_self_test_passes_without_any_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", nothing)
    found = {finding.name: finding for finding in examine()}
    assert f"cv2 {cv2.__version__}" in found["packages"].text
    assert found["runtime"].text.startswith("onnxruntime ")
    assert not [finding for finding in found.values() if finding.fine is False]


def test_a_missing_golden_photo_is_a_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "GOLDEN_ALPHA", tmp_path / "gone.png")
    finding = next(each for each in examine() if each.name == "golden photo")
    assert (finding.fine, "gone.png" in finding.text) == (False, True)
