"""A process uses the cores that it may use, whatever the machine has."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from latefusion.parallel import (
    Memory,
    cores_for,
    side_by_side,
    too_many,
    usable_cores,
    usable_memory,
)

SAMPLE = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
SHIM = Path(__file__).parent / "files" / "cpuset-shim.c"
HERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
MOUNTS = {
    "v2": "31 23 0:26 {top} /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup rw,nsdelegate",
    "v1": "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw shared:4 - cgroup cgroup rw,cpu,cpuacct",
}
CGROUPS = {"v2": "0::{group}", "v1": "9:name=systemd:/\n4:cpu,cpuacct:{group}\n3:cpuset:/x"}
FOLDERS = {"v2": "sys/fs/cgroup", "v1": "sys/fs/cgroup/cpu,cpuacct"}


@pytest.fixture(autouse=True)
def _no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def machine(root: Path, version: str, group: str, top: str = "/") -> Path:
    """The files of a process in a control group under `root`; returns the mounted groups."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(CGROUPS[version].format(group=group) + "\n")
    other = "23 1 259:2 / / rw - ext4 /dev/root rw\n"
    (root / "proc/self/mountinfo").write_text(other + MOUNTS[version].format(top=top) + "\n")
    groups = root / FOLDERS[version]
    groups.mkdir(parents=True)
    return groups


def limit(folder: Path, version: str, quota: int, period: int = 100_000) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if version == "v2":
        (folder / "cpu.max").write_text(f"{'max' if quota < 0 else quota} {period}\n")
        return
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


def memory_machine(root: Path, version: str, group: str, free: int = 900) -> Path:
    """A machine of 1000 KiB of memory with a group whose controller is named as in `version`."""
    groups = machine(root, version, group)
    if version == "v1":
        folder = "sys/fs/cgroup/memory"
        (root / "proc/self/cgroup").write_text(f"9:name=systemd:/\n4:memory:{group}\n")
        (root / "proc/self/mountinfo").write_text(
            "32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        )
        groups = root / folder
    (root / "proc/meminfo").write_text(f"MemTotal: 1000 kB\nMemAvailable:   {free} kB\nHigh:\n")
    return groups


def limit_memory(folder: Path, version: str, limit: str, used: int, kept: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        "v2": ("memory.max", "memory.current", "inactive_file"),
        "v1": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }[version]
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\n{names[2]} {kept}\n")


def test_without_limits_the_machines_memory_counts(tmp_path: Path) -> None:
    assert usable_memory(tmp_path) is None
    memory_machine(tmp_path, "v2", "/a")
    assert usable_memory(tmp_path) == Memory(900 * 1024, 1000 * 1024)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_limits_of_memory_of_all_groups_count(tmp_path: Path, version: str) -> None:
    groups = memory_machine(tmp_path, version, "/a/b")
    limit_memory(groups / "a/b", version, "500000", used=200_000, kept=30_000)
    assert usable_memory(tmp_path) == Memory(330_000, 500_000)
    limit_memory(groups / "a", version, "400000", used=390_000, kept=0)
    assert usable_memory(tmp_path) == Memory(10_000, 400_000)
    limit_memory(groups / "a", version, "400000", used=410_000, kept=0)
    assert usable_memory(tmp_path) == Memory(0, 400_000)


@pytest.mark.parametrize(("version", "none"), [("v1", str(2**63 - 4096)), ("v2", "max")])
def test_a_group_without_a_limit_of_memory_changes_nothing(
    tmp_path: Path, version: str, none: str
) -> None:
    groups = memory_machine(tmp_path, version, "/a")
    limit_memory(groups / "a", version, none, used=200_000, kept=0)
    assert usable_memory(tmp_path) == Memory(900 * 1024, 1000 * 1024)


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == HERE


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(("quota", "cores"), [(100_000, 1), (30_000, 1), (1, 1), (-1, HERE)])
def test_a_quota_of_its_own_group_counts_rounded_up(
    tmp_path: Path, version: str, quota: int, cores: int
) -> None:
    limit(machine(tmp_path, version, "/a/b") / "a/b", version, quota)
    assert usable_cores(tmp_path) == cores


@pytest.mark.skipif(HERE < 2, reason="one core is the least")
def test_a_quota_of_one_and_a_half_cores_is_two(tmp_path: Path) -> None:
    limit(machine(tmp_path, "v2", "/"), "v2", 75_000, 50_000)
    assert usable_cores(tmp_path) == 2


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("where", ["", "a"])
def test_a_quota_of_a_group_above_counts(tmp_path: Path, version: str, where: str) -> None:
    groups = machine(tmp_path, version, "/a/b/c")
    limit(groups / "a/b/c", version, -1)
    limit(groups / where, version, 50_000, 50_000)
    assert usable_cores(tmp_path) == 1


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_in_a_container_the_mount_is_its_own_group(tmp_path: Path, version: str) -> None:
    groups = machine(tmp_path, version, "/docker/ab12/inner", top="/docker/ab12")
    limit(groups / "inner", version, 60_000)
    assert usable_cores(tmp_path) == 1


def test_a_group_outside_the_mount_leaves_the_mount_itself(tmp_path: Path) -> None:
    limit(machine(tmp_path, "v2", "/../elsewhere", top="/here"), "v2", 60_000)
    assert usable_cores(tmp_path) == 1


@pytest.mark.parametrize(("text", "cores"), [("1", 1), ("1,4", 1), (" 1 ", 1)])
def test_the_first_number_of_omp_num_threads_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cores: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "999"])
def test_other_values_of_omp_num_threads_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert usable_cores(tmp_path) == HERE


def test_more_threads_than_cores_are_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cores_for(None) == cores_for(1) == cores_for(32) == side_by_side(32) == 1
    assert too_many(None) is too_many(1) is None
    assert str(too_many(32)).startswith("32 threads are more than the 1 core that this process may")


def on_core_0(shim: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["taskset", "-c", "0", "env", f"LD_PRELOAD={shim}", sys.executable, *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with which no thread can be bound to any core but the first, as in a cpuset."""
    if not (shutil.which("taskset") and shutil.which("cc")) or 0 not in os.sched_getaffinity(0):
        pytest.skip("needs taskset, a C compiler and core 0")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, SHIM], check=True)
    return library


COUNT = """
import os, sys
import cv2
from latefusion import Predictor
found = []
for threads in (1, None, 32):
    predictor = Predictor(threads=threads)
    predictor(sys.argv[1])
    found.append((predictor, len(os.listdir("/proc/self/task"))))
print([count - found[0][1] for _, count in found], cv2.getNumThreads())
"""


def test_a_network_starts_no_thread_that_a_cpuset_forbids(shim: Path) -> None:
    done = on_core_0(shim, "-c", COUNT, str(SAMPLE))
    assert (done.stdout, done.stderr) == ("[0, 0, 0] 1\n", "")


def test_the_command_says_that_it_uses_fewer_threads(shim: Path, tmp_path: Path) -> None:
    options = ("-m", "latefusion", "matte", str(SAMPLE), "-o", str(tmp_path), "--threads", "32")
    first, *rest = on_core_0(shim, *options).stderr.splitlines()
    assert first.startswith("warning: 32 threads are more than the 1 core that this process may")
    assert len(rest) == 1
    assert rest[0].startswith("1 cut out")
