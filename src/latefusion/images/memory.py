"""Memory that a process gives back while it goes on."""

import ctypes
import sys

LARGE = 8 << 20  # bytes: bodies, and planes of photos of 2 megapixels; smaller ones are kept
# Parameters of mallopt, in malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3


def return_large_blocks() -> None:
    """Let glibc give large blocks back to the system as soon as they are free; else do nothing.

    By itself it takes larger and larger blocks for worth keeping, up to 32 MB, so that a process
    stays as large as its largest photos and bodies made it.
    """
    library = _glibc()
    if library:
        library.mallopt(MMAP_THRESHOLD, LARGE)
        # Else each small block at the end of the heap would be given back, and fetched again.
        library.mallopt(TRIM_THRESHOLD, 2 * LARGE)


def return_free_blocks() -> None:
    """Give back what is free now, also between blocks in use, if this is glibc; takes some ms."""
    library = _glibc()
    if library:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "gnu_get_libc_version") else None
