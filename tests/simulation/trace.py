"""What happened in a run, as a hash of all of it and as its last lines."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

import trio

KEPT = 40
"""Of the newest events, how many a failing run shows."""


class Trace:
    """Takes down events in their order. Bounded: the hash grows, the lines do not."""

    def __init__(self, *, also: Callable[[str], None] | None = None) -> None:
        """*also* is told each line, for people who want to see all of them."""
        self._hash = hashlib.sha256()
        self._also = also
        self.last: deque[str] = deque(maxlen=KEPT)
        self.n_events = 0

    def note(self, who: str, what: str) -> None:
        line = f"{trio.current_time():12.6f} {who:10} {what}"
        self.n_events += 1
        self._hash.update(line.encode())
        self.last.append(line)
        if self._also is not None:
            self._also(line)

    @property
    def digest(self) -> str:
        """The same for two runs only if all their events and times were the same."""
        return self._hash.hexdigest()[:16]
