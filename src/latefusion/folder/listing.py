"""The photos in files and folders, and what a run over them passes over, with the reason."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from latefusion.errors import OutputError, install_hint, reason, shown
from latefusion.folder.manifest import NAME, Record, outputs_in
from latefusion.images.formats import HEAD, RAW_SUFFIXES, UNREAD_SUFFIXES, begins_like_photo
from latefusion.images.raw import photo_suffixes
from latefusion.images.writing import FORMATS_OUT
from latefusion.inference.outputs import KINDS

PAGE_NAME, THUMBS = "review.html", "review"  # the review of a run, and the folder of its pictures

CLIP_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".avi", ".mkv", ".webm", ".mts", ".m2ts", ".ts", ".mxf"),
        *(".mpg", ".mpeg", ".m2v", ".vob", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv"),
    )
)
# Suffixes of files that often lie beside photos, too many to look into each.
SIDECARS = frozenset(
    (
        *(".xmp", ".aae", ".pp3", ".dop", ".txt", ".json", ".jsonl", ".xml", ".csv", ".html"),
        *(".md", ".yaml", ".ini", ".db", ".log", ".pdf", ".zip", ".tar", ".py"),
    )
)
RESULT = re.compile(
    rf"(?P<base>.+)-(?:{'|'.join(KINDS)})(?:{'|'.join(map(re.escape, FORMATS_OUT))})", re.IGNORECASE
)


class Reason(NamedTuple):
    """Words for what is passed over: one, many, and the cure, if there is any."""

    one: str
    many: str
    cure: str = ""


REASONS = {
    "raw": Reason("RAW file", "RAW files", install_hint("raw")),
    "clip": Reason("clip", "clips", "`latefusion video` takes them"),
    "unread": Reason(
        "picture in a format that is not read",
        "pictures in formats that are not read",
        "export as PNG or TIFF",
    ),
    "unnamed": Reason(
        "photo with the suffix of something else",
        "photos with the suffix of something else",
        "rename to .jpg or the like",
    ),
    "result": Reason("result of an earlier run", "results of an earlier run"),
    "target": Reason("folder of the results", "folders of results"),
    "link": Reason("link to a folder", "links to folders", "give the folder itself"),
    "below": Reason("folder below", "folders below", "add -r"),
}
BY_SUFFIX = {"raw": RAW_SUFFIXES, "clip": CLIP_SUFFIXES, "unread": UNREAD_SUFFIXES}
RECORDED = ("raw", "clip", "unread", "unnamed", "result")  # files, which the manifest names


class Passed(NamedTuple):
    """A file or folder that is passed over: its name as records have it, and a key of REASONS."""

    name: str
    why: str


@dataclass(frozen=True)
class Listing:
    """Photos with their names, relative to their source folder; with / between the parts.

    `unread` holds the folders that cannot be read, each with its name, which ends with /, and the
    error, and `results` the files that manifests in the folders name as results.
    """

    photos: list[tuple[Path, str]] = field(default_factory=list)
    passed: dict[Path, Passed] = field(default_factory=dict)
    unread: dict[Path, tuple[str, str]] = field(default_factory=dict)
    results: set[Path] = field(default_factory=set)

    def why(self) -> list[str]:
        """What may explain that no photos were found."""
        line = passed_over(self.passed.values())
        return [*([line] if line else []), *(error for _, error in self.unread.values())]


def find_photos(sources: Iterable[Path], out: Path, recursive: bool = False) -> Listing:
    """The photos in the given order, folders sorted, each once under one name.

    Hidden files and the folder of the results, `out`, are left out without a word. A file named
    as the result of another photo here is passed over. Raises OutputError.
    """
    found, given = Listing(), list(sources)
    home = real(out)
    ours = {home / NAME, home / PAGE_NAME, home / THUMBS} if len(given) > 1 else set()
    for source in given:
        if real(source) in ours:
            found.passed[source] = Passed(source.name, "result")
        elif not is_folder(source):
            found.photos.append((source, source.name))
        elif real(source) != home:
            _add_folder(found, source, source, home, recursive)
        elif len(given) > 1:
            found.passed[source] = Passed(f"{source.name}/", "target")
        else:
            raise OutputError(f"{source} is both source and target; choose another -o")
    _once(found, home)
    return found


def is_folder(path: Path) -> bool:
    """True for a folder; False also for a name that is too long, which raises elsewhere."""
    return os.path.isdir(path)  # noqa: PTH112 - never raises


def real(path: Path) -> Path:
    """The path without links; unlike Path.resolve, also for a link that leads to itself."""
    return Path(os.path.realpath(path))


def _add_folder(found: Listing, source: Path, folder: Path, home: Path, recursive: bool) -> None:
    """Add what is in a folder; the source itself must be readable."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        text = f"the folder {shown(folder)} cannot be read: {reason(error)}"
        if folder == source:
            raise OutputError(text) from None
        found.unread[folder] = f"{folder.relative_to(source).as_posix()}/", text
        return
    results = outputs_in(folder) if folder / NAME in entries else set()
    found.results.update(results)
    for path in entries:
        if path.name.startswith(".") or (results and path.name == THUMBS):
            continue
        name = path.relative_to(source).as_posix()
        if not is_folder(path):
            _add_file(found, path, name)
        elif real(path) == home:
            continue
        elif not recursive:
            found.passed[path] = Passed(f"{name}/", "below")
        elif path.is_symlink():  # which may lead back to where it lies
            found.passed[path] = Passed(f"{name}/", "link")
        else:
            _add_folder(found, source, path, home, recursive)


def _add_file(found: Listing, path: Path, name: str) -> None:
    suffix = path.suffix.lower()
    if suffix in photo_suffixes() or (not suffix and _begins_like_photo(path)):
        found.photos.append((path, name))
    elif why := reason_of(suffix):
        found.passed[path] = Passed(name, why)
    elif suffix and suffix not in SIDECARS and _begins_like_photo(path):
        found.passed[path] = Passed(name, "unnamed")


def reason_of(suffix: str) -> str | None:
    """The key of the reason why a file with this suffix is passed over; None for other files."""
    return next((key for key, suffixes in BY_SUFFIX.items() if suffix in suffixes), None)


def _begins_like_photo(path: Path) -> bool:
    try:
        if not path.is_file():  # a pipe would never end
            return False
        with path.open("rb") as file:
            return begins_like_photo(file.read(HEAD))
    except OSError:
        return False


def _once(found: Listing, home: Path) -> None:
    """Drop photos that are listed twice, and pass over results of others, beside them or in `home`.

    Two links to one photo are two photos, as they have two names.
    """
    places: dict[Path, tuple[Path, str]] = {}
    folders: dict[Path, Path] = {}
    for path, name in found.photos:
        parent = folders.setdefault(path.parent, real(path.parent))
        places.setdefault(parent / path.name, (path, name))
    names: dict[Path, set[str]] = defaultdict(set)
    for place, (_, name) in places.items():
        for photo in (place, home / name):
            names[photo.parent] |= {photo.name, photo.stem}
    found.photos.clear()
    for place, (path, name) in places.items():
        if path in found.results or _is_result(place.name, names[place.parent]):
            found.passed[path] = Passed(name, "result")
        else:
            found.photos.append((path, name))


def _is_result(name: str, beside: set[str]) -> bool:
    """True for the name of a result of a photo beside it, as jobs.bases makes them."""
    match = RESULT.fullmatch(name)
    if not match:
        return False
    base = match["base"]
    plain = re.sub(r"-\d+$", "", base)  # numbered, which follows a name with its suffix
    return base in beside or (plain in beside and Path(plain).suffix != "")


def passed_over(passed: Iterable[Passed]) -> str:
    """All that was passed over in one line, counted by reason; "" for nothing."""
    counts = Counter(each.why for each in passed)
    parts = []
    for key, words in REASONS.items():
        if number := counts[key]:
            cure = f" ({words.cure})" if words.cure else ""
            parts.append(f"{number} {words.one if number == 1 else words.many}{cure}")
    return f"passed over: {', '.join(parts)}" if parts else ""


def records_of(listing: Listing, settings: str) -> list[Record]:
    """Records of the files that are passed over, and of the folders that cannot be read."""
    files = [record_of(each, settings) for each in listing.passed.values() if each.why in RECORDED]
    return files + [Record(name, "", settings, error=e) for name, e in listing.unread.values()]


def record_of(passed: Passed, settings: str) -> Record:
    """The record of a file that is passed over."""
    return Record(passed.name, "", settings, skipped=_note(REASONS[passed.why]))


def passed_of(record: Record) -> Passed:
    """The same from its record, which a machine of a cluster made."""
    return Passed(
        record.photo, next(key for key in REASONS if _note(REASONS[key]) == record.skipped)
    )


def _note(reason: Reason) -> str:
    return f"{reason.one}; {reason.cure}" if reason.cure else reason.one
