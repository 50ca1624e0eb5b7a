"""How failures to log in that come by the thousand become a few entries, and all are counted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from llmlb.audit import AuditEvent

WINDOW_S = 60.0
"""From the first of a group on, the others are counted."""

MOST_GROUPS = 1000

_Key = tuple[str | None, ...]


@dataclass(slots=True)
class _Group:
    """Failures that are alike."""

    began_s: float
    latest: AuditEvent
    repeats: int = 0


class Repeats:
    """Owns the failures of the last minute, in at most 1,000 groups.

    The first of a group is written at once. Those after it are one entry with their number when
    its minute is over. What finds no group any more is counted in one for all others of its kind,
    of which only the kind is told.
    """

    def __init__(self) -> None:
        self._groups = OrderedDict[_Key, _Group]()
        self._others = OrderedDict[_Key, _Group]()

    def __len__(self) -> int:
        return len(self._groups) + len(self._others)

    def take(self, event: AuditEvent, now_s: float) -> AuditEvent | None:
        """*event* itself if it is the first of its group; None: it is counted.

        What is due has to be taken out before.
        """
        key: _Key = (
            event.action,
            event.client_address,
            event.api_key_id,
            event.actor_name,
            event.path,
        )
        groups = self._groups
        if key not in groups and len(groups) >= MOST_GROUPS:
            groups, key = self._others, (event.action,)
        group = groups.get(key)
        if group is None:
            groups[key] = _Group(now_s, event)
            return event
        group.latest = event
        group.repeats += event.count
        return None

    @property
    def next_due_s(self) -> float | None:
        """When the minute of the oldest group is over; None: there is none."""
        oldest = [next(iter(groups.values())).began_s for groups in self._both() if groups]
        return min(oldest) + WINDOW_S if oldest else None

    def due(self, now_s: float) -> list[AuditEvent]:
        """What the groups come to whose minute is over."""
        told: list[AuditEvent] = []
        for groups in self._both():
            while groups and next(iter(groups.values())).began_s + WINDOW_S <= now_s:
                _, group = groups.popitem(last=False)
                told += self._told(group, one=groups is self._groups)
        return told

    def rest(self) -> list[AuditEvent]:
        """What all groups come to, before their time."""
        return self.due(float("inf"))

    def _both(self) -> tuple[OrderedDict[_Key, _Group], ...]:
        return self._groups, self._others

    @staticmethod
    def _told(group: _Group, *, one: bool) -> Iterator[AuditEvent]:
        latest = group.latest
        if not group.repeats:
            return
        if one:
            yield replace(latest, count=group.repeats)
        else:
            yield AuditEvent(
                at=latest.at,
                action=latest.action,
                actor_type=latest.actor_type,
                detail="Of many kinds and from many places, too many to tell them apart.",
                count=group.repeats,
            )
