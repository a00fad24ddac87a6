"""Runs that lose power or find the disk full at random moments, and the runs after them."""

import os
import random
import shutil
import sys
from pathlib import Path

import pytest

from tests.helpers.forgetful_disk import (
    PHOTOS,
    Run,
    build,
    cut_power,
    lies,
    records,
    results,
    write_photos,
)
from tests.helpers.toy_model import write_toy_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux")
        or (not shutil.which("gcc") and "CI" not in os.environ),
        reason="needs Linux and gcc",
    ),
]
# More rounds: LATEFUSION_POWER_CUTS=50 pytest tests/folder/test_power_cut.py
ROUNDS = int(os.environ.get("LATEFUSION_POWER_CUTS", "5"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    write_photos(folder)
    run = Run(build(folder), write_toy_model(folder), folder)
    run.finish()
    return run


@pytest.fixture
def run(whole: Run, tmp_path: Path) -> Run:
    """The same photos with nothing done."""
    (tmp_path / "in").symlink_to(whole.folder / "in")
    return Run(whole.library, whole.model, tmp_path)


def assert_complete(run: Run, whole: Run) -> None:
    """Every result is there once and whole, and nothing else."""
    assert results(run.out) == results(whole.out)
    lines = records(run.out)
    assert len(lines) == len({line["photo"] for line in lines}) == PHOTOS
    assert not any(line["error"] for line in lines)
    assert lies(run.out) == []


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_after_a_power_cut_resuming_ends_with_every_result_whole(
    run: Run, whole: Run, seed: int
) -> None:
    rng = random.Random(seed)
    process = run.start()
    run.wait_for(process, rng.randint(0, PHOTOS))
    process.kill()
    process.communicate()
    cut_power(run, rng)
    assert lies(run.out) == []
    run.finish()
    assert_complete(run, whole)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_after_a_full_disk_resuming_ends_with_every_result_whole(
    run: Run, whole: Run, seed: int
) -> None:
    rng = random.Random(seed)
    process = run.start()
    run.wait_for(process, rng.randint(1, PHOTOS - 1))
    (run.folder / "full").touch()
    said = process.communicate()[1]
    assert "No space left on device" in said or process.returncode == 0
    assert "Traceback" not in said
    before = sum(not line["error"] for line in records(run.out))
    (run.folder / "full").unlink()
    assert lies(run.out) == []
    assert f"{before} done before" in run.finish() or before == 0
    assert_complete(run, whole)
