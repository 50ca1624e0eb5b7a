"""Of whom something has changed, for those who keep what they made of all of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_NOTED = 1024
"""Whoever is further behind looks at all of it."""


class Changes(Generic[T]):
    """Owns the newest changes; each reader keeps the number of those that it has seen."""

    __slots__ = ("_noted", "count")

    def __init__(self) -> None:
        self._noted: deque[T] = deque(maxlen=MOST_NOTED)
        self.count = 0
        """All of them, from the first one on."""

    def note(self, changed: T) -> None:
        """Something of *changed* is not as it was."""
        self._noted.append(changed)
        self.count += 1

    def note_all(self) -> None:
        """Nothing need be as it was."""
        self._noted.clear()
        self.count += 1

    def since(self, seen: int) -> Sequence[T] | None:
        """What came after the first *seen*; None: more than is remembered."""
        behind = self.count - seen
        if behind > len(self._noted):
            return None
        return list(islice(reversed(self._noted), behind))
