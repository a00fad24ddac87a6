"""Sources of training data: list files, folders and tar shards become undecoded pairs.

A pair is a photo with its alpha. Three kinds of source hold pairs:

- a list file (`train_set.txt`): a line `image alpha`, paths relative to the list's folder; a path
  with blanks or quotes is quoted as in a shell (`'my photo.jpg' alpha.png`), see `list_line`;
- a folder: KEY.jpg with KEY.png beside it, at any depth, or the output of `latefusion prepare`, of
  which `train_set.txt` is read, or that of `latefusion shard`, of which all shards are;
- a tar shard: members KEY.jpg and KEY.png.

A picture without its other half is an error that names it, never a pair silently missing.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.data.labels import alpha_of, labels_in, palette_labels
from latefusion.data.members import Encoded, read_encoded, shard_members
from latefusion.data.neighbours import beside
from latefusion.errors import DataError
from latefusion.folder.tars import is_hidden
from latefusion.images.regular import read_regular

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".webp")  # beside an alpha; a .png there is the alpha
IMAGE_SUFFIXES = (*PHOTO_SUFFIXES, ".png")
SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")
TRAIN_LIST = "train_set.txt"
VAL_LIST = "val_set.txt"
LAYOUT_HINT = "KEY.jpg with KEY.png; for other layouts run `latefusion prepare`"
NAMED_AT_MOST = 5  # things named in one error message
MIN_CLEAR = 0.01  # share of a cut-out that is fully transparent, at least


@dataclass(frozen=True, slots=True)
class Pair:
    """A photo and its alpha, not decoded: where they lie, or their bytes out of a compressed shard.

    `key` is the photo's path, or its member name in a shard, without the ending.
    """

    key: str
    image: Encoded
    alpha: Encoded


@dataclass(frozen=True, slots=True)
class Cutout:
    """A picture with straight foreground and alpha (RGBA), not decoded; it has no background."""

    key: str
    image: Encoded


def read_pairs(paths: Sequence[Path], listed: str = TRAIN_LIST) -> list[Pair]:
    """All pairs of the list files, folders and tar shards: sources as given, keys sorted in each.

    `listed` is the list that is read of a prepared folder. Raises DataError, naming the thing, for
    a source that does not exist, holds no pair, holds a picture without its other half, or repeats
    a key.
    """
    pairs: list[Pair] = []
    for path in map(Path, paths):
        found = _pairs_of(path, listed)
        if not found and ((path.is_file() and path.suffix == ".txt") or (path / listed).is_file()):
            raise DataError(f"{path}: the list is empty; prepare more pairs or with another ratio")
        if not found:
            raise DataError(f"{path}: no pairs in it; expected {LAYOUT_HINT}")
        pairs += found
    repeated = [key for key, count in Counter(pair.key for pair in pairs).items() if count > 1]
    if repeated:
        sources = ", ".join(map(str, paths))
        raise DataError(f"{sources}: a pair occurs twice: {_some(repeated)}; remove or rename one")
    return pairs


def read_images(paths: Sequence[Path]) -> list[Encoded]:
    """All pictures of folders (at any depth) and tar shards, sorted; the backgrounds of training.

    Raises DataError for a source that does not exist or holds no picture.
    """
    return [content for _, content in named_images(paths)]


def named_images(paths: Sequence[Path]) -> list[tuple[str, Encoded]]:
    """`read_images` with the path of each, or its member name in a shard."""
    images: list[tuple[str, Encoded]] = []
    for path in map(Path, paths):
        found = _images_of(path)
        if not found:
            raise DataError(f"{path}: no pictures in it; expected {', '.join(IMAGE_SUFFIXES)}")
        images += found
    return images


def read_cutouts(paths: Sequence[Path]) -> list[Cutout]:
    """All RGBA pictures of folders (at any depth) and tar shards, sorted.

    Raises DataError for a source that does not exist or holds no picture.
    """
    return [Cutout(_split_suffix(name)[0], image) for name, image in named_images(paths)]


def decode_cutout(cutout: Cutout) -> NDArray[np.uint8]:
    """The straight foreground and alpha as (H, W, 4) uint8 RGBA.

    Raises DataError naming the key where the picture does not open, or has no alpha of 8 bits.
    """
    bgra = decode(cutout.image, cv2.IMREAD_UNCHANGED, f"{cutout.key}: cut-out")
    if bgra.ndim != 3 or bgra.shape[2] != 4 or bgra.dtype != np.uint8:
        raise DataError(f"{cutout.key}: the cut-out is not 8-bit RGBA; save it with transparency")
    if labels_in(bgra[:, :, 3], partial(beside, cutout.image)):
        raise DataError(f"{cutout.key}: the cut-out's alpha is a mask of labels; save it as 0..255")
    return cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)  # type: ignore[return-value]


def check_transparency(rgba: NDArray[np.uint8], name: str) -> None:
    """Raise DataError, beginning with `name`, unless (H, W, 4) shows a subject without background.

    A photo or a screenshot that was saved with an alpha channel is opaque all over or but for its
    corners.
    """
    alpha = rgba[:, :, 3]
    if alpha.max() == 0:
        raise DataError(f"{name}: the cut-out is empty: all of it is transparent")
    if np.count_nonzero(alpha == 0) < MIN_CLEAR * alpha.size:
        cure = "cut out the subject, or leave the picture out"
        raise DataError(f"{name}: less than 1 % of the cut-out is transparent; {cure}")


def decode_pair(pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The pair's image (H, W, 3) RGB and alpha (H, W), both uint8 0..255; EXIF rotation is applied.

    OpenCV decodes here, not image.py: training reads thousands of small pictures an epoch and needs
    no colour profile. Raises DataError naming the key where a half does not open, the alpha is not
    8-bit grey or is a mask of several labels, or the sizes differ.
    """
    image = decode_image(pair.image, f"{pair.key}: photo")
    alpha, _ = decode_alpha(pair.alpha, pair.key)
    check_sizes(image, alpha, pair.key)
    return image, alpha


def check_sizes(image: NDArray[np.uint8], alpha: NDArray[np.uint8], key: str) -> None:
    """Raise DataError, beginning with `key`, unless photo and alpha have one size."""
    if image.shape[:2] != alpha.shape:
        sizes = f"photo is {size_text(image)} but alpha is {size_text(alpha)}"
        raise DataError(f"{key}: {sizes}; they must be equal")


def decode_alpha(source: Encoded, key: str) -> tuple[NDArray[np.uint8], bool]:
    """The alpha (H, W) uint8 of a pair, and whether it was mended: made of a mask of one label.

    Raises DataError, beginning with `key`, as `decode_pair` does.
    """
    name = f"{key}: alpha"
    levels = decode(source, cv2.IMREAD_UNCHANGED, name)
    labels = palette_labels(read_encoded(source)) if levels.ndim == 3 else None
    if labels is not None:
        return alpha_of(labels, name, indices=True), True
    if levels.ndim != 2 or levels.dtype != np.uint8:
        raise DataError(f"{name} is not 8-bit grey; `latefusion prepare` makes it so")
    alpha = alpha_of(levels, name, beside=partial(beside, source))
    return alpha, alpha is not levels


def decode_image(source: Encoded, name: str = "") -> NDArray[np.uint8]:
    """A picture as (H, W, 3) uint8 RGB 0..255, rotated as EXIF says.

    Raises DataError, beginning with `name` (or the place), where it does not open.
    """
    if not name:
        name = "picture in a shard" if isinstance(source, bytes) else str(source)
    bgr = decode(source, cv2.IMREAD_COLOR, name)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def list_line(image: Path, alpha: Path) -> str:
    """A line of a list file; `read_pairs` reads it back whatever blanks or quotes a path holds."""
    return shlex.join([image.as_posix(), alpha.as_posix()])


def folder_files(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files at any depth with one of the endings in any case, sorted; hidden ones left out."""
    shown = (path for path in folder.rglob("*") if not is_hidden(path.relative_to(folder)))
    return sorted(path for path in shown if path.suffix.lower() in suffixes and path.is_file())


def shards_in(folder: Path) -> list[Path]:
    """The shards that lie in a folder, sorted. Raises DataError where pictures do so too."""
    shards = sorted(path for path in folder.iterdir() if _is_shard(path) and path.name[0] != ".")
    if shards and folder_files(folder, IMAGE_SUFFIXES):
        raise DataError(f"{folder}: holds both pictures and shards; give the shards one by one")
    return shards


def key_of(name: str) -> str:
    """A picture's name without its ending; any other name as it is."""
    stem, suffix = _split_suffix(name)
    return stem if suffix in IMAGE_SUFFIXES else name


def size_text(picture: NDArray[np.generic]) -> str:
    """Width x height, the way people name a picture's size."""
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _pairs_of(path: Path, listed: str) -> list[Pair]:
    _must_exist(path)
    if path.is_dir() and (path / listed).is_file():
        return _read_list(path / listed)
    if path.is_dir() and (shards := shards_in(path)):
        return [pair for shard in shards for pair in _pairs_of(shard, listed)]
    if path.is_dir():
        return _match(path, [(str(file), file) for file in folder_files(path, IMAGE_SUFFIXES)])
    if _is_shard(path):
        return _match(path, shard_members(path, IMAGE_SUFFIXES))
    if path.suffix.lower() == ".txt":
        return _read_list(path)
    raise DataError(
        f"{path}: not a source of pairs; those are lists (.txt), folders, shards (.tar)"
    )


def _images_of(path: Path) -> list[tuple[str, Encoded]]:
    _must_exist(path)
    if path.is_dir() and (shards := shards_in(path)):
        return [image for shard in shards for image in _images_of(shard)]
    if path.is_dir():
        return [(str(file), file) for file in folder_files(path, IMAGE_SUFFIXES)]
    if _is_shard(path):
        return sorted(shard_members(path, IMAGE_SUFFIXES), key=lambda named: named[0])
    raise DataError(f"{path}: backgrounds and cut-outs come from a folder or a .tar shard")


def _match(source: Path, named: Iterable[tuple[str, Encoded]]) -> list[Pair]:
    """Pairs of the pictures of one source, matched by their names without the ending."""
    photos: dict[str, Encoded] = {}
    alphas: dict[str, Encoded] = {}
    repeated: list[str] = []
    for name, content in named:
        stem, suffix = _split_suffix(name)
        half = alphas if suffix == ".png" else photos
        if stem in half:
            repeated.append(name)
        half[stem] = content
    if repeated:
        raise DataError(f"{source}: a key occurs twice: {_some(repeated)}; remove or rename one")
    lonely = sorted(photos.keys() ^ alphas.keys())
    if lonely:
        halves = [f"{stem} (no {'alpha' if stem in photos else 'photo'})" for stem in lonely]
        count = f"{len(lonely)} without the other half"
        raise DataError(f"{source}: {count}: {_some(halves)}; expected {LAYOUT_HINT}")
    return [Pair(stem, photos[stem], alphas[stem]) for stem in sorted(photos)]


def _read_list(path: Path) -> list[Pair]:
    try:
        lines = read_regular(path).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list of pairs: {error}") from error
    numbered = {number: line.strip() for number, line in enumerate(lines, start=1) if line.strip()}
    pairs = {number: _parse_line(path, number, line) for number, line in numbered.items()}
    missing = {
        str(half): f"line {number}: {numbered[number]}"
        for number, pair in pairs.items()
        for half in (pair.image, pair.alpha)
        if isinstance(half, Path) and not half.is_file()
    }
    if missing:
        count = f"{len(missing)} of its files do not exist"
        written = list(dict.fromkeys(missing.values()))
        if any("\\" in line for line in written):
            cure = "a backslash is read as in a shell; write / in its place, or quote the path"
            raise DataError(f"{path}: {count}: {_some(written)}; {cure}")
        names = _some(list(missing))
        raise DataError(f"{path}: {count}: {names}; correct the list or prepare it again")
    return sorted(pairs.values(), key=lambda pair: pair.key)


def _parse_line(path: Path, number: int, line: str) -> Pair:
    try:
        fields = shlex.split(line)
    except ValueError as error:
        cure = 'quote a path with a quote as in a shell: "it\'s.jpg" alpha.png'
        raise DataError(f"{path}:{number}: {error}: {line}; {cure}") from error
    if len(fields) != 2:
        cure = "quote paths that hold blanks"
        problem = f"{len(fields)} fields, not two `image alpha`: {line}"
        raise DataError(f"{path}:{number}: {problem}; {cure}")
    image, alpha = (path.parent / field for field in fields)
    return Pair(_split_suffix(str(image))[0], image, alpha)


def decode(source: Encoded, flags: int, name: str) -> NDArray[np.uint8]:
    """A picture as OpenCV decodes it under `flags`. Raises DataError beginning with `name`."""
    try:
        picture = cv2.imdecode(np.frombuffer(read_encoded(source), np.uint8), flags)
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}") from error
    except cv2.error as error:  # an empty file, or more pixels than OpenCV takes
        raise DataError(f"{name} cannot be decoded: {error.err}") from error
    if picture is None:
        raise DataError(f"{name} cannot be decoded; it is damaged or not a picture")
    return picture  # type: ignore[return-value]


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise DataError(f"{path}: does not exist; check the path")


def _is_shard(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(SHARD_SUFFIXES)


def _split_suffix(name: str) -> tuple[str, str]:
    """A path without its ending (the part from the last dot), and the ending in lower case."""
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix), suffix.lower()


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
