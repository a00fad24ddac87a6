"""Streams of small groups of photos from folders, tar shards or Parquet files.

A worker does one group at a time, and commits it as a whole. The groups depend on the source only,
so that a group that is done twice has the same photos and the same key.
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
from latefusion.folder.listing import Passed, reason_of
from latefusion.folder.tars import is_hidden

GROUP_BYTES = 128_000_000  # most bytes of photos in one group
BROKEN, PASSED = "-broken", "-passed"


class Item(NamedTuple):
    """A photo to be done; `data` is its content, or None if the worker has to read the file."""

    name: str  # path below the source, with / between the parts
    base: str  # path of its results, less kind and suffix
    data: bytes | None = None


class Group(NamedTuple):
    """Some photos with a unique key; `problem` says why a shard could not be read to its end.

    The last group of a folder has no photos, but the files that are passed over, if there are any.
    """

    key: str
    items: tuple[Item, ...]
    problem: str | None = None
    passed: tuple[Passed, ...] = ()


@dataclass(frozen=True)
class Source:
    """The photos to do: a folder to walk, photos by name, or shards."""

    storage: Storage
    kind: Kind
    place: str  # the path, URL or glob that was given, made absolute
    paths: tuple[str, ...] = ()  # of photos or shards, below `storage`
    recursive: bool = False
    out: str = ""  # path of the output folder if it is inside the source, with / at the end
    # For each shard, the prefix of its photos' names.
    shard_bases: dict[str, str] = field(default_factory=dict)

    @property
    def own_name(self) -> str:
        """Eight hex digits that begin the keys of its groups, a hash of `place`."""
        place = self.place.encode(errors="surrogateescape")
        return hashlib.blake2b(place, digest_size=4).hexdigest()

    @property
    def shards(self) -> tuple[str, ...]:
        """The arguments for `groups_of`: its shards, or "" if it has none."""
        return self.paths if self.shard_bases else ("",)

    def only(self, shards: tuple[str, ...]) -> "Source":
        """A copy of the source with some of its shards, small enough to send to a reader."""
        if not self.shard_bases:
            return self
        return replace(
            self, paths=shards, shard_bases={path: self.shard_bases[path] for path in shards}
        )

    def label(self, name: str) -> str:
        """The full name of a photo for error messages."""
        return self.storage.label(name)


def find_source(place: str, out: Storage, recursive: bool) -> Source:
    """Find the photos or shards at a path, URL or glob. Raises LatefusionError.

    A folder without photos may contain shards: .tar, .tar.gz, .tgz, .parquet or .pq files. All
    files must be of the same kind.
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
    """Yield the groups of one of `source.shards`, with up to `size` photos each.

    For a damaged shard, yield the photos before the damage, then a group with the problem. Raises
    DataError if a folder cannot be listed.
    """
    if source.kind in ("folder", "photos"):
        passed: list[Passed] = []
        try:
            yield from in_groups(_listed(source, passed), source.own_name, size)
        except OSError as error:
            raise DataError(f"{shown(source.place)} cannot be listed: {reason(error)}") from None
        if passed:
            yield Group(f"{source.own_name}{PASSED}", (), passed=tuple(passed))
        return
    try:
        yield from _shard_groups(source, path, size)
    except DataError as error:
        yield _broken(_prefix(source, path), path, str(error))
    except transient_errors() as error:
        problem = f"{source.label(path)} cannot be read: {reason(error)}"
        yield _broken(_prefix(source, path), path, problem)


def _shard_groups(source: Source, path: str, size: int) -> Iterator[Group]:
    """Yield the groups of a shard; a retry resumes after the groups already yielded."""
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
    """Yield groups of up to `size` items and GROUP_BYTES bytes, with numbered keys.

    If `items` raises DataError, yield the items before it first, then raise it.
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
    if held:  # an incomplete group has a key of its own, so as not to replace a complete one
        yield Group(f"{prefix}-{number:06}{'-cut' if broken else ''}", tuple(held))
    if broken:
        raise broken


def _beside(base: str, own_name: str) -> str:
    """The prefix of the keys of a shard's groups: the shard's base with the source's name."""
    path = PurePosixPath(base)
    return str(path.with_name(f"{own_name}-{path.name}"))


def is_broken(key: str) -> bool:
    """True if the group with this key reports the problem of a damaged shard."""
    return key.endswith(BROKEN)


def _broken(prefix: str, path: str, problem: str) -> Group:
    return Group(f"{prefix}{BROKEN}", (Item(path, path),), problem)


def _folder(storage: Storage, out: Storage, recursive: bool) -> Source:
    here, there = _real_root(storage), _real_root(out)
    if here == there:
        raise LatefusionError(f"{storage.url} is both source and target; choose another -o")
    if here.startswith(there):
        raise LatefusionError(f"{storage.url} is inside the output folder; choose another -o")
    inside = there.removeprefix(here) if there.startswith(here) else ""
    source = Source(storage, "folder", storage.url, recursive=recursive, out=inside)
    if any(photos for photos, _ in _folders(source)):
        return source
    shards = [name for name, is_folder in storage.entries() if not is_folder and kind_of(name)]
    if shards:
        return _of_files(storage, shards, storage.url)
    raise LatefusionError(f"no photos in {storage.url}; use -r to include its subfolders")


def _real_root(storage: Storage) -> str:
    """The path with symbolic links resolved if it is local, and / at the end."""
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
        raise LatefusionError(f"{shown(pattern)} is inside the output folder; choose another -o")
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
        raise LatefusionError(f"no photos or shards at {shown(place)}; check the spelling")
    if len(kinds) > 1:
        named = ", ".join(sorted(str(kind) for kind in kinds))
        raise LatefusionError(
            f"{shown(place)} contains {named}; give a glob for one kind, such as *.tar"
        )
    kind = kinds.pop()
    assert kind
    kept = [path for path in paths if kind_of(path)]
    shard_bases = {} if kind == "photos" else dict(zip(kept, bases(kept), strict=True))
    return Source(storage, kind, place, tuple(kept), shard_bases=shard_bases)


def _listed(source: Source, passed: list[Passed]) -> Iterator[Item]:
    """Yield the photos of the source, folder by folder, or those given by name.

    Files of a folder that are passed over are added to `passed` on the way.
    """
    if source.kind != "folder":
        yield from map(Item, source.paths, bases(source.paths))
        return
    for names, others in _folders(source):
        yield from map(Item, names, bases(names))
        passed += others


def _folders(source: Source) -> Iterator[tuple[list[str], list[Passed]]]:
    """Yield for each folder its photos and what is passed over; hidden files are skipped."""
    ahead = [""]
    while ahead:
        folder = ahead.pop()
        entries = [
            (f"{folder}{name}", is_folder)
            for name, is_folder in source.storage.entries(folder.rstrip("/"))
            if not name.startswith(".")
        ]
        files = [path for path, is_folder in entries if not is_folder]
        reasons = {path: reason_of(PurePosixPath(path.lower()).suffix) for path in files}
        photos = [path for path in files if kind_of(path) == "photos"]
        yield (
            photos,
            [Passed(path, why) for path, why in reasons.items() if why and kind_of(path) is None],
        )
        if source.recursive:
            below = [f"{path}/" for path, is_folder in entries if is_folder]
            ahead += [path for path in below if path != source.out][::-1]


def _items(source: Source, path: str, base: str) -> Iterator[Item]:
    """Yield the photos of a shard in their order, with safe and unique names."""
    read = READERS[source.kind]
    names: dict[str, int] = {}
    taken: dict[str, int] = {}
    with source.storage.reading(path) as file:
        for number, (name, data) in enumerate(read(file, source.label(path))):
            safe = safe_name(name) or f"{number:08}"
            own = _untaken(safe, names)
            yield Item(f"{base}/{own}", f"{base}/{_own_base(own, taken)}", data)


def safe_name(name: str) -> str:
    """A name from a shard as a relative path without `..`; "" if nothing is left."""
    parts = (name.partition("://")[2] or name).replace("\0", "")
    return "/".join(part for part in parts.split("/") if part not in ("", ".", ".."))


def _own_base(name: str, taken: dict[str, int]) -> str:
    """The name without its suffix; with it, or with a number, if an earlier one took that."""
    stem = stem_of(name)
    return _untaken(name if key_of(stem) in taken else stem, taken, key_of)


def _untaken(name: str, taken: dict[str, int], key: Callable[[str], str] = str) -> str:
    """The name, with a number if it is taken; `taken` maps a name to the last number used."""
    own = name
    if number := taken.get(key(name), 0):
        while key(own) in taken:
            number += 1
            own = f"{name}-{number}"
        taken[key(name)] = number
    taken[key(own)] = 1
    return own
