"""Of very many inputs some, where continuous integration has no time for all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar
from zlib import crc32

T = TypeVar("T")

HURRIED = bool(os.environ.get("CI"))
"""By hand everything is tried; in continuous integration always the same part."""


def some(inputs: Sequence[T], about: object, *, every: int) -> list[T]:
    """All of *inputs*, or each *every*-th: for another *about* it begins with another one."""
    if not HURRIED:
        return list(inputs)
    return list(inputs[crc32(repr(about).encode()) % min(every, len(inputs)) :: every])
