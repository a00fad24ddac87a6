"""The cores and memory that this process may use, and parallel work whose results keep order."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

MOST_WORKERS = 8

Given = TypeVar("Given")
Made = TypeVar("Made")


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores that this process may use, at least 1.

    The least of its affinity, the CPU quotas of its control groups (rounded up) and the first
    number of OMP_NUM_THREADS. `root` is the folder that holds `proc` and the control groups.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    limits = [math.ceil(quota) for quota in _quotas(root)]
    if wanted.isdecimal() and int(wanted):
        limits.append(int(wanted))
    return max(1, min([cores, *limits]))


def cores_for(threads: int | None) -> int:
    """Return the number of threads to use where `threads` are requested; None for all cores.

    Threads beyond the usable cores would only wait for each other, many seconds per photo.
    """
    cores = usable_cores()
    return min(int(threads or cores), cores)


def too_many(threads: int | None) -> str | None:
    """Return a warning in one line if `threads` are more than the usable cores."""
    cores = usable_cores()
    if threads is None or threads <= cores:
        return None
    name = "core" if cores == 1 else "cores"
    return (
        f"{threads} threads are more than the {cores} {name} that this process may use"
        f" (affinity, CPU quota, OMP_NUM_THREADS); using {cores}"
    )


def side_by_side(threads: int | None = None) -> int:
    """Return the number of frames to process in parallel: one per thread, by default per core."""
    return min(cores_for(threads), MOST_WORKERS)


class Memory(NamedTuple):
    """Bytes that this process may still take, and all that it could ever have."""

    free: int
    total: int


def usable_memory(root: Path = Path("/")) -> Memory | None:
    """Return the least of the machine's memory and what its control groups leave; None if unknown.

    Files that the system only keeps in memory count as free. `root` is as in `usable_cores`.
    """
    entries = dict(line.split(":", 1) for line in _lines(root / "proc/meminfo") if ":" in line)
    if not {"MemAvailable", "MemTotal"} <= entries.keys():
        return None
    free, total = (1024 * int(entries[name].split()[0]) for name in ("MemAvailable", "MemTotal"))
    for limit, used in _memory_limits(root):
        free, total = min(free, max(0, limit - used)), min(total, limit)
    return Memory(free, total)


MEMORY_FILES = (  # limit, use, and how memory.stat calls the files that are only kept: v2 and v1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def _memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    """Yield limit and use, in bytes, of each control group that limits this process's memory."""
    for mount, inside in _groups(root, "memory"):
        for folder in [mount / part for part in (inside, *inside.parents)]:
            for limit_name, use_name, kept_name in MEMORY_FILES:
                limit, _ = _numbers(folder / limit_name)  # v2: "max" without a limit
                used, _ = _numbers(folder / use_name)
                if limit is not None and used is not None:
                    stat = dict(line.split() for line in _lines(folder / "memory.stat"))
                    yield limit, used - int(stat.get(kept_name, 0))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quota, in cores, of each control group that this process is in, v1 and v2."""
    for mount, inside in _groups(root, "cpu"):
        for folder in [mount / part for part in (inside, *inside.parents)]:
            quota, period = _numbers(folder / "cpu.max")  # v2: "max 100000" without a quota
            if quota is None:
                quota, _ = _numbers(folder / "cpu.cfs_quota_us")  # v1: -1 without a quota
                period, _ = _numbers(folder / "cpu.cfs_period_us")
            if quota and period and min(quota, period) > 0:
                yield quota / period


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, PurePosixPath]]:
    """Yield where control groups with this controller are mounted, and this process's group."""
    groups = {}
    for line in _lines(root / "proc/self/cgroup"):  # 4:cpu,cpuacct:/docker/ab12, in v2 0::/a
        _, controllers, group = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            groups["cgroup" if controllers else "cgroup2"] = PurePosixPath(group)
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        _, _, _, top, mount, *_ = before.split(" ")
        if kind in groups and (kind == "cgroup2" or controller in options.split(",")):
            inside = groups[kind]
            # A container may see only a part of the groups, from `top` on.
            inside = inside.relative_to(top) if inside.is_relative_to(top) else PurePosixPath()
            yield root / mount.lstrip("/"), inside


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:  # not Linux, or not for this user to read
        return []


def _numbers(file: Path) -> tuple[int | None, int | None]:
    """The first two whole numbers of a control group's file; None for each that is none."""
    words = [*" ".join(_lines(file)).split(), "", ""]
    first, second = (int(word) if word.lstrip("-").isdecimal() else None for word in words[:2])
    return first, second


def in_order(
    pool: Executor, work: Callable[[Given], Made], items: Iterable[Given], ahead: int
) -> Iterator[Made]:
    """Yield `work(item)` for each item, in order, computing at most `ahead` results in advance.

    `items` is iterated in the calling thread, as results are requested.
    """
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
