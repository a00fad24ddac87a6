"""Which photo belongs to which matte: the folder layouts that data sets of portraits come in.

| layout | photo | matte |
| --- | --- | --- |
| twin folders | images/a/X.jpg | masks/a/X.png, also masks/a/X_mask.png |
| side by side | a/X.jpg | a/X.png |
| marked names | a/X.jpg or a/X.png | a/X_alpha.png, a/X-mask.png, a/X_matte.png |
| AISegment | clip_img/1803/clip_00000000/X.jpg | matting/1803/matting_00000000/X.png |

In all of them a picture's key is its path without what tells photo from matte, and one photo and
one matte with the same key are a pair. A PNG or WebP without a matte may be a cut-out, whose alpha
is its own transparency. All other pictures are rejected with a reason.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from latefusion.data.sources import folder_files

PHOTO_FOLDERS = {"image", "images", "img", "imgs", "photo", "photos", "clip_img"}
MATTE_FOLDERS = {"alpha", "alphas", "mask", "masks", "matte", "mattes", "matting"}
MARK = re.compile(r"(.+)[-_](?:alpha|mask|matte)", re.IGNORECASE)
AISEGMENT_FOLDER = re.compile(r"(?:clip|matting)_(\d+)")

READ_SUFFIXES = (".jpg", ".jpeg", ".webp", ".png", ".bmp", ".tif", ".tiff")
CUTOUT_SUFFIXES = (".png", ".webp")
UNREAD_SUFFIXES = (".heic", ".heif", ".avif", ".gif", ".jxl")


@dataclass(frozen=True)
class Candidate:
    """A photo and its matte, matched by name, or a picture that may be a cut-out (no matte).

    Neither has been opened.
    """

    key: str
    photo: Path
    matte: Path | None


@dataclass(frozen=True)
class Rejected:
    """A picture that does not become half of a pair, and why."""

    path: Path
    reason: str


def find_candidates(src: Path, leave_out: Path) -> tuple[list[Candidate], list[Rejected]]:
    """The pairs and possible cut-outs below `src`, ordered by key, and the rejected pictures.

    Files below `leave_out` are ignored.
    """
    outside = leave_out.resolve()
    paths = [
        path
        for path in folder_files(src, READ_SUFFIXES + UNREAD_SUFFIXES)
        if not path.resolve().is_relative_to(outside)
    ]
    rejected = [Rejected(path, reason) for path in paths if (reason := _unusable(path))]
    unusable = {each.path for each in rejected}
    photos, mattes = _sort(src, [path for path in paths if path not in unusable])
    candidates = []
    for key in sorted(photos.keys() | mattes.keys()):
        if len(photos[key]) == len(mattes[key]) == 1:
            candidates.append(Candidate(key, photos[key][0], mattes[key][0]))
        elif not mattes[key] and _may_be_cutout(*photos[key]):
            candidates.append(Candidate(key, photos[key][0], None))
        else:
            reason = _why_no_pair(photos[key], mattes[key])
            rejected += [Rejected(path, reason) for path in photos[key] + mattes[key]]
    return candidates, rejected


def _sort(
    src: Path, paths: list[Path]
) -> tuple[defaultdict[str, list[Path]], defaultdict[str, list[Path]]]:
    """Photos and mattes by key: first what a folder or a name says, then what follows from it."""
    photos: defaultdict[str, list[Path]] = defaultdict(list)
    mattes: defaultdict[str, list[Path]] = defaultdict(list)
    foldered_mattes, loose = [], []
    for path in paths:
        relative = path.relative_to(src)
        folders = {folder.lower() for folder in relative.parent.parts}
        if folders & MATTE_FOLDERS:
            foldered_mattes.append(path)
        elif folders & PHOTO_FOLDERS:
            photos[_key(relative)].append(path)
        elif MARK.fullmatch(path.stem):
            mattes[_unmarked_key(relative)].append(path)
        elif path.suffix.lower() == ".png":
            loose.append(path)
        else:
            photos[_key(relative)].append(path)
    for path in loose:  # a .png beside its photo is the matte; beside its matte it is the photo
        key = _key(path.relative_to(src))
        (mattes if key in photos else photos)[key].append(path)
    for path in foldered_mattes:  # the photo may be called X_mask as well
        relative = path.relative_to(src)
        key = _key(relative)
        mattes[key if key in photos else _unmarked_key(relative)].append(path)
    return photos, mattes


def _key(relative: Path) -> str:
    """A picture's path without its ending and without what tells photos' folders from mattes'."""
    folders = [
        AISEGMENT_FOLDER.sub(r"\1", folder)
        for folder in relative.parent.parts
        if folder.lower() not in PHOTO_FOLDERS | MATTE_FOLDERS
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


def _why_no_pair(photos: list[Path], mattes: list[Path]) -> str:
    if not photos:
        return "no photo of this name"
    if not mattes:
        return "no matte of this name"
    names = ", ".join(map(str, photos + mattes))
    return f"{len(photos)} photos and {len(mattes)} mattes have this name: {names}"
