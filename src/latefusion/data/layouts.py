"""Which photo belongs to which matte: the folder layouts that data sets of portraits come in.

In all LAYOUTS a picture's key is its path without what tells photo from matte, and one photo and
one matte with the same key are a pair. A PNG or WebP without a matte may be a cut-out, whose alpha
is its own transparency. All other pictures are rejected with a reason.
"""

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from latefusion.data.sources import folder_files
from latefusion.errors import DataError


class Layout(NamedTuple):
    """A layout by an example of each half; docs/training.md shows the table."""

    name: str
    photo: str
    matte: str
    found_in: str


LAYOUTS = (
    Layout("twin folders", "images/a/X.jpg", "masks/a/X.png", "PPM-100, EG1800, Supervisely"),
    Layout("marked twins", "images/a/X.jpg", "masks/a/X_mask.png", "Carvana, as PNG"),
    Layout("originals", "original_image/X.jpg", "mask/X.png", "P3M-10k, AIM-500, AM-2k"),
    Layout("side by side", "a/X.jpg", "a/X.png", "latefusion's own"),
    Layout("marked names", "a/X.jpg", "a/X_alpha.png", "-mask, _matte and so on, too"),
    Layout("AISegment", "clip_img/18/clip_00/X.jpg", "matting/18/matting_00/X.png", "AISegment"),
    Layout("VOC", "JPEGImages/X.jpg", "SegmentationClass/X.png", "VOC, ATR; needs --label"),
    Layout("foregrounds", "fg/X.jpg", "alpha/X.png", "Adobe, Distinctions-646; cut-outs"),
)

PHOTO_FOLDERS = {
    *("image", "images", "img", "imgs", "photo", "photos", "clip_img", "jpegimages"),
    *("original", "originals", "original_image", "blurred_image"),
}
# Where a photo has mattes in several of these, the first one counts.
VOC_FOLDERS = (
    *("segmentationclass", "segmentationclassaug", "segmentationclassraw"),
    "segmentationobject",
)
MATTE_FOLDERS = {
    *("alpha", "alphas", "mask", "masks", "matte", "mattes", "matting", "pha", "gt"),
    *("label", "labels", "annotation", "annotations", "segmentation", "masks_machine"),
    *VOC_FOLDERS,
}
# Pictures of the subject alone, with a matte: its colours count, what is behind it does not.
FOREGROUND_FOLDERS = {"fg", "fgr", "foreground", "foregrounds"}
TELLING_FOLDERS = PHOTO_FOLDERS | MATTE_FOLDERS | FOREGROUND_FOLDERS
MARK = re.compile(r"(.+)[-_](?:alpha|mask|matte)", re.IGNORECASE)
AISEGMENT_FOLDER = re.compile(r"(?:clip|matting)_(\d+)")

READ_SUFFIXES = (".jpg", ".jpeg", ".webp", ".png", ".bmp", ".tif", ".tiff")
CUTOUT_SUFFIXES = (".png", ".webp")
UNREAD_SUFFIXES = (".heic", ".heif", ".avif", ".gif", ".jxl")

Found = defaultdict[str, list[Path]]  # pictures by key


class Folders(NamedTuple):
    """Photos and mattes in two folders, under the same relative names."""

    images: Path
    mattes: Path

    def __str__(self) -> str:
        return f"{self.images} and {self.mattes}"


@dataclass(frozen=True)
class Candidate:
    """A photo and its matte, matched by name, or a picture that may be a cut-out (no matte).

    `bare` marks a foreground, of which the background is not to be seen. None has been opened.
    """

    key: str
    photo: Path
    matte: Path | None
    bare: bool = False


@dataclass(frozen=True)
class Rejected:
    """A picture that does not become half of a pair, and why."""

    path: Path
    reason: str


def find_candidates(src: Path | Folders, leave_out: Path) -> tuple[list[Candidate], list[Rejected]]:
    """The pairs and possible cut-outs in `src`, ordered by key, and the rejected pictures.

    Files below `leave_out` are ignored.
    """
    rejected: list[Rejected] = []
    if isinstance(src, Folders):
        photos, mattes, foregrounds = _sort_twins(src, leave_out, rejected)
    else:
        photos, mattes, foregrounds = _sort(src, _usable(src, [leave_out], rejected))
    candidates = []
    for key in sorted(photos.keys() | mattes.keys() | foregrounds.keys()):
        found = photos[key], _first_choice(mattes[key], rejected), foregrounds[key]
        candidate = _candidate(key, *found)
        if candidate:
            candidates.append(candidate)
        used = {candidate.photo, candidate.matte} if candidate else set()
        reason = _why_no_pair(*found)
        rejected += [Rejected(path, reason) for path in chain(*found) if path not in used]
    return candidates, rejected


def layouts_in_words() -> str:
    """The known layouts in one line, for a message."""
    return "; ".join(f"{each.photo} with {each.matte}" for each in LAYOUTS)


def _usable(folder: Path, leave_out: list[Path], rejected: list[Rejected]) -> list[Path]:
    """The pictures below a folder; those that cannot be used are added to `rejected`."""
    outside = [each.resolve() for each in leave_out]
    paths = [
        path
        for path in folder_files(folder, READ_SUFFIXES + UNREAD_SUFFIXES)
        if not any(path.resolve().is_relative_to(each) for each in outside)
    ]
    reasons = {path: reason for path in paths if (reason := _unusable(path))}
    rejected += [Rejected(path, reason) for path, reason in reasons.items()]
    return [path for path in paths if path not in reasons]


def _candidate(
    key: str, photos: list[Path], mattes: list[Path], foregrounds: list[Path]
) -> Candidate | None:
    """A pair, a foreground with its matte, or a possible cut-out; None for anything else."""
    if len(photos) == len(mattes) == 1:
        return Candidate(key, photos[0], mattes[0])
    if len(foregrounds) == len(mattes) == 1 and not photos:
        return Candidate(key, foregrounds[0], mattes[0], bare=True)
    if not mattes and _may_be_cutout(*photos, *foregrounds):
        return Candidate(key, (photos + foregrounds)[0], None)
    return None


def _first_choice(mattes: list[Path], rejected: list[Rejected]) -> list[Path]:
    """Of the mattes in several folders of VOC, the first; the others are added to `rejected`."""
    ranks = [
        VOC_FOLDERS.index(folder)
        for path in mattes
        if (folder := path.parent.name.lower()) in VOC_FOLDERS
    ]
    if len(mattes) < 2 or len({*ranks}) < len(mattes):
        return mattes
    first = mattes[ranks.index(min(ranks))]
    reason = f"{first} is taken in its place"
    rejected += [Rejected(path, reason) for path in mattes if path != first]
    return [first]


def _sort(src: Path, paths: list[Path]) -> tuple[Found, Found, Found]:
    """Photos, mattes and foregrounds by key.

    First comes what a folder or a name says, then what follows from it.
    """
    photos, mattes, foregrounds = Found(list), Found(list), Found(list)
    foldered_mattes, loose = [], []
    for path in paths:
        relative = path.relative_to(src)
        folders = {folder.lower() for folder in relative.parent.parts}
        if folders & MATTE_FOLDERS:
            foldered_mattes.append(path)
        elif folders & PHOTO_FOLDERS:
            photos[_key(relative)].append(path)
        elif folders & FOREGROUND_FOLDERS:
            foregrounds[_key(relative)].append(path)
        elif MARK.fullmatch(path.stem):
            mattes[_unmarked_key(relative)].append(path)
        elif path.suffix.lower() == ".png":
            loose.append(path)
        else:
            photos[_key(relative)].append(path)
    for path in loose:  # a .png beside its photo is the matte; beside its matte it is the photo
        key = _key(path.relative_to(src))
        (mattes if key in photos else photos)[key].append(path)
    _add_mattes(src, foldered_mattes, photos.keys() | foregrounds.keys(), mattes)
    return photos, mattes, foregrounds


def _sort_twins(
    src: Folders, leave_out: Path, rejected: list[Rejected]
) -> tuple[Found, Found, Found]:
    """Photos and mattes by key; no foregrounds. One folder may lie in the other."""
    photos, mattes = Found(list), Found(list)
    images, alphas = (folder.resolve() for folder in src)
    if images == alphas:
        raise DataError(f"{src.images} holds photos and mattes alike; give it as SRC alone")
    for path in _usable(src.images, [leave_out, *_inside(alphas, images)], rejected):
        photos[_key(path.relative_to(src.images))].append(path)
    found = _usable(src.mattes, [leave_out, *_inside(images, alphas)], rejected)
    _add_mattes(src.mattes, found, photos.keys(), mattes)
    return photos, mattes, Found(list)


def _inside(inner: Path, outer: Path) -> list[Path]:
    return [inner] if inner.is_relative_to(outer) else []


def _add_mattes(src: Path, paths: list[Path], keys: Collection[str], mattes: Found) -> None:
    """Add mattes that a folder tells, under the key of their photo, which may be X_mask as well."""
    for path in paths:
        relative = path.relative_to(src)
        key = _key(relative)
        mattes[key if key in keys else _unmarked_key(relative)].append(path)


def _key(relative: Path) -> str:
    """A picture's path without its ending and without what tells photos' folders from mattes'."""
    folders = [
        AISEGMENT_FOLDER.sub(r"\1", folder)
        for folder in relative.parent.parts
        if folder.lower() not in TELLING_FOLDERS
    ]
    return "/".join([*folders, relative.stem])


def _unmarked_key(relative: Path) -> str:
    marked = MARK.fullmatch(relative.stem)
    return _key(relative.with_name(marked[1] + relative.suffix) if marked else relative)


def _unusable(path: Path) -> str | None:
    if path.suffix.lower() in UNREAD_SUFFIXES:
        return f"{path.suffix} is not read here; save it as JPEG or PNG"
    full = str(path.resolve())
    if len(full.splitlines()) > 1:
        return "a line break in its name cannot stand in a list; rename it"
    try:
        full.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8 and cannot stand in a list; rename it"
    return None


def _may_be_cutout(photo: Path, *others: Path) -> bool:
    return not others and photo.suffix.lower() in CUTOUT_SUFFIXES


def _why_no_pair(photos: list[Path], mattes: list[Path], foregrounds: list[Path]) -> str:
    if len(photos) == len(mattes) == 1:
        return "the photo with its background is there, so its foreground is not needed"
    if not photos and not foregrounds:
        return "no photo of this name"
    if not mattes:
        return "no matte of this name"
    names = ", ".join(map(str, photos + mattes + foregrounds))
    count = f"{len(photos) + len(foregrounds)} photos and {len(mattes)} mattes"
    return f"{count} have this name: {names}"
