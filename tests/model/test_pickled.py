"""Files of torch.save give tensors and plain values, or one line."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from latefusion.model.pickled import read_pickled
from tests.model.test_checkpoint import Trap


def test_tensors_and_plain_values_come_back(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(6.0).view(2, 3), "b": [1, "x"]}, tmp_path / "a.pt")
    found = read_pickled(tmp_path / "a.pt")
    assert isinstance(found, dict)
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["b"] == [1, "x"]


class Huge:
    """Unpickling this would take ten terabytes."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return bytearray, (10**13,)


def assert_refused(path: Path, problem: str = ".") -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        read_pickled(path)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_not_run(tmp_path: Path, zipped: bool) -> None:
    trap = {"a": Trap(tmp_path / "sprung"), "b": torch.zeros(2)}
    torch.save(trap, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    assert_refused(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    assert_refused(tmp_path / "b.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_value_larger_than_memory_is_refused(tmp_path: Path) -> None:
    torch.save({"a": Huge()}, tmp_path / "a.pt")
    assert_refused(tmp_path / "a.pt")


def test_a_packed_file_that_claims_more_than_it_has_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**7)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as plain,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in plain.infolist():
            packed.writestr(part.filename, plain.read(part.filename))
    assert (tmp_path / "b.pt").stat().st_size < 100_000
    assert_refused(tmp_path / "b.pt", "claim more than the file has")


@pytest.mark.parametrize("length", [0, 1, 40, 300, -1, -100])
def test_a_cut_file_is_refused(tmp_path: Path, length: int) -> None:
    torch.save({"a": torch.arange(100.0)}, tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:length])
    assert_refused(tmp_path / "a.pt")


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pt")
    assert_refused(tmp_path / "a.pt", "no such file")
