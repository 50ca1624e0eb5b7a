"""How memory is dealt with: large bodies go back at once, and code is not looked through."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def importing() -> Iterator[None]:
    """Within it, garbage is not collected; and what there is at its end is not looked at again.

    Imports make hundreds of thousands of objects and next to no garbage. To look through them
    takes a seventh of the start, and later holds up all requests, each time that it is done.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
