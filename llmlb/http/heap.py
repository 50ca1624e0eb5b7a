"""Whether the memory of a large body goes back to the system as soon as the body is gone."""

from __future__ import annotations

import ctypes

LARGE_BYTES = 1024 * 1024

_M_MMAP_THRESHOLD = -3
"""Of glibc's malloc.h."""


def give_back_large_blocks(library: object | None = None) -> bool:
    """Have each block of LARGE_BYTES or more in pages of its own, for the whole process.

    glibc begins so, but once such a block has been freed it cuts the next ones out of the heap.
    There they leave gaps, and a body that grows as it comes in is copied from one into the next.

    False where the C *library* (this process's own) has no such switch.
    """
    mallopt = getattr(library or ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES) == 1
