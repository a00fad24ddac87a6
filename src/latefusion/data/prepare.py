"""Folders of photos with mattes become checked pairs and lists; RGBA pictures become cut-outs."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from latefusion.data.layouts import Candidate, Rejected, find_candidates
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

ALPHA_FOLDER = "alphas"
CUTOUT_FOLDER = "cutouts"
REJECTED_LIST = "rejected.txt"
COLOUR_TOLERANCE = 8  # levels between the channels of a grey mask that was stored as a colour JPEG
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
    src: Path, out: Path, train_ratio: float = 0.9, seed: int = 0, refine: bool = False
) -> Report:
    """Write OUT/alphas/KEY.png, train_set.txt, val_set.txt and rejected.txt for the pairs in `src`.

    layouts.py lists the folder layouts. Photos are not copied: the lists hold their absolute paths.
    The lists are written last and each file whole or not at all, so that an interrupted run leaves
    nothing half-written and can be started again. Which list a pair is in depends on its key and
    the seed only, so that adding photos moves no others. 8-bit RGBA pictures without a matte are
    cut-outs and are copied to OUT/cutouts.

    Raises DataError where an argument does not fit or neither a pair nor a cut-out is left, and
    OutputError where `out` cannot be written.
    """
    src, out = Path(src), Path(out)
    _check_arguments(src, out, train_ratio)
    candidates, rejected = find_candidates(src, leave_out=out)
    if not candidates and not rejected:
        raise DataError(f"{src}: no pictures in it; expected photos with their mattes")
    done: list[_Done] = []
    cutouts = 0
    for result in _prepare_all(candidates, out, refine):
        if isinstance(result, Rejected):
            rejected.append(result)
        elif isinstance(result, Cutout):
            cutouts += 1
        else:
            done.append(result)
    train = [pair for pair in done if _share(pair.key, seed) < train_ratio]
    val = [pair for pair in done if _share(pair.key, seed) >= train_ratio]
    write_lines(out / REJECTED_LIST, (f"{each.path}: {each.reason}" for each in rejected))
    write_lines(out / TRAIN_LIST, (_line(out, pair) for pair in train))
    write_lines(out / VAL_LIST, (_line(out, pair) for pair in val))
    if not done and not cutouts:
        why = f"{rejected[0].path}: {rejected[0].reason}"
        count = f"none of its {len(rejected)} pictures is half of a usable pair, or a cut-out"
        raise DataError(f"{src}: {count}; {out / REJECTED_LIST} has the reasons, the first: {why}")
    refined = sum(pair.refined for pair in done)
    return Report(out, len(train), len(val), cutouts, refined, tuple(rejected))


def read_matte(path: Path) -> NDArray[np.uint8]:
    """The alpha (H, W) 0..255 in a picture: its transparency if it has some, else its grey levels.

    A mask of labels 0 and 1 becomes 0 and 255. Raises ImageError where the picture does not open
    and DataError where it is no alpha: in colour, empty, or without any background.
    """
    image, opacity, *_ = read_photo(path, mask=True)
    if opacity is not None and opacity.min() < 1:
        alpha = np.rint(opacity * 255).astype(np.uint8)
    elif int(np.ptp(image, axis=2).max()) <= COLOUR_TOLERANCE:
        alpha = image[:, :, 1].copy()
    else:
        raise DataError(f"{path} is in colour and has no transparency, so it is no matte")
    if alpha.max() == 1:
        alpha *= 255
    if alpha.max() == 0:
        raise DataError(f"{path} is an empty matte: it marks no subject")
    if alpha.min() == 255:
        raise DataError(f"{path} is a full matte: it leaves no background")
    return alpha


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file and the folder it lies in. Raises OutputError."""
    text = "".join(f"{line}\n" for line in lines)
    make_folder(path.parent)
    with whole_file(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def _check_arguments(src: Path, out: Path, train_ratio: float) -> None:
    if not src.is_dir():
        raise DataError(f"{src} is not a folder; give the folder that holds photos and mattes")
    if src.resolve() == out.resolve():
        raise DataError(f"{out} is the source itself; give another folder to write to")
    if not 0 < train_ratio <= 1:
        raise DataError(f"train ratio {train_ratio} is not above 0 and at most 1; try 0.9")


def _prepare_all(
    candidates: list[Candidate], out: Path, refine: bool
) -> Iterator[_Done | Cutout | Rejected]:
    prepare_one = partial(_prepare_one, out=out, refine=refine)
    pool = ThreadPoolExecutor(WORKERS)
    try:
        yield from track(
            pool.map(prepare_one, candidates),
            description="Checking pictures",
            total=len(candidates),
            console=Console(stderr=True),
        )
    finally:  # after Ctrl-C or a full disk, no further pair is begun
        pool.shutdown(cancel_futures=True)


def _prepare_one(candidate: Candidate, out: Path, refine: bool) -> _Done | Cutout | Rejected:
    try:
        if candidate.matte is None:
            return _prepare_cutout(candidate, out / CUTOUT_FOLDER)
        return _prepare_pair(candidate, candidate.matte, out / ALPHA_FOLDER, refine)
    except (DataError, ImageError) as error:
        return Rejected(candidate.photo, str(error))


def _prepare_pair(candidate: Candidate, matte: Path, folder: Path, refine: bool) -> _Done:
    image = decode_image(candidate.photo)
    alpha = read_matte(matte)
    _check_sizes(image, alpha)
    soften = refine and is_binary(alpha)
    alpha = refine_mask(image, alpha) if soften else alpha
    path = folder / f"{candidate.key}.png"
    make_folder(path.parent)
    write_picture(path, Picture(alpha))
    return _Done(candidate.key, candidate.photo, path, soften)


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
