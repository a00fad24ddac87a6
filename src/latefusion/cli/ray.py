"""The folder mode of `matte` on a Ray cluster: refusals, the run, its output."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import typer

from latefusion.cli.folder import Task
from latefusion.cli.options import Cluster
from latefusion.cli.run_log import RunLog
from latefusion.cli.terminal import item_bar
from latefusion.cluster.hush import hushed
from latefusion.cluster.ledger import shard_of
from latefusion.cluster.run import run_on_ray
from latefusion.cluster.sources import find_source
from latefusion.cluster.storage import Storage, storage_of
from latefusion.cluster.worker import Order
from latefusion.errors import LatefusionError, shown
from latefusion.folder.batch import Done
from latefusion.folder.listing import passed_of
from latefusion.images.writing import FORMATS_OUT

GPUS = ("cuda", "rocm", "migraphx")
FILES_A_GROUP = 8  # photos committed together if each result is a file


def matte_on_ray(task: Task, cluster: Cluster) -> bool:
    """Do the photos of one place on a cluster; True if none failed. Raises LatefusionError."""
    _refuse(task, cluster)
    out = storage_of(cluster.out)
    source = find_source(task.photos[0], out, task.wish.recursive)
    _spare(task, out)
    threads = task.threads or 1
    predictor = task.network(threads=threads)
    model = predictor.model.card["sha256"]
    order = Order(
        source=source,
        out=out,
        predictor=predictor,
        model=model,
        kinds=tuple(task.wish.kinds),
        suffix=task.wish.suffix,
        look=task.look,
        settings=task.settings(model=model),
        into=cluster.into,
        size=FILES_A_GROUP if cluster.into == "files" else cluster.per_shard,
        threads=threads,
        gpus=1 if cluster.device in GPUS else 0,
    )
    log = RunLog()
    shards: set[str] | None = None if cluster.into == "files" else set()
    try:
        with hushed(), item_bar(None, "photos") as step:
            report = partial(_report, log, step, cluster.out.rstrip("/"), shards)
            run_on_ray(order, report, cluster.address, task.resume)
    finally:
        log.summary()
    if not log.done + log.failed + log.left:
        raise LatefusionError(f"no photos in {shown(source.place)}")
    return not log.failed


def _refuse(task: Task, cluster: Cluster) -> None:
    if task.review or task.watch or task.timeout:
        raise typer.BadParameter("--review, --watch and --timeout do not go with --engine ray")
    if len(task.photos) != 1:
        raise typer.BadParameter(
            f"--engine ray takes one folder, glob or shard, not {len(task.photos)}; quote a glob"
        )
    if Path(cluster.out).suffix.lower() in FORMATS_OUT:
        raise typer.BadParameter(f"-o {cluster.out} is a file; --engine ray writes into a folder")


def _spare(task: Task, out: Storage) -> None:
    """Raise LatefusionError for results in the folder of a background or model that is read."""
    home = out.local
    for given in task.wish.inputs if home and not task.wish.overwrite else ():
        if home and given.resolve().is_relative_to(home.resolve()):
            raise LatefusionError(
                f"{shown(given)} is read and lies in the folder of the results; choose another -o"
            )


def _report(
    log: RunLog, step: Callable[[], None], out: str, shards: set[str] | None, done: Done
) -> None:
    """Print a photo's files, or its shard if it was not printed yet."""
    if done.record.skipped:
        log.passed[Path(done.record.photo)] = passed_of(done.record)
        return
    step()
    names = list(done.record.outputs)
    if shards is not None:
        names = sorted({shard_of(output) for output in names} - shards)
        shards.update(names)
    log.add(done, [f"{out}/{name}" for name in names])
