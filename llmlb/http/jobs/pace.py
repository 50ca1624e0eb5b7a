"""How fast a download comes on, and when that is worth telling."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from llmlb.jobs import Progress

TOLD_EVERY_S = 0.5
OVER_S = 10.0
"""The speed is that of the last seconds."""


@dataclass(slots=True)
class Pace:
    """Passes on how far one download is, not too often, with its speed."""

    report: Callable[[Progress], None]
    clock: Callable[[], float] = trio.current_time
    _told_at_s: float = -math.inf
    _past: deque[tuple[float, int]] = field(default_factory=deque)

    def told(self, stage: str | None, downloaded: int, total: int, *, last: bool = False) -> None:
        """It is so far, in bytes; what is the *last* is passed on in any case."""
        now_s = self.clock()
        if now_s - self._told_at_s < TOLD_EVERY_S and not last:
            return
        self._told_at_s = now_s
        self._past.append((now_s, downloaded))
        while now_s - self._past[0][0] > OVER_S and len(self._past) > 2:
            self._past.popleft()
        then_s, then = self._past[0]
        took_s = now_s - then_s
        per_s = max(0.0, (downloaded - then) / took_s) if took_s > 0 else None
        self.report(Progress(downloaded, total, per_s, stage))
