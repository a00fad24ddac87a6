"""Photos wherever they lie, folders, tar shards or Parquet, as small groups, streamed.

A group is what one worker does at a time and what is committed at once. Which photos are in which
group follows from the source alone, so that a group that is done twice comes out the same.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import PurePosixPath
from typing import NamedTuple

from fsspec.core import has_magic

from latefusion.cluster.shards import READERS, Kind, kind_of
from latefusion.cluster.storage import (
    Storage,
    patience,
    patiently,
    storage_of,
    transient_errors,
)
from latefusion.errors import DataError, LatefusionError, reason, shown
from latefusion.folder.jobs import bases, key_of, stem_of
from latefusion.folder.tars import is_hidden

GROUP_BYTES = 128_000_000  # of photos that travel in one group
BROKEN = "-broken"


class Item(NamedTuple):
    """A photo to be done; `data` is its content, None where its file is still to be read."""

    name: str  # below the source, with / between the parts
    base: str  # what its results begin with
    data: bytes | None = None


class Group(NamedTuple):
    """Some photos under a key of their own; `problem` is what ended their file too early."""

    key: str
    items: tuple[Item, ...]
    problem: str | None = None


@dataclass(frozen=True)
class Source:
    """Where the photos are: a folder to walk, photos by name, or shards; paths below `storage`."""

    storage: Storage
    kind: Kind
    place: str  # as it was given, made absolute
    paths: tuple[str, ...] = ()
    recursive: bool = False
    out: str = ""  # the folder of the results where that lies inside, with / at the end
    shard_bases: dict[str, str] = field(default_factory=dict)

    @property
    def own_name(self) -> str:
        """Eight letters that begin the keys of its groups, and of no other source's."""
        place = self.place.encode(errors="surrogateescape")
        return hashlib.blake2b(place, digest_size=4).hexdigest()

    @property
    def shards(self) -> tuple[str, ...]:
        """What is read one by one: its shards; "" stands for all of a source without any."""
        return self.paths if self.shard_bases else ("",)

    def only(self, shards: tuple[str, ...]) -> "Source":
        """The same source with some of its shards, for a reader that needs no others."""
        if not self.shard_bases:
            return self
        return replace(
            self, paths=shards, shard_bases={path: self.shard_bases[path] for path in shards}
        )

    def label(self, name: str) -> str:
        """A photo as error messages name it."""
        return self.storage.label(name)


def find_source(place: str, out: Storage, recursive: bool) -> Source:
    """What lies at a path, URL or glob. A folder without photos may hold shards. LatefusionError.

    Shards are .tar, .tar.gz and .parquet; of each glob all files have to be of one kind.
    """
    if has_magic(place) and not os.path.exists(place):  # noqa: PTH110 - never raises
        return _globbed(place, out)
    whole = storage_of(place)
    folder, _, name = whole.url.rstrip("/").rpartition("/")
    try:
        if not name or whole.is_folder():
            return _folder(whole, out, recursive)
    except FileNotFoundError:
        raise LatefusionError(f"{shown(place)} does not exist; check the spelling") from None
    except OSError as error:
        raise LatefusionError(f"{shown(place)} cannot be read: {reason(error)}") from None
    return _of_files(Storage(folder or "/"), [name], whole.url)


def groups_of(source: Source, path: str, size: int) -> Iterator[Group]:
    """The groups of a shard of the source, or, where it has none, of all photos.

    A shard that breaks off gives what came before, and then a group with the problem. A folder that
    cannot be listed raises DataError.
    """
    if source.kind in ("folder", "photos"):
        try:
            yield from in_groups(_listed(source), source.own_name, size)
        except OSError as error:
            raise DataError(f"{shown(source.place)} cannot be listed: {reason(error)}") from None
        return
    try:
        yield from _shard_groups(source, path, size)
    except DataError as error:
        yield _broken(_prefix(source, path), path, str(error))
    except transient_errors() as error:
        problem = f"{source.label(path)} cannot be read: {reason(error)}"
        yield _broken(_prefix(source, path), path, problem)


def _shard_groups(source: Source, path: str, size: int) -> Iterator[Group]:
    """The groups of a shard; a retry continues after those that were given."""
    base, given = source.shard_bases[path], 0
    for attempt in patience():
        with attempt:
            groups = in_groups(_items(source, path, base), _prefix(source, path), size)
            for group in islice(groups, given, None):
                yield group
                given += 1


def _prefix(source: Source, path: str) -> str:
    return _beside(source.shard_bases[path], source.own_name)


def in_groups(items: Iterable[Item], prefix: str, size: int) -> Iterator[Group]:
    """Items by the `size`, less where they are large, under numbered keys.

    Where a DataError ends them, those before it are given first.
    """
    held: list[Item] = []
    room, number = GROUP_BYTES, 0
    broken: DataError | None = None
    try:
        for item in items:
            length = len(item.data or b"")
            if held and (len(held) == size or length > room):
                yield Group(f"{prefix}-{number:06}", tuple(held))
                held, room, number = [], GROUP_BYTES, number + 1
            held.append(item)
            room -= length
    except DataError as error:
        broken = error
    if held:  # where the rest is missing, not in the place of what an earlier run had whole
        yield Group(f"{prefix}-{number:06}{'-cut' if broken else ''}", tuple(held))
    if broken:
        raise broken


def _beside(base: str, own_name: str) -> str:
    """What begins the keys of a shard's groups: in its folder, with the source's name in it."""
    path = PurePosixPath(base)
    return str(path.with_name(f"{own_name}-{path.name}"))


def is_broken(key: str) -> bool:
    """Whether a group with that key stands for what could not be read of its shard."""
    return key.endswith(BROKEN)


def _broken(prefix: str, path: str, problem: str) -> Group:
    return Group(f"{prefix}{BROKEN}", (Item(path, path),), problem)


def _folder(storage: Storage, out: Storage, recursive: bool) -> Source:
    here, there = _real_root(storage), _real_root(out)
    if here == there:
        raise LatefusionError(f"{storage.url} would be both source and target; give another -o")
    if here.startswith(there):
        raise LatefusionError(f"{storage.url} lies in the folder of the results; give another -o")
    inside = there.removeprefix(here) if there.startswith(here) else ""
    source = Source(storage, "folder", storage.url, recursive=recursive, out=inside)
    if next(_folders(source), None):
        return source
    shards = [name for name, is_folder in storage.entries() if not is_folder and kind_of(name)]
    if shards:
        return _of_files(storage, shards, storage.url)
    raise LatefusionError(f"no photos in {storage.url}; -r looks into folders below it, too")


def _real_root(storage: Storage) -> str:
    """Where it is whatever links lead there, with / at the end."""
    root = os.path.realpath(storage.root or "/") if storage.local else storage.root
    return f"{root.rstrip('/')}/"


def _globbed(pattern: str, out: Storage) -> Source:
    head, wild = _split_glob(pattern)
    storage = storage_of(head or ("/" if pattern.startswith("/") else "."))
    try:
        found: list[str] = patiently(lambda: storage.fs.glob(storage.at(wild)))
    except OSError as error:
        raise LatefusionError(f"{shown(pattern)} cannot be read: {reason(error)}") from None
    outside = [path for path in found if not path.startswith(f"{out.root}/")]
    if found and not outside:
        raise LatefusionError(
            f"{shown(pattern)} lies in the folder of the results; give another -o"
        )
    names = sorted(path.removeprefix(f"{storage.root}/") for path in outside)
    known = [name for name in names if kind_of(name) and not is_hidden(PurePosixPath(name))]
    return _of_files(storage, known, storage.label(wild))


def _split_glob(pattern: str) -> tuple[str, str]:
    """The folder before the first part with a wildcard, and the rest."""
    parts = pattern.split("/")
    first = next(number for number, part in enumerate(parts) if has_magic(part))
    return "/".join(parts[:first]), "/".join(parts[first:])


def _of_files(storage: Storage, paths: list[str], place: str) -> Source:
    kinds = {kind_of(path) for path in paths} - {None}
    if not kinds:
        raise LatefusionError(f"no photos and no shards at {shown(place)}")
    if len(kinds) > 1:
        named = ", ".join(sorted(str(kind) for kind in kinds))
        raise LatefusionError(f"{shown(place)} holds {named}; give a glob for one kind, like *.tar")
    kind = kinds.pop()
    assert kind
    kept = [path for path in paths if kind_of(path)]
    shard_bases = {} if kind == "photos" else dict(zip(kept, bases(kept), strict=True))
    return Source(storage, kind, place, tuple(kept), shard_bases=shard_bases)


def _listed(source: Source) -> Iterator[Item]:
    """The photos of a folder, one folder after the other, or those named."""
    lists = _folders(source) if source.kind == "folder" else iter([list(source.paths)])
    for names in lists:
        yield from map(Item, names, bases(names))


def _folders(source: Source) -> Iterator[list[str]]:
    """The names of the photos in each folder that holds some; hidden files are left out."""
    ahead = [""]
    while ahead:
        folder = ahead.pop()
        entries = [
            (f"{folder}{name}", is_folder)
            for name, is_folder in source.storage.entries(folder.rstrip("/"))
            if not name.startswith(".")
        ]
        photos = [
            path for path, is_folder in entries if not is_folder and kind_of(path) == "photos"
        ]
        if photos:
            yield photos
        if source.recursive:
            below = [f"{path}/" for path, is_folder in entries if is_folder]
            ahead += [path for path in below if path != source.out][::-1]


def _items(source: Source, path: str, base: str) -> Iterator[Item]:
    """The photos in a shard, in their order, under names that are safe and their own."""
    read = READERS[source.kind]
    names: dict[str, int] = {}
    taken: dict[str, int] = {}
    with source.storage.reading(path) as file:
        for number, (name, data) in enumerate(read(file, source.label(path))):
            safe = safe_name(name) or f"{number:08}"
            own = _untaken(safe, names)
            yield Item(f"{base}/{own}", f"{base}/{_own_base(own, taken)}", data)


def safe_name(name: str) -> str:
    """A name as a path that stays below the folder it is put in; "" where nothing is left."""
    parts = (name.partition("://")[2] or name).replace("\0", "")
    return "/".join(part for part in parts.split("/") if part not in ("", ".", ".."))


def _own_base(name: str, taken: dict[str, int]) -> str:
    """The name without its suffix; with it, or numbered, where an earlier one took that."""
    stem = stem_of(name)
    return _untaken(name if key_of(stem) in taken else stem, taken, key_of)


def _untaken(name: str, taken: dict[str, int], key: Callable[[str], str] = str) -> str:
    """The name, numbered where an earlier one took it; `taken` says where to go on counting."""
    own = name
    if number := taken.get(key(name), 0):
        while key(own) in taken:
            number += 1
            own = f"{name}-{number}"
        taken[key(name)] = number
    taken[key(own)] = 1
    return own
