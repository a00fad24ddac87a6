"""Folders of photos with mattes become checked pairs and lists; RGBA pictures become cut-outs."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from latefusion.data.labels import alpha_of, deep_labels, label_alpha, palette_labels
from latefusion.data.layouts import (
    Candidate,
    Folders,
    Rejected,
    find_candidates,
    layouts_in_words,
)
from latefusion.data.neighbours import beside
from latefusion.data.refine import is_binary
from latefusion.data.refine import refine as refine_mask
from latefusion.data.sources import (
    TRAIN_LIST,
    VAL_LIST,
    Cutout,
    check_transparency,
    decode_cutout,
    decode_image,
    list_line,
    size_text,
)
from latefusion.errors import DataError, ImageError
from latefusion.images.reading import read_photo
from latefusion.images.writing import Picture, make_folder, whole_file, write_picture
from latefusion.parallel import usable_cores

ALPHA_FOLDER = "alphas"
CUTOUT_FOLDER = "cutouts"
REJECTED_LIST = "rejected.txt"
COLOUR_TOLERANCE = 8  # levels between the channels of a grey mask that was stored as a colour JPEG
LAYOUT_HELP = f"known layouts: {layouts_in_words()}; for any other give --images and --mattes"
WORKERS = 4  # refining takes up to a gigabyte each


@dataclass(frozen=True)
class Report:
    """Counts of what `prepare` made, and the pictures that it left out."""

    out: Path
    train: int  # pairs in train_set.txt
    val: int  # pairs in val_set.txt
    cutouts: int  # pictures in `cutouts`, for `train --cutouts`
    refined: int  # binary masks that became soft alphas
    rejected: tuple[Rejected, ...]  # also in rejected.txt, a line `path: reason`


@dataclass(frozen=True)
class _Done:
    """A checked pair whose alpha is written."""

    key: str
    photo: Path
    alpha: Path
    refined: bool


def prepare(
    src: Path | Folders,
    out: Path,
    train_ratio: float = 0.9,
    seed: int = 0,
    refine: bool = False,
    label: Collection[int] | None = None,
) -> Report:
    """Write OUT/alphas/KEY.png, train_set.txt, val_set.txt and rejected.txt for the pairs in `src`.

    layouts.py lists the layouts of a folder; two folders have photos and mattes under the same
    names. `label` are the numbers that mark the person in masks of labels, or ANY; without it, a
    mask of one label is taken as an alpha with a warning, and one of several is left out.
    Photos are not copied: the lists hold their absolute paths.
    The lists are written last and each file whole or not at all, so that an interrupted run leaves
    nothing half-written and can be started again. Which list a pair is in depends on its key and
    the seed only, so that adding photos moves no others, unless a list would be empty: where there
    are two pairs, each list has one, unless the ratio is 1. 8-bit RGBA pictures without a matte are
    cut-outs and are copied to OUT/cutouts; so are foregrounds, with their mattes.

    Raises DataError where an argument does not fit or neither a pair nor a cut-out is left, and
    OutputError where `out` cannot be written.
    """
    src, out = src if isinstance(src, Folders) else Path(src), Path(out)
    _check_arguments(src, out, train_ratio)
    candidates, rejected = find_candidates(src, leave_out=out)
    if not candidates and not rejected:
        raise DataError(f"{src}: no pictures in it; known layouts: {layouts_in_words()}")
    done: list[_Done] = []
    cutouts = 0
    prepare_one = partial(_prepare_one, out=out, refine=refine, label=label)
    for result in _prepare_all(candidates, prepare_one):
        if isinstance(result, Rejected):
            rejected.append(result)
        elif isinstance(result, Cutout):
            cutouts += 1
        else:
            done.append(result)
    train, val = _split(done, train_ratio, seed)
    write_lines(out / REJECTED_LIST, (f"{each.path}: {each.reason}" for each in rejected))
    write_lines(out / TRAIN_LIST, (_line(out, pair) for pair in train))
    write_lines(out / VAL_LIST, (_line(out, pair) for pair in val))
    if not done and not cutouts:
        why = f"{rejected[0].path}: {rejected[0].reason}"
        count = f"none of its {len(rejected)} pictures is half of a usable pair, or a cut-out"
        known = "" if any(each.matte for each in candidates) else f"; {LAYOUT_HELP}"
        reasons = f"{out / REJECTED_LIST} has the reasons, the first: {why}"
        raise DataError(f"{src}: {count}; {reasons}{known}")
    refined = sum(pair.refined for pair in done)
    return Report(out, len(train), len(val), cutouts, refined, tuple(rejected))


def read_matte(path: Path, label: Collection[int] | None = None) -> NDArray[np.uint8]:
    """The alpha (H, W) 0..255 in a picture: its transparency if it has some, else its grey levels.

    In a mask of labels `label` are the subject's; without it a mask may have one. Raises ImageError
    where the picture does not open and DataError where it is no alpha: in colour, a mask of several
    labels or without those wanted, empty, or without any background.
    """
    image, opacity, *_ = read_photo(path, mask=True)
    data = path.read_bytes()
    indices = palette_labels(data)
    around = partial(beside, path)
    deep = deep_labels(data, around)
    levels: NDArray[np.uint8] | NDArray[np.uint16]
    if indices is not None:
        levels = indices
    elif deep is not None:
        levels = deep
    else:
        levels = _grey_levels(path, image, opacity)
    if label is not None:
        alpha = label_alpha(levels, label, str(path))
    else:
        alpha = alpha_of(levels, str(path), indices is not None, around)
        alpha = alpha if deep is None else (alpha > 0).astype(np.uint8) * np.uint8(255)
    if alpha.max() == 0:
        raise DataError(f"{path} is an empty matte: it marks no subject")
    if alpha.min() == 255:
        raise DataError(f"{path} is a full matte: it leaves no background")
    return alpha


def _grey_levels(
    path: Path, image: NDArray[np.uint8], opacity: NDArray[np.float32] | None
) -> NDArray[np.uint8]:
    """The transparency or the grey levels (H, W) 0..255 of a picture. Raises DataError."""
    if opacity is not None and opacity.min() < 1:
        return np.rint(opacity * 255).astype(np.uint8)
    if int(np.ptp(image, axis=2).max()) <= COLOUR_TOLERANCE:
        return image[:, :, 1].copy()
    raise DataError(f"{path} is in colour and has no transparency, so it is no matte")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file and the folder it lies in. Raises OutputError."""
    text = "".join(f"{line}\n" for line in lines)
    make_folder(path.parent)
    with whole_file(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def _check_arguments(src: Path | Folders, out: Path, train_ratio: float) -> None:
    folders = src if isinstance(src, Folders) else [src]
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; give one that holds photos and mattes")
        if folder.resolve() == out.resolve():
            raise DataError(f"{out} is the source itself; give another folder to write to")
    if not 0 < train_ratio <= 1:
        raise DataError(f"train ratio {train_ratio} is not above 0 and at most 1; try 0.9")


def _split(
    pairs: Sequence[_Done], train_ratio: float, seed: int
) -> tuple[list[_Done], list[_Done]]:
    """The pairs to train on and to validate with, one of each at least where there are two."""
    shares = {pair.key: _share(pair.key, seed) for pair in pairs}
    ordered = sorted(shares, key=lambda key: shares[key])
    wanted = sum(share < train_ratio for share in shares.values())
    most = len(pairs) - 1 if train_ratio < 1 else len(pairs)
    chosen = {*ordered[: max(1, min(wanted, most))]}
    train = [pair for pair in pairs if pair.key in chosen]
    return train, [pair for pair in pairs if pair.key not in chosen]


def _prepare_all(
    candidates: list[Candidate], prepare_one: Callable[[Candidate], _Done | Cutout | Rejected]
) -> Iterator[_Done | Cutout | Rejected]:
    pool = ThreadPoolExecutor(min(WORKERS, usable_cores()))
    try:
        yield from track(
            pool.map(prepare_one, candidates),
            description="Checking pictures",
            total=len(candidates),
            console=Console(stderr=True),
        )
    finally:  # after Ctrl-C or a full disk, no further pair is begun
        pool.shutdown(cancel_futures=True)


def _prepare_one(
    candidate: Candidate, out: Path, refine: bool, label: Collection[int] | None
) -> _Done | Cutout | Rejected:
    try:
        if candidate.matte is None:
            return _prepare_cutout(candidate, out / CUTOUT_FOLDER)
        image = decode_image(candidate.photo)
        alpha = read_matte(candidate.matte, label)
        _check_sizes(image, alpha)
        soften = refine and is_binary(alpha)
        alpha = refine_mask(image, alpha) if soften else alpha
        if candidate.bare:
            return _write_cutout(candidate, image, alpha, out / CUTOUT_FOLDER)
        path = out / ALPHA_FOLDER / f"{candidate.key}.png"
        make_folder(path.parent)
        write_picture(path, Picture(alpha))
        return _Done(candidate.key, candidate.photo, path, soften)
    except (DataError, ImageError) as error:
        return Rejected(candidate.photo, str(error))


def _write_cutout(
    candidate: Candidate, image: NDArray[np.uint8], alpha: NDArray[np.uint8], folder: Path
) -> Cutout:
    """Write a foreground (H, W, 3) and its alpha (H, W) as an RGBA picture."""
    rgba = np.dstack([image, alpha])
    check_transparency(rgba, candidate.key)
    path = folder / f"{candidate.key}.png"
    make_folder(path.parent)
    write_picture(path, Picture(rgba))
    return Cutout(candidate.key, path)


def _prepare_cutout(candidate: Candidate, folder: Path) -> Cutout:
    """Copy the picture if it is one without background. Raises DataError where it is not."""
    try:
        data = candidate.photo.read_bytes()
        cutout = Cutout(candidate.key, data)
        check_transparency(decode_cutout(cutout), candidate.key)
    except (DataError, OSError) as error:
        raise DataError(f"no matte of this name, and it is no cut-out: {error}") from error
    path = folder / f"{candidate.key}{candidate.photo.suffix.lower()}"
    make_folder(path.parent)
    with whole_file(path) as file:
        file.write(data)
    return cutout


def _check_sizes(image: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> None:
    if image.shape[:2] == alpha.shape:
        return
    problem = f"the photo is {size_text(image)} but its matte {size_text(alpha)}"
    if image.shape[:2] == alpha.shape[::-1]:
        problem += ", as if one of them were turned; is it the EXIF rotation?"
    raise DataError(problem)


def _share(key: str, seed: int) -> float:
    """A number in [0, 1) that is always the same for a key and a seed, and even over the keys."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _line(out: Path, pair: _Done) -> str:
    return list_line(pair.photo.resolve(), pair.alpha.relative_to(out))
