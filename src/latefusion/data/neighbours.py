"""What the masks in a folder are, for one among them that may be labels or a faint alpha."""

from collections import Counter
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from latefusion.data.labels import Beside, outline
from latefusion.data.members import Encoded
from latefusion.images.reading import DAMAGE

LOOKED_AT = 24  # files of a folder, evenly spread
ALIKE = 2  # masks with the same labels; one of them may be the one that is asked about
TYPES = ("u1", "u2")


def beside(source: Encoded) -> Beside:
    """What the pictures with the ending of `source` in its folder are; nothing of bytes."""
    if not isinstance(source, Path):
        return Beside()
    with suppress(OSError):
        folder = source.absolute().parent
        return _in_folder(folder, source.suffix.lower(), folder.stat().st_mtime_ns)
    return Beside()


@lru_cache(maxsize=256)
def _in_folder(folder: Path, suffix: str, _changed: int) -> Beside:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == suffix)
    labels: Counter[tuple[int, ...]] = Counter()
    for file in files[:: -(-len(files) // LOOKED_AT)]:
        found = _outline_of(file)
        if found.soft:
            return found
        labels.update(found.labels)
    return Beside(labels=frozenset(each for each, n in labels.items() if n >= ALIKE))


def _outline_of(file: Path) -> Beside:
    """That of a grey picture or of a transparency; nothing of a photo or a damaged file."""
    with suppress(*DAMAGE), Image.open(file) as picture:
        grey = picture.mode == "L" or picture.mode.startswith("I")
        if not grey and picture.mode not in ("LA", "RGBA"):
            return Beside()
        levels = np.asarray(picture if grey else picture.getchannel("A"))
        if levels.dtype == np.int32 and levels.min() >= 0 and levels.max() < 2**16:
            levels = levels.astype(np.uint16)
        if levels.dtype.str[1:] in TYPES:
            return outline(levels)
    return Beside()
