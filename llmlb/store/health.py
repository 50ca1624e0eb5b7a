"""Is the database well, and if not: why, and for how long already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
import trio

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Condition:
    """How the database does, and since when, in monotonic seconds.

    *reason* is for people and names neither path nor SQL; None: it is well.
    """

    reason: str | None
    since_s: float

    @property
    def well(self) -> bool:
        return self.reason is None


class Health:
    """Owns the condition of the database; logs each change, and tells `on_changed` of it.

    Only a write that worked proves that it is well again: reading goes on while a disk is full.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self.condition = Condition(None, clock())
        self.on_changed: Callable[[Condition], None] = lambda _: None
        """Told of each new condition; must not block."""

    def failed(self, reason: str) -> None:
        """It has refused, or does not answer. A new reason is a new condition, of the same age."""
        before = self.condition
        if before.reason == reason:
            return
        log.error(
            "the database is not available: requests are served, statistics wait, changes of "
            "endpoints are refused",
            reason=reason,
        )
        self._become(Condition(reason, self._clock() if before.well else before.since_s))

    def written(self) -> None:
        """It has taken a write."""
        before = self.condition
        if before.well:
            return
        now_s = self._clock()
        log.info("the database is available again", after_s=round(now_s - before.since_s, 1))
        self._become(Condition(None, now_s))

    def _become(self, condition: Condition) -> None:
        self.condition = condition
        self.on_changed(condition)
