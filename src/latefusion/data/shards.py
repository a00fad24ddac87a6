"""Pairs, backgrounds or cut-outs become tar shards: checked, in random order, under safe names.

Members lie as WebDataset has them: KEY.jpg and KEY.png side by side, and no dot in KEY, since there
a key ends at the first one. JPEG, WebP and PNG go in untouched. What else OpenCV reads is encoded
again without loss; so is a PNG photo beside an alpha, as WebP, since there KEY.png is the alpha.
"""

import hashlib
import io
import os
import re
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from latefusion.data.layouts import Rejected
from latefusion.data.members import Encoded, read_encoded
from latefusion.data.prepare import REJECTED_LIST, write_lines
from latefusion.data.sources import (
    IMAGE_SUFFIXES,
    Cutout,
    check_sizes,
    check_transparency,
    decode_alpha,
    decode_cutout,
    decode_image,
    folder_files,
    named_images,
    read_pairs,
    shards_in,
)
from latefusion.errors import DataError, reason
from latefusion.images.writing import (
    FORMATS,
    Picture,
    make_folder,
    remove_parts,
    whole_path,
    write_picture,
)
from latefusion.parallel import MOST_WORKERS, in_order, usable_cores

Files = list[tuple[str, bytes]]  # the members of one sample: name and content
Kind = Literal["pairs", "backgrounds", "cutouts"]

SHARD_NAME = "shard-{:05}.tar"
BEGINNINGS = {
    ".jpg": re.compile(rb"\xff\xd8\xff"),
    ".webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    ".png": re.compile(rb"\x89PNG\r\n\x1a\n"),
}
UNSAFE = re.compile(r"[^\w-]")  # in one part of a key; \w are the letters and digits of any script


@dataclass(frozen=True)
class Written:
    """The shards that `write_shards` made, and the pictures that it left out."""

    shards: tuple[Path, ...]
    samples: int  # pairs, backgrounds or cut-outs
    rejected: tuple[Rejected, ...]  # also in rejected.txt, a line `path: reason`


@dataclass(frozen=True)
class _Sample:
    """A pair, or a background or cut-out, which has no alpha of its own; and its key in a shard."""

    kind: Kind
    key: str
    name: str  # in its source
    image: Encoded
    alpha: Encoded | None = None


def write_shards(
    sources: Sequence[Path],
    out: Path,
    per_shard: int = 500,
    seed: int = 0,
    kind: Kind = "pairs",
) -> Written:
    """Write OUT/shard-00000.tar and so on, and rejected.txt, from lists, folders and shards.

    Backgrounds are photos without alphas, cut-outs 8-bit RGBA pictures with transparency. Each
    sample is decoded first; what fails is left out. The order depends on the keys and the seed
    only, and the same sources give the same bytes.
    A shard appears whole or not at all; an interrupted run leaves those that it finished.

    Raises DataError where an argument or a source does not fit, `out` holds shards already or no
    sample is left, and OutputError where `out` cannot be written.
    """
    out = Path(out)
    if per_shard < 1:
        raise DataError(f"{per_shard} samples a shard are too few; try 500")
    _refuse_used(out)
    samples = _pairs_of(sources) if kind == "pairs" else _pictures_of(sources, kind)
    samples.sort(key=lambda sample: hashlib.sha256(f"{seed}:{sample.key}".encode()).digest())
    make_folder(out)
    remove_parts(out)
    rejected: list[Rejected] = []
    shards: list[Path] = []
    with closing(_checked(samples, rejected)) as checked:
        for files in _in_shards(checked, per_shard):
            shards.append(out / SHARD_NAME.format(len(shards)))
            _write_shard(shards[-1], files)
    rejected.sort(key=lambda each: each.path)
    write_lines(out / REJECTED_LIST, (f"{each.path}: {each.reason}" for each in rejected))
    if not shards:
        why = f"{rejected[0].path}: {rejected[0].reason}"
        raise DataError(f"none of {len(rejected)} pictures can be trained on; the first: {why}")
    return Written(tuple(shards), len(samples) - len(rejected), tuple(rejected))


def safe_keys(names: Sequence[PurePath]) -> list[str]:
    """A key for each name, in their order: its parts with all but letters, digits and - as _.

    No two are alike, even where case does not count: the second one ends in -2, and so on.
    """
    taken: Counter[str] = Counter()
    keys = []
    for name in names:
        parts = (unicodedata.normalize("NFC", part) for part in name.parts)
        key = free = "/".join(UNSAFE.sub("_", part) for part in parts)
        while taken[free.casefold()]:
            taken[key.casefold()] += 1
            free = f"{key}-{taken[key.casefold()]}"
        taken[free.casefold()] += 1
        keys.append(free)
    return keys


def _refuse_used(out: Path) -> None:
    """Raise DataError for a folder that would be read with more in it than is written."""
    if not out.is_dir():
        return
    if pictures := folder_files(out, IMAGE_SUFFIXES):
        raise DataError(f"{pictures[0]} is in the way; name a folder for the shards alone")
    if shards := shards_in(out):
        raise DataError(f"{shards[0]} is there already; remove the shards, or name another folder")


def _pairs_of(sources: Sequence[Path]) -> list[_Sample]:
    pairs = read_pairs(sources)
    keys = safe_keys(_relative([(pair.key, pair.image) for pair in pairs]))
    return [
        _Sample("pairs", key, pair.key, pair.image, pair.alpha)
        for key, pair in zip(keys, pairs, strict=True)
    ]


def _pictures_of(sources: Sequence[Path], kind: Kind) -> list[_Sample]:
    images = named_images(sources)
    plain = [(str(PurePosixPath(name).with_suffix("")), image) for name, image in images]
    keys = safe_keys(_relative(plain))
    return [
        _Sample(kind, key, name, image) for key, (name, image) in zip(keys, images, strict=True)
    ]


def _relative(named: Sequence[tuple[str, Encoded]]) -> list[PurePath]:
    """Names in shards as they are, and paths from the folder that all of them have in common."""
    absolute = os.path.abspath  # a link keeps its name
    whole = [
        Path(absolute(name)).parts if isinstance(source, Path) else () for name, source in named
    ]
    folders = [parts[:-1] for parts in whole if parts]
    common = len(os.path.commonprefix(folders))  # noqa: RUF071  # of parts, not of letters
    return [
        PurePath(*parts[common:]) if parts else PurePosixPath(name)
        for parts, (name, _) in zip(whole, named, strict=True)
    ]


def _checked(samples: Sequence[_Sample], rejected: list[Rejected]) -> Generator[Files, None, None]:
    """The members of each sample, in their order, read and decoded by several threads.

    Samples that fail are added to `rejected`.
    """
    workers = min(usable_cores(), MOST_WORKERS)
    with ThreadPoolExecutor(workers) as pool:
        results = in_order(pool, _check, samples, ahead=2 * workers)
        for result in track(
            results,
            description="Writing shards",
            total=len(samples),
            console=Console(stderr=True),
        ):
            if isinstance(result, Rejected):
                rejected.append(result)
            else:
                yield result


def _check(sample: _Sample) -> Files | Rejected:
    try:
        return _files_of(sample)
    except DataError as error:
        return Rejected(Path(sample.name), str(error).removeprefix(f"{sample.name}: "))
    except OSError as error:
        return Rejected(Path(sample.name), f"cannot be read: {reason(error)}")


def _files_of(sample: _Sample) -> Files:
    photo = read_encoded(sample.image)
    if sample.kind == "cutouts":
        return [_cutout_file(sample, photo)]
    if sample.alpha is None:
        image = decode_image(photo, f"{sample.name}: photo")
        return [_photo_file(sample.key, photo, image, {".jpg", ".webp", ".png"})]
    matte = read_encoded(sample.alpha)
    image = decode_image(photo, f"{sample.name}: photo")
    alpha, mended = decode_alpha(matte, sample.name)
    check_sizes(image, alpha, sample.name)
    if mended or _ending(matte) != ".png":
        matte = _encoded(alpha, "PNG")
    file = _photo_file(sample.key, photo, image, {".jpg", ".webp"})
    return [file, (f"{sample.key}.png", matte)]


def _cutout_file(sample: _Sample, cutout: bytes) -> tuple[str, bytes]:
    ending = _ending(cutout)
    if ending not in (".png", ".webp"):  # OpenCV multiplies the colours of a TIFF by its alpha
        raise DataError(f"{sample.name}: the cut-out is neither PNG nor WebP; save it as PNG")
    check_transparency(decode_cutout(Cutout(sample.name, cutout)), sample.name)
    return f"{sample.key}{ending}", cutout


def _ending(data: bytes) -> str:
    """The name ending that a file's first bytes ask for; empty for other formats."""
    return next((ending for ending, begin in BEGINNINGS.items() if begin.match(data)), "")


def _photo_file(
    key: str, photo: bytes, image: NDArray[np.uint8], kept: Collection[str]
) -> tuple[str, bytes]:
    """The member that holds a photo: its own bytes if they are of a format that is kept."""
    ending = _ending(photo)
    if ending in kept:
        return f"{key}{ending}", photo
    if max(image.shape) > FORMATS["WEBP"].side:
        raise DataError(f"photo has over {FORMATS['WEBP'].side} pixels a side; save it as JPEG")
    return f"{key}.webp", _encoded(image, "WEBP")


def _encoded(pixels: NDArray[np.uint8], format: str) -> bytes:
    file = io.BytesIO()
    write_picture(file, Picture(pixels), format)
    return file.getvalue()


def _in_shards(samples: Iterator[Files], per_shard: int) -> Iterator[Iterable[Files]]:
    """The samples in runs of `per_shard`, each to be used up before the next."""
    for first in samples:
        yield chain([first], islice(samples, per_shard - 1))


def _write_shard(path: Path, samples: Iterable[Files]) -> None:
    with whole_path(path) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as shard:
        for name, data in chain.from_iterable(samples):
            header = tarfile.TarInfo(name)  # no date, no owner: the same bytes every time
            header.size = len(data)
            shard.addfile(header, io.BytesIO(data))
