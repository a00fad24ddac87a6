"""A run on Ray: tasks list or stream the source, actors do its groups, records come back."""

import logging
import os
import pickle
import re
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no report to anybody
os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # or it prints lines late, from another thread

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
from ray.data.block import BlockMetadata
from ray.exceptions import AuthenticationError, RayError, RayTaskError

from latefusion.cluster.ledger import NOTHING, Index, read_index, roll_up
from latefusion.cluster.sinks import is_shard_of, shard_path
from latefusion.cluster.sources import Source, groups_of, is_broken
from latefusion.cluster.storage import reached
from latefusion.cluster.worker import Order, Worker
from latefusion.errors import LatefusionError, reason
from latefusion.folder.batch import Done
from latefusion.folder.lock import only_run
from latefusion.folder.manifest import NAME
from latefusion.images.writing import remove_parts
from latefusion.parallel import usable_cores

# Deaths of workers at one group, which may be their cause. Retries count while a node is down and
# Ray does not know it yet: about one a second, for up to a minute.
DEATHS = 200
SLICES = 1000  # of a source's shards; at most as many are read at the same time


def run_on_ray(
    order: Order, report: Callable[[Done], None], address: str | None = None, resume: bool = False
) -> None:
    """Do all photos of an order on a cluster, and report each when its group is committed.

    `address` is that of a cluster's head, `auto` for the cluster of this machine; None starts one
    on this machine alone. With `resume`, results of an earlier run are kept. A worker that dies is
    replaced, and its group is done again; Ctrl-C keeps what is committed. At the end the records
    are in the manifest. Raises LatefusionError.
    """
    with only_run(order.out.local) if order.out.local else nullcontext():
        _run(order, report, address, resume)


def _run(order: Order, report: Callable[[Done], None], address: str | None, resume: bool) -> None:
    shards = order.into != "files"
    with reached(order.out):
        roll_up(order.out)  # the commits of a run that was killed
        found = read_index(order.out, shards)  # also refuses a file that is no manifest
    before = found if resume else NOTHING
    seen: set[str] = set()
    whole, complete = True, False
    try:
        with _cluster(address):
            for key, done in _groups_done(order, before):
                if shards and any(each.record.outputs for each in done):
                    seen.add(shard_path(key, order.into))
                whole = whole and not is_broken(key)
                for each in done:
                    report(each)
        complete = whole
    finally:
        if order.out.local:
            _remove_parts(order.out.local)
        with reached(order.out):
            if shards and complete:
                _drop_others(order, seen)
            else:
                roll_up(order.out)


def _drop_others(order: Order, seen: set[str]) -> None:
    """Roll up, and remove the source's shards of an earlier run, which are all replaced.

    Folders below that have a manifest of their own are left alone.
    """

    def gone(path: str) -> bool:
        return is_shard_of(path, order.source.own_name, order.into) and path not in seen

    roll_up(order.out, gone)
    files = order.out.files()
    others = tuple({path.partition(NAME)[0] for path in files if f"/{NAME}" in path})
    order.out.remove([path for path in files if gone(path) and not path.startswith(others)])


def _groups_done(order: Order, before: Index) -> Iterator[tuple[str, list[Done]]]:
    places = _places(order.threads, order.gpus)
    photos = _Groups(order.source, order.size)
    groups = ray.data.read_datasource(photos, num_cpus=0, concurrency=places)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # max_task_retries has no named parameter yet
        done = groups.map_batches(
            _Actor,
            fn_constructor_args=(order, ray.put(before)),
            batch_size=1,
            compute=ActorPoolStrategy(min_size=1, max_size=places, initial_size=places),
            num_cpus=order.threads,
            num_gpus=order.gpus,
            max_task_retries=DEATHS,
        )
    for row in done.iter_rows():
        yield row["key"], pickle.loads(row["done"])


class _Actor(Worker):
    """A worker that takes the index, which may be large, from Ray's object store."""

    def __init__(self, order: Order, before: "ray.ObjectRef[Index]") -> None:
        super().__init__(order, ray.get(before))


def _places(cores: int, gpus: int) -> int:
    """Number of workers that the nodes have room for. Raises LatefusionError if it is 0."""
    wanted = {"CPU": cores} | ({"GPU": gpus} if gpus else {})
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    places = sum(
        min(int(node.get(name, 0) // count) for name, count in wanted.items()) for node in nodes
    )
    if not places:
        named = f"{cores} cores" + (f" and {gpus} GPU" if gpus else "")
        raise LatefusionError(f"no node of the cluster has room for a worker of {named}")
    if ray.available_resources().get("CPU", 0) < cores:
        warnings.warn("all cores of the cluster are taken; waiting for some", stacklevel=2)
    return places


class _Groups(Datasource):
    """The groups of a source for Ray Data, streamed no faster than they are done."""

    def __init__(self, source: Source, size: int) -> None:
        self.source = source
        self.size = size

    def get_name(self) -> str:
        return "photos"

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        shards = self.source.shards
        slices = min(len(shards), SLICES)
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [
            ReadTask(_Read(self.source.only(shards[number::slices]), self.size), unknown)
            for number in range(slices)
        ]


class _Read:
    """A read task: yields a block for each group, with the group pickled."""

    def __init__(self, source: Source, size: int) -> None:
        self.source, self.size = source, size

    def __call__(self) -> Iterator[pa.Table]:
        for shard in self.source.shards:
            for group in groups_of(self.source, shard, self.size):
                yield pa.table({"group": pa.array([pickle.dumps(group)], pa.large_binary())})


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """A Ray session without output of its own, and with errors of one line."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    _knock(address)
    before = signal.getsignal(signal.SIGTERM)
    try:
        _join(address)
        signal.signal(signal.SIGTERM, _interrupt)  # Ray's own handler exits with 15
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        yield
    except RayError as error:
        if ours := re.findall(r"^latefusion\.errors\.\w+: (.+)$", str(error), re.MULTILINE):
            raise LatefusionError(ours[-1]) from None
        if isinstance(error, RayTaskError):
            raise  # a bug
        raise LatefusionError(f"the cluster failed: {_first_line(error)}") from None
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(number)


def _join(address: str | None) -> None:
    try:
        ray.init(
            address=address or "local",
            num_cpus=None if address else usable_cores(),  # Ray's own count ignores the affinity
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            include_dashboard=None if address else False,
        )
    except AuthenticationError:
        raise LatefusionError(
            f"the cluster at {address} wants a token; set RAY_AUTH_MODE=token, with its token in"
            " ~/.ray/auth_token"
        ) from None
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise LatefusionError(f"no Ray cluster at {address}: {_first_line(error)}") from None


def _knock(address: str | None) -> None:
    """Raise LatefusionError if nothing listens at HOST:PORT; Ray would wait for minutes."""
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise LatefusionError(f"no Ray cluster at {address}: {reason(error)}") from None


def _first_line(error: BaseException) -> str:
    return reason(OSError(str(error).strip().partition("\n")[0]))


def _remove_parts(folder: Path) -> None:
    """Remove half-written files of killed workers, anywhere in the results."""
    for inside, _, _ in os.walk(folder):
        remove_parts(Path(inside))
