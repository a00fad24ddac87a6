"""What is done, in a form that a kill at any moment leaves true: one small file for each group.

A group is done when its part of the manifest is there, which is written last. The parts are rolled
up into `manifest.jsonl`, the same that the folder mode writes. Of several records of a photo the
last one counts; what an earlier run said of a shard falls where that shard has a part of its own.
In memory are two numbers a photo, 16 bytes.
"""

import hashlib
import json
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from latefusion.cluster.storage import Storage
from latefusion.errors import OutputError
from latefusion.folder.manifest import BEGIN, NAME, Record, line_of, record_of

PARTS = f"{NAME}.parts"
AT_ONCE = 500  # parts that are read at a time
UINT64 = "Q"  # as `array` calls it


def part_of(key: str) -> str:
    """Where a group's part of the manifest lies, in the folder of the results.

    The key of a group whose results make a shard is that shard's path.
    """
    return f"{PARTS}/{key}.jsonl"


def commit(out: Storage, key: str, records: Iterable[Record]) -> None:
    """Write a group's part: from now on it is done. Raises OutputError."""
    out.write(part_of(key), b"".join(map(line_of, records)))


class Mark(NamedTuple):
    """A photo's name as a number, and as another one all that a record says of how it was done."""

    name: int
    facts: int


def mark_of(record: Record) -> Mark:
    """The mark of a photo's record; `settings` and outputs, or a failure, are among the facts."""
    outputs = sorted(record.outputs)
    facts = [record.sha256, record.settings, outputs, record.error is not None]
    return Mark(_number(record.photo), _number(json.dumps(facts)))


def _number(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


@dataclass(frozen=True, eq=False)
class Index:
    """What an earlier run did, to be looked up by many workers.

    `sizes` says of each shard how many of its records are there.
    """

    names: NDArray[np.uint64]  # sorted
    facts: NDArray[np.uint64]
    sizes: dict[str, int]

    def __len__(self) -> int:
        return len(self.names)

    def holds(self, record: Record) -> bool:
        """Whether just this is what the manifest says of the photo."""
        mark = mark_of(record)
        at = int(np.searchsorted(self.names, np.uint64(mark.name)))
        return (
            at < len(self.names)
            and int(self.names[at]) == mark.name
            and int(self.facts[at]) == mark.facts
        )


NOTHING = Index(np.empty(0, np.uint64), np.empty(0, np.uint64), {})


def read_index(out: Storage, shards: bool) -> Index:
    """The index of a rolled-up manifest, empty where there is none. Raises OutputError.

    With `shards` its outputs lie in shards, whose sizes are counted.
    """
    names, facts = array(UINT64), array(UINT64)
    sizes: dict[str, int] = {}
    for _, record in _manifest(out):
        mark = mark_of(record)
        names.append(mark.name)
        facts.append(mark.facts)
        if shards and record.outputs:
            shard = shard_of(record.outputs[0])
            sizes[shard] = sizes.get(shard, 0) + 1
    order = np.argsort(np.array(names))
    return Index(np.array(names)[order], np.array(facts)[order], sizes)


def shard_of(output: str) -> str:
    """The shard that an output lies in: `x.tar` of `tar://a/me-cutout.png::x.tar`."""
    return output.rpartition("::")[2]


def _shard_in(record: Record) -> str:
    return shard_of(record.outputs[0]) if record.outputs else ""


def roll_up(out: Storage, gone: Callable[[str], bool] | None = None) -> None:
    """Bring all parts into the manifest, a line a photo, then remove them. Raises OutputError.

    `gone` tells the shards whose records are to be left out. All records lie in a temporary file
    meanwhile.
    """
    parts = [path for path in out.files(PARTS) if path.endswith(".jsonl")]
    if not parts and not (gone and out.exists(NAME)):
        return
    remade = {path.removeprefix(f"{PARTS}/").removesuffix(".jsonl") for path in parts}
    names = array(UINT64)
    with TemporaryFile() as spool:
        for line, record in chain(_manifest(out, remade), _parts(out, parts)):
            if not (gone and gone(_shard_in(record))):
                spool.write(line)
                names.append(_number(record.photo))
        last = _last_ones(np.array(names))
        spool.seek(0)
        with out.writing(NAME) as file:
            file.writelines(compress(spool, last))
    out.remove_tree(PARTS)


def _last_ones(names: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which ones of these have no equal behind them."""
    kept = np.zeros(len(names), np.bool_)
    kept[len(names) - 1 - np.unique(names[::-1], return_index=True)[1]] = True
    return kept


def _manifest(
    out: Storage, remade: Collection[str] = frozenset()
) -> Iterator[tuple[bytes, Record]]:
    """Lines and records of the manifest, where there is one, but for shards that were `remade`."""
    if not out.exists(NAME):
        return
    with out.copied(NAME) as file:
        for line, record in _parsed(out.label(NAME), file):
            if not remade or _shard_in(record) not in remade:
                yield line, record


def _parts(out: Storage, parts: Sequence[str]) -> Iterator[tuple[bytes, Record]]:
    """Lines and records of the parts, many of which are fetched at a time."""
    for start in range(0, len(parts), AT_ONCE):
        paths = parts[start : start + AT_ONCE]
        for path, data in zip(paths, out.read_all(paths), strict=True):
            yield from _parsed(out.label(path), data.splitlines(keepends=True))


def _parsed(label: str, lines: Iterable[bytes]) -> Iterator[tuple[bytes, Record]]:
    """Lines, each with its end, and their records. Raises OutputError."""
    for line in lines:
        record = record_of(line)
        cut = not line.endswith(b"\n") and BEGIN.startswith(line[: len(BEGIN)])
        if record is None and cut:
            continue  # the folder mode was killed in the middle of its last line
        if record is None:
            raise OutputError(f"{label} is no manifest of latefusion; choose another -o")
        yield line if line.endswith(b"\n") else line + b"\n", record
