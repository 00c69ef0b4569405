"""Memory of this process: how much it holds, and giving back what it does not need."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path


def resident_bytes() -> int:
    """Memory of this process that lies in RAM; 0 where Linux's /proc is missing."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Return freed memory to the system; glibc keeps what a purification leaves, in pieces."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
