"""Files that torch.save wrote: tensors and plain values are read, and no code is run."""

import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import torch

from latefusion.errors import reason

# What torch.load raises on a file that is no plain state dict; the first where it would run code,
# the others on cut and damaged files.
UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    *(RuntimeError, RecursionError, MemoryError, OverflowError, NotImplementedError),
    *(EOFError, OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError),
    *(ImportError, struct.error),
)


def read_pickled(path: Path) -> object:
    """Read tensors and plain values. Raises ValueError, in one line, for all else."""
    if not path.is_file():
        raise ValueError("no such file")
    try:
        _check_packing(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle versions: it loads or not
            return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        line = next(iter(str(error).splitlines()), "")
        raise ValueError(line or reason(error)) from error


def _check_packing(path: Path) -> None:
    """Raise ValueError for a zip file that unpacks to more than it is; torch.save packs nothing."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as file:
        parts = file.infolist()
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError("its parts claim more than the file has")
