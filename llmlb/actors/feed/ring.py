"""The newest events: so many, and so many bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import takewhile

from llmlb.event_json import Told


class Ring:
    """Owns the newest events that it was given, in order; there is always room for one."""

    def __init__(self, most: int, most_bytes: int | None = None) -> None:
        """With *most_bytes* of None they are not measured: each of them is short."""
        self._most, self._most_bytes = most, most_bytes
        self._kept = deque[Told]()
        self._bytes = 0
        self.lost_seq = 0
        """Of the newest event that is not kept any more."""

    def add(self, told: Told) -> None:
        self._kept.append(told)
        self._bytes += self._size_of(told)
        while len(self._kept) > self._most or self._is_too_large():
            gone = self._kept.popleft()
            self._bytes -= self._size_of(gone)
            self.lost_seq = gone.seq

    def after(self, seq: int) -> Sequence[Told]:
        """Those that are kept of what came after the event of that number."""
        newest = list(takewhile(lambda told: told.seq > seq, reversed(self._kept)))
        newest.reverse()
        return newest

    def _is_too_large(self) -> bool:
        return (
            self._most_bytes is not None and self._bytes > self._most_bytes and len(self._kept) > 1
        )

    def _size_of(self, told: Told) -> int:
        return 0 if self._most_bytes is None else len(told.json)
