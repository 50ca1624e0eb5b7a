"""What the audit log has been told and not written yet, bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from llmlb.audit import ActorType, AuditEvent

MOST_WAITING = 10_000
"""At some 2 KB each at worst, when the database refuses for hours."""

FAILURES = frozenset({"auth.failed", "login.failed", "access.denied"})
"""What anybody can cause as often as they like, without being anybody."""

LOST = "audit.lost"


class Waiting:
    """Owns the events that wait, in the order in which they were told.

    Where there are too many, the oldest failure to log in goes, else the oldest event: nobody
    may make room for a deed by knocking at the door. How many went becomes an event itself.
    """

    def __init__(self) -> None:
        self._events = deque[AuditEvent]()
        self._failures = 0
        self._lost = 0

    def __len__(self) -> int:
        return len(self._events) + bool(self._lost)

    def add(self, event: AuditEvent) -> None:
        self._events.append(event)
        self._failures += event.action in FAILURES
        self._bound()

    def put_back(self, events: Sequence[AuditEvent]) -> None:
        """Take in what was taken out and could not be written; it is older than the rest."""
        self._events.extendleft(reversed(events))
        self._failures += sum(event.action in FAILURES for event in events)
        self._bound()

    def take(self, most: int, now: datetime) -> list[AuditEvent]:
        """The oldest events, *most* at most; before them how many were lost until *now*."""
        taken = []
        if self._lost:
            taken.append(
                AuditEvent(
                    at=now,
                    action=LOST,
                    actor_type=ActorType.SYSTEM,
                    detail="They waited to be written, and there were too many of them.",
                    count=self._lost,
                )
            )
            self._lost = 0
        while self._events and len(taken) < most:
            taken.append(self._events.popleft())
            self._failures -= taken[-1].action in FAILURES
        return taken

    def _bound(self) -> None:
        while len(self._events) > MOST_WAITING:
            place = self._oldest_failure() if self._failures else 0
            gone = self._events[place]
            del self._events[place]
            self._failures -= gone.action in FAILURES
            self._lost += gone.count

    def _oldest_failure(self) -> int:
        return next(n for n, event in enumerate(self._events) if event.action in FAILURES)
