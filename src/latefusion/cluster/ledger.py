"""The manifest of a distributed run: a file for each finished group, merged at the end.

A group is done when its file, a part of the manifest, exists; it is written after the results, so
that a run can be killed at any moment. The parts are merged into `manifest.jsonl`, in the format of
the folder mode. The last of several records of a photo counts. If a shard has a part, earlier
records of that shard are dropped. An index holds two numbers (16 bytes) per photo in memory.
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
from latefusion.errors import shown
from latefusion.folder.manifest import NAME, Lines, Record, line_of

PARTS = f"{NAME}.parts"
AT_ONCE = 500  # parts that are read at a time
UINT64 = "Q"  # a typecode of `array`


def part_of(key: str) -> str:
    """The path of a group's part of the manifest, below the output folder.

    If the group's results form a shard, `key` is the path of that shard.
    """
    return f"{PARTS}/{key}.jsonl"


def commit(out: Storage, key: str, records: Iterable[Record]) -> None:
    """Write a group's part, which marks the group as done. Raises OutputError."""
    out.write(part_of(key), b"".join(map(line_of, records)))


class Mark(NamedTuple):
    """Two 64-bit hashes of a record: of the photo's name, and of how the photo was done."""

    name: int
    facts: int


def mark_of(record: Record) -> Mark:
    """Hash a record; its facts are the content's sha256, settings, outputs, and if it failed."""
    outputs = sorted(record.outputs)
    facts = [record.sha256, record.settings, outputs, record.error is not None]
    return Mark(_number(record.photo), _number(json.dumps(facts)))


def _number(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


@dataclass(frozen=True, eq=False)
class Index:
    """The marks of an earlier run's records, for lookup by many workers."""

    names: NDArray[np.uint64]  # (N,), sorted
    facts: NDArray[np.uint64]  # (N,), in the order of `names`
    sizes: dict[str, int]  # number of records of each shard

    def __len__(self) -> int:
        return len(self.names)

    def holds(self, record: Record) -> bool:
        """True if the manifest has a record of this photo with the same facts."""
        mark = mark_of(record)
        at = int(np.searchsorted(self.names, np.uint64(mark.name)))
        return (
            at < len(self.names)
            and int(self.names[at]) == mark.name
            and int(self.facts[at]) == mark.facts
        )


NOTHING = Index(np.empty(0, np.uint64), np.empty(0, np.uint64), {})


def read_index(out: Storage, shards: bool) -> Index:
    """Read the index of a merged manifest; it is empty if there is none. Raises OutputError.

    `shards` means that outputs are in shards; then the records of each are counted.
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
    """The shard that contains an output: `x.tar` for `tar://a/me-cutout.png::x.tar`."""
    return output.rpartition("::")[2]


def _shard_in(record: Record) -> str:
    return shard_of(record.outputs[0]) if record.outputs else ""


def roll_up(out: Storage, gone: Callable[[str], bool] | None = None) -> None:
    """Merge all parts into the manifest, one line per photo, then remove them. Raises OutputError.

    Records of shards for which `gone` returns true are dropped. Records are kept in a temporary
    file meanwhile, not in memory.
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
    """A mask, (N,) bool, of the last occurrence of each name."""
    kept = np.zeros(len(names), np.bool_)
    kept[len(names) - 1 - np.unique(names[::-1], return_index=True)[1]] = True
    return kept


def _manifest(
    out: Storage, remade: Collection[str] = frozenset()
) -> Iterator[tuple[bytes, Record]]:
    """Yield lines and records of the manifest, if it exists, except for the shards in `remade`."""
    if not out.exists(NAME):
        return
    with out.copied(NAME) as file:
        for line, record in _parsed(out.label(NAME), file):
            if not remade or _shard_in(record) not in remade:
                yield line, record


def _parts(out: Storage, parts: Sequence[str]) -> Iterator[tuple[bytes, Record]]:
    """Yield lines and records of the parts, reading AT_ONCE parts at a time."""
    for start in range(0, len(parts), AT_ONCE):
        paths = parts[start : start + AT_ONCE]
        for path, data in zip(paths, out.read_all(paths), strict=True):
            yield from _parsed(out.label(path), data.splitlines(keepends=True))


def _parsed(label: str, found: Iterable[bytes]) -> Iterator[tuple[bytes, Record]]:
    """Yield lines, each ending in a newline, and their records. Raises OutputError."""
    lines = Lines(found, shown(label))
    yield from lines
    lines.warn()
