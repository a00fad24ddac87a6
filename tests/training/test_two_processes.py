"""Training in two processes: the same as in one, whoever starts them and whatever ends them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from latefusion.training.settings_file import read_settings
from tests.helpers.training_runs import CHANGES, LOST, PARTS, UNLIKE, run, run_settings, write_data

pytestmark = [pytest.mark.usefixtures("toy_preset"), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TOY_COMMAND = ("-m", "tests.helpers.toy_command")
# Rounding differs, and training makes it grow: seen are .00006 of a loss and .0003 of a weight.
# Norms that each see their own half, or gradients that do not cross, give .007 and .05 and more.
LOSS, WEIGHT = 5e-4, 3e-3
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


class Runs(NamedTuple):
    """The data, and the folders of the runs in one process and in two."""

    data: Path
    one: Path
    two: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All runs; in two processes by torchrun, which has to start them again after a loss."""
    folder = tmp_path_factory.mktemp("runs")
    made = Runs(write_data(folder / "data"), folder / "one", folder / "two")
    script = [str(word) for word in ("-m", "tests.helpers.training_runs", made.data, made.two)]
    words = [sys.executable, *TORCHRUN, "--max-restarts", "1", *script]
    # Otherwise restarted processes may find the addresses of those before (pytorch issue 135712).
    own_store = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    torchrun = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=ROOT, env=own_store, timeout=900
    )
    assert torchrun.returncode == 0, torchrun.stderr
    for name in CHANGES:
        run(run_settings(made.data, made.one, name))
    return made


def saw(folder: Path, rank: int = 0) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads((folder / f"rank-{rank}.json").read_text())
    return seen


@pytest.mark.parametrize("name", CHANGES)
def test_the_losses_of_two_processes_are_those_of_one(runs: Runs, name: str) -> None:
    alone = saw(runs.one / name)["losses"]
    assert len(alone) == 6 if "epochs" in CHANGES[name] else 21
    for rank in (0, 1):
        assert saw(runs.two / name, rank)["losses"] == pytest.approx(alone, rel=LOSS)


@pytest.mark.parametrize("name", CHANGES)
def test_two_processes_share_every_batch_and_no_pair_comes_twice(runs: Runs, name: str) -> None:
    alone, first, second = (
        saw(folder / name, rank)["keys"]
        for folder, rank in ((runs.one, 0), (runs.two, 0), (runs.two, 1))
    )
    for epoch, keys in enumerate(alone):
        assert len(set(keys)) == len(keys) == 12
        for start in range(0, 12, 4):
            half = slice(start // 2, start // 2 + 2)
            assert first[epoch][half] + second[epoch][half] == keys[start : start + 4]


def test_photos_to_validate_are_split(runs: Runs) -> None:
    assert saw(runs.one / "joint")["validated"] == [["00", "01", "02"]] * 2
    assert saw(runs.two / "joint", 0)["validated"] == [["00", "01"]] * 2
    assert set(saw(runs.two / "joint", 1)["validated"][-1]) == {"02"}


@pytest.mark.parametrize("name", CHANGES)
def test_two_processes_leave_the_weights_of_one(runs: Runs, name: str) -> None:
    """All but biases before a norm: they have no effect, and Adam makes steps of their rounding."""
    for file in ("last.safetensors", "best.safetensors"):
        one, two = (load_file(folder / name / file) for folder in (runs.one, runs.two))
        assert list(one) == list(two)
        without_effect = {key for key in one if is_before_a_norm(key)}
        assert len(without_effect) < len(one) / 4
        for key in one.keys() - without_effect:
            torch.testing.assert_close(two[key], one[key], rtol=0, atol=WEIGHT, msg=key)


def is_before_a_norm(key: str) -> bool:
    """Biases of toy encoder and fusion convolutions; what a norm takes off again."""
    of_convs = key.startswith(("encoder.convs", "fusion.convs", "fusion.rgb."))
    of_norms = key.startswith(("encoder.norms", "fusion.norms", "fusion.rgb_norm"))
    return (of_convs and key.endswith("bias")) or (of_norms and key.endswith("running_mean"))


def test_one_process_writes(runs: Runs) -> None:
    names = {"best.safetensors", "events", "last.ckpt", "last.safetensors"}
    made = {path.name for path in (runs.two / "joint").iterdir()}
    assert made == {*names, "metrics.csv", "settings.yaml", "rank-0.json", "rank-1.json"}
    assert len(list((runs.two / "joint" / "events").glob("*tfevents*"))) == 1


def test_a_run_that_lost_a_process_goes_on_and_learns_the_same(runs: Runs) -> None:
    alone = saw(runs.one / "segmentation")["losses"]
    after_the_restart = saw(runs.two / LOST)["losses"]
    assert after_the_restart == pytest.approx(alone[3:9], rel=LOSS)


def test_processes_that_see_other_pairs_are_refused(runs: Runs) -> None:
    """They would train on some pairs twice, or wait for each other at an epoch's end."""
    for rank in (0, 1):
        told = (runs.two / UNLIKE / f"rank-{rank}.txt").read_text()
        assert told.startswith("the processes differ in pairs, batch size or seed;")


def test_all_processes_take_the_parts_that_one_of_them_needs(runs: Runs) -> None:
    for rank in (0, 1):
        assert len(saw(runs.two / PARTS, rank)["losses"]) == 2 * 3 * 3
    assert read_settings(runs.two / PARTS / "settings.yaml")["accumulate"] == 2


def test_a_run_of_two_processes_goes_on_in_one(runs: Runs, tmp_path: Path) -> None:
    shutil.copytree(runs.two / LOST, tmp_path / LOST)
    settings = run_settings(runs.data, tmp_path, LOST)
    run(replace(settings, epochs=7, resume=True))
    alone = saw(runs.one / "segmentation")["losses"]
    assert saw(tmp_path / LOST)["losses"] == pytest.approx(alone[9:], rel=LOSS)


def command(runs: Runs, out: Path, *more: str) -> list[str]:
    data = ("--data", runs.data / "train", "--weights", runs.data / "start.safetensors")
    size = ("--input-size", "64,64", "--batch-size", "4", "--preset", "toy", "--devices", "2")
    words = (*TOY_COMMAND, "train", "segmentation", "--out", out, *data, *size, *more)
    return [sys.executable, *map(str, words)]


def test_the_command_starts_processes_itself_and_tells_its_result_once(
    runs: Runs, tmp_path: Path
) -> None:
    words = command(runs, tmp_path / "run", "--epochs", "1", "--workers", "1")
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    told = [line for line in done.stdout.splitlines() if "safetensors" in line]
    assert told == [str(tmp_path / "run" / "best.safetensors")]
    assert len(list((tmp_path / "run" / "events").glob("*tfevents*"))) == 1


def test_an_interrupt_ends_all_processes_and_is_told_once(runs: Runs, tmp_path: Path) -> None:
    words = command(runs, tmp_path / "run", "--epochs", "3000")
    with subprocess.Popen(words, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as process:  # fmt: skip
        while not (tmp_path / "run" / "last.ckpt").exists():
            assert process.poll() is None
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=30)  # stderr ends with the last of the processes
    assert process.returncode == 130
    assert told.splitlines() == ["interrupted"]


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks into /proc")
def test_a_process_does_not_wait_for_a_first_one_that_was_killed(
    runs: Runs, tmp_path: Path
) -> None:
    """Killed before the two are connected, so that no connection breaks."""
    words = command(runs, tmp_path / "run", "--epochs", "3000")
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while not started_by(process.pid):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        _, told = process.communicate(timeout=60)  # stderr ends with the last of the processes
    assert told == "error: the process that started this one has ended; pass --resume\n"


def started_by(parent: int) -> bool:
    """Tell if a process runs the toy command for another one."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            above = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(above) == parent and b"toy_command" in (folder / "cmdline").read_bytes():
                return True
    return False


def test_a_batch_that_cannot_be_shared_is_one_line(runs: Runs, tmp_path: Path) -> None:
    words = command(runs, tmp_path / "run", "--batch-size", "5")
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    reason = "a batch of 5 does not divide by 2 processes; use 4 or 6"
    assert done.stderr.splitlines() == [f"error: {reason}"]
    assert not (tmp_path / "run").exists()
