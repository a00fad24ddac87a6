"""Memory that a process gives back while it goes on."""

import ctypes
import sys

LARGE = 1 << 20  # bytes: pixels, planes and bodies
MMAP_THRESHOLD = -3  # of mallopt, in malloc.h


def return_large_blocks() -> None:
    """Let glibc give large blocks back to the system as soon as they are free; else do nothing.

    By itself it takes larger and larger blocks for worth keeping, up to 32 MB, so that a process
    stays as large as its largest photos and bodies made it.
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE)
