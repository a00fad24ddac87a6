"""Photos and folders -> jobs, and the names of the results, none of which replaces another."""

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from latefusion.errors import OutputError
from latefusion.folder.listing import Listing, find_photos, is_folder, real
from latefusion.images.reading import PHOTO_SUFFIXES
from latefusion.images.writing import FORMATS_OUT

SUFFIX = ".png"


@dataclass(frozen=True)
class Job:
    """A photo and its results."""

    photo: Path
    name: str  # of the photo, relative to its source folder; with / between the parts
    results: Sequence[tuple[str, Path]]  # kind and file


@dataclass(frozen=True)
class Wish:
    """The requested results and their place.

    `out` is a folder, in which the tree of a source folder is mirrored, or, for one photo and one
    kind, a file. `suffix` chooses the format. A result may replace a photo, or one of the other
    files that are read, `inputs`, only with `overwrite`.
    """

    kinds: Sequence[str]
    out: Path
    suffix: str = SUFFIX
    recursive: bool = False
    overwrite: bool = False
    inputs: frozenset[Path] = frozenset()


def plan(sources: Iterable[Path], wish: Wish) -> list[Job]:
    """The jobs of photos and folders, as `jobs_of` makes them. Raises OutputError."""
    return jobs_of(find_photos(sources, wish.out, wish.recursive), wish)


def jobs_of(listing: Listing, wish: Wish) -> list[Job]:
    """The jobs of the photos that were found.

    Results are named `<photo>-<kind>`, or `<photo.suffix>-<kind>` if photos of one folder differ
    only in their suffix. Raises OutputError if results would replace one another or a photo.
    """
    photos = listing.photos
    single = _names_a_file(wish)
    if single and len(photos) * len(wish.kinds) > 1:
        raise OutputError(f"{wish.out} is one file, but there are several results; give a folder")
    jobs = []
    for (photo, name), base in zip(photos, bases([name for _, name in photos]), strict=True):
        results = [
            (kind, wish.out if single else wish.out / f"{base}-{kind}{wish.suffix}")
            for kind in wish.kinds
        ]
        jobs.append(Job(photo, name, results))
    read = {real(path) for path in (*(photo for photo, _ in photos), *wish.inputs)}
    _refuse_collisions(jobs, set() if wish.overwrite else read)
    return jobs


def bases(names: Sequence[str]) -> list[str]:
    """Names of the results of these photos, without kind and suffix, unique in a tree.

    The photo's suffix is kept if photos of one folder differ only in that. Names that differ only
    in case, and names that would still collide, are numbered.
    """
    stems = Counter(key_of(stem_of(name)) for name in set(names))
    twins: dict[str, set[str]] = defaultdict(set)  # names that differ in case only
    owners: dict[str, str] = {}
    found = []
    for name in names:
        twins[key_of(name)].add(name)
        base = name if stems[key_of(stem_of(name))] > 1 else stem_of(name)
        if len(twins[key_of(name)]) > 1:
            base += f"-{len(twins[key_of(name)])}"
        own, number = base, 1
        while owners.setdefault(key_of(own), name) != name:
            number += 1
            own = f"{base}-{number}"
        found.append(own)
    return found


def stem_of(name: str) -> str:
    """A photo's name with its folders and without its suffix."""
    return os.path.splitext(name)[0]  # noqa: PTH122


def _names_a_file(wish: Wish) -> bool:
    suffix = wish.out.suffix.lower()
    if is_folder(wish.out) or suffix not in {*FORMATS_OUT, *PHOTO_SUFFIXES}:
        return False
    if suffix not in FORMATS_OUT:
        raise OutputError(
            f"{wish.out} has no suffix of a supported format; use {', '.join(FORMATS_OUT)}"
        )
    return True


def _refuse_collisions(jobs: Sequence[Job], kept: set[Path]) -> None:
    owners: dict[str, Path] = {}
    for job in jobs:
        for _, path in job.results:
            if real(path) in kept:
                raise OutputError(f"{path} is one of the files that are read; choose another -o")
            other = owners.setdefault(key_of(str(path)), job.photo)
            if other != job.photo:
                raise OutputError(
                    f"{other} and {job.photo} would both become {path};"
                    " run them apart, each with its own -o, or give their folder, with -r and -o"
                )


def key_of(name: str) -> str:
    """A key equal for names that are one file on some disks: case and accents normalised."""
    return unicodedata.normalize("NFC", name).casefold()
