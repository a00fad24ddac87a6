"""The work of an actor on a group: matte each photo, then commit the group."""

import io
import pickle
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from latefusion import __version__
from latefusion.cluster.ledger import Index, commit
from latefusion.cluster.sinks import Result, output_of, shard_path, write_shard
from latefusion.cluster.sources import Group, Item, Source
from latefusion.cluster.storage import Storage, reached
from latefusion.errors import LatefusionError, reason, shown
from latefusion.folder.batch import Batch, Done, Encoded, Written, matte_photo, write_result
from latefusion.folder.listing import record_of
from latefusion.folder.manifest import Record, digest_of, digest_of_bytes
from latefusion.images.writing import FORMATS_OUT, Picture, write_picture
from latefusion.inference.outputs import Into, Look
from latefusion.inference.predictor import Predictor
from latefusion.parallel import cores_for

AT_ONCE = 2  # photos, if reading and writing wait for remote storage


@dataclass(frozen=True, eq=False)
class Order:
    """The request of a run, pickled for the workers."""

    source: Source
    out: Storage
    predictor: Predictor
    model: str  # its sha256
    kinds: tuple[str, ...]
    suffix: str
    look: Look
    settings: str
    size: int  # photos in a group
    into: Into = "files"
    threads: int = 1  # of a worker, which takes as many cores
    gpus: int = 0  # of a worker
    version: str = __version__


class Worker:
    """A process with a network of its own, which Ray calls with groups of photos.

    Raises LatefusionError if this machine has another version of latefusion or of the network.
    """

    def __init__(self, order: Order, before: Index) -> None:
        cv2.setNumThreads(cores_for(order.threads))
        self.order = order
        self.before = before
        order.predictor.load()
        here = __version__, order.predictor.model.card["sha256"]
        if here != (order.version, order.model):
            raise LatefusionError(
                f"{socket.gethostname()} has another latefusion or another model than the machine"
                " that started the run; install the same on all"
            )
        root = order.out.local if order.out.local and order.into == "files" else Path()
        self.batch = Batch(order.predictor, root, order.look, order.settings)
        waits = not (order.out.local and order.source.storage.local)
        self.pool = ThreadPoolExecutor(AT_ONCE if waits else 1)

    def __call__(self, rows: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
        """Do rows of pickled groups; yield rows of their keys and pickled results."""
        for row in rows["group"]:
            group = pickle.loads(row)
            with reached(self.order.out):
                done = self.do(group)
            yield {"key": [group.key], "done": [pickle.dumps(done)]}

    def do(self, group: Group) -> list[Done]:
        """Do a group and commit it: on return, all its results and records are stored."""
        if group.problem:
            record = Record(group.items[0].name, "", self.order.settings, error=group.problem)
            commit(self.order.out, group.key, [record])
            return [Done(record, True)]
        if group.passed:
            records = [record_of(each, self.order.settings) for each in group.passed]
            commit(self.order.out, group.key, records)
            return [Done(record, True) for record in records]
        if self.order.into == "files":
            done = list(self.pool.map(lambda item: self._photo(item, group.key)[0], group.items))
        else:
            done = self._kept_shard(group) or self._shard(group)
        fresh = [each.record for each in done if each.fresh]
        if fresh:
            into = self.order.into
            key = group.key if into == "files" else shard_path(group.key, into)
            commit(self.order.out, key, fresh)
        return done

    def _shard(self, group: Group) -> list[Done]:
        found = list(self.pool.map(lambda item: self._photo(item, group.key), group.items))
        out, into = self.order.out, self.order.into
        commit(out, shard_path(group.key, into), [])  # invalidates its older records
        write_shard(out, group.key, into, ((done.record, results) for done, results in found))
        return [done for done, _ in found]

    def _kept_shard(self, group: Group) -> list[Done]:
        """The results of an earlier run, if its shard is whole and holds exactly these photos."""
        if not len(self.before):
            return []
        try:
            digests = [self._source(item)[1] for item in group.items]
        except OSError:  # a photo is gone
            return []
        planned = [
            self._planned(item, digest, group.key)
            for item, digest in zip(group.items, digests, strict=True)
        ]
        good = [record for record in planned if self.before.holds(record)]
        bad = [Record(each.photo, each.sha256, each.settings, error="-") for each in planned]
        held = len(good) + sum(bool(each.sha256) and self.before.holds(each) for each in bad)
        shard = shard_path(group.key, self.order.into)
        whole = held == len(planned) and len(good) == self.before.sizes.get(shard, 0)
        if whole and (not good or self.order.out.exists(shard)):
            return [Done(record, False) for record in planned]
        return []

    def _photo(self, item: Item, key: str) -> tuple[Done, list[Result]]:
        """Do one photo; its record, and its results if they go into a shard."""
        try:
            source, sha256 = self._source(item)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            problem = "does not exist" if missing else f"cannot be read: {reason(error)}"
            text = f"{shown(self._label(item))} {problem}"
            return Done(Record(item.name, "", self.order.settings, error=text), True), []
        planned = self._planned(item, sha256, key)
        if self.order.into == "files" and self._is_done(planned):
            return Done(planned, False), []
        results: list[Result] = []
        kinds = {path: kind for kind, path in self._results(item)}

        def encode(path: Path, picture: Picture) -> Written:
            file = io.BytesIO()
            write_picture(file, picture, FORMATS_OUT[self.order.suffix], self._label(item))
            if self.order.into == "files":
                self.order.out.write(path.as_posix(), file.getbuffer())
            else:
                results.append(Result(kinds[path], path.as_posix(), file.getvalue()))
            return len(file.getbuffer()), digest_of_bytes(file.getvalue())

        straight = self.order.into == "files" and self.order.out.local
        write = write_result if straight else encode
        photo = Encoded(source, self._label(item))
        record = matte_photo(photo, planned, self._results(item), self.batch, write)
        return Done(record, True), [] if record.error else results

    def _source(self, item: Item) -> tuple[Path | bytes, str]:
        """A photo's file or content, and its digest. Raises OSError."""
        storage = self.order.source.storage
        if item.data is not None:
            return item.data, digest_of_bytes(item.data)
        if storage.local:
            path = storage.local / item.name
            return path, digest_of(path)
        data = storage.read(item.name)
        return data, digest_of_bytes(data)

    def _planned(self, item: Item, sha256: str, key: str) -> Record:
        """The record of a success, without the fields that the work adds."""
        root, into = self.batch.root, self.order.into
        paths = [path.relative_to(root).as_posix() for _, path in self._results(item)]
        outputs = list(dict.fromkeys(output_of(path, key, into) for path in paths))
        return Record(item.name, sha256, self.order.settings, outputs)

    def _is_done(self, planned: Record) -> bool:
        size = self.order.out.size
        return self.before.holds(planned) and all(size(output) for output in planned.outputs)

    def _results(self, item: Item) -> list[tuple[str, Path]]:
        suffix, root = self.order.suffix, self.batch.root
        return [(kind, root / f"{item.base}-{kind}{suffix}") for kind in self.order.kinds]

    def _label(self, item: Item) -> str:
        return self.order.source.label(item.name)
