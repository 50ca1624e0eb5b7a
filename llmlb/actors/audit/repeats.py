"""How failures to log in that come by the thousand become a few entries, and all are counted."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from llmlb.addresses import group_of
from llmlb.audit import AuditEvent

WINDOW_S = 60.0
"""From the first of a group on, the others are counted."""

MOST_GROUPS, MOST_PER_PLACE, MOST_PLACES = 100, 5, 100
"""Failures that are all alike, in all and from one place; and places that cause yet others."""

_Key = tuple[str | None, ...]


@dataclass(slots=True)
class _Group:
    """Failures that are counted together."""

    began_s: float
    latest: AuditEvent
    repeats: int = 0


class Repeats:
    """Owns the failures of the last minute, in some 200 groups at most.

    The first of a group is written at once. Those after it are one entry with their number when
    its minute is over. A place that causes failures of ever new kinds has one group for each
    action beside its first few, and so have all places together when they are too many: an entry
    tells no more then than what its failures have in common.
    """

    def __init__(self) -> None:
        self._alike = OrderedDict[_Key, _Group]()
        self._by_place = OrderedDict[_Key, _Group]()
        self._others = OrderedDict[_Key, _Group]()

    def __len__(self) -> int:
        return sum(map(len, self._all()))

    def take(self, event: AuditEvent, now_s: float) -> AuditEvent | None:
        """*event* itself if it is the first of its group; None: it is counted.

        What is due has to be taken out before.
        """
        groups, key = self._group_of(event)
        group = groups.get(key)
        if group is None:
            groups[key] = _Group(now_s, event)
            return event
        group.latest = event
        group.repeats += event.count
        return None

    def _group_of(self, event: AuditEvent) -> tuple[OrderedDict[_Key, _Group], _Key]:
        place = group_of(event.client_address)
        alike: _Key = (place, event.action, event.api_key_id, event.actor_name, event.path)
        if alike in self._alike:
            return self._alike, alike
        from_there = sum(key[0] == place for key in self._alike)
        if from_there < MOST_PER_PLACE and len(self._alike) < MOST_GROUPS:
            return self._alike, alike
        by_place: _Key = (place, event.action)
        if by_place in self._by_place or len(self._by_place) < MOST_PLACES:
            return self._by_place, by_place
        return self._others, (event.action,)

    @property
    def next_due_s(self) -> float | None:
        """When the minute of the oldest group is over; None: there is none."""
        oldest = [next(iter(groups.values())).began_s for groups in self._all() if groups]
        return min(oldest) + WINDOW_S if oldest else None

    def due(self, now_s: float) -> list[AuditEvent]:
        """What the groups come to whose minute is over."""
        told: list[AuditEvent] = []
        for groups in self._all():
            while groups and next(iter(groups.values())).began_s + WINDOW_S <= now_s:
                _, group = groups.popitem(last=False)
                if group.repeats:
                    told.append(self._told(groups, group))
        return told

    def rest(self) -> list[AuditEvent]:
        """What all groups come to, before their time."""
        return self.due(float("inf"))

    def _all(self) -> tuple[OrderedDict[_Key, _Group], ...]:
        return self._alike, self._by_place, self._others

    def _told(self, groups: OrderedDict[_Key, _Group], group: _Group) -> AuditEvent:
        latest = group.latest
        if groups is self._alike:
            return replace(latest, count=group.repeats)
        here = groups is self._by_place
        return AuditEvent(
            at=latest.at,
            action=latest.action,
            actor_type=latest.actor_type,
            client_address=latest.client_address if here else None,
            detail=f"Of many kinds{'' if here else ' and from many places'}, too many to tell "
            "them apart.",
            count=group.repeats,
        )
