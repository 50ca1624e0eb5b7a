"""Which endpoints of a model come first, kept in order from one request to the next.

To sort a thousand endpoints takes a millisecond, and from one request to the next it is one or two
of them that have changed.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable

from llmlb.actors.admission.slots import Slots
from llmlb.catalog import Reach
from llmlb.routing import STALE_AFTER_S, Rank, Standings, eligible, rank
from llmlb.types import Api, Endpoint, EndpointId

LOOKED_THROUGH_EVERY_S = 1.0
"""At most so often all of them are looked through for measurements that have grown old."""

_FULL = 3
"""The class after those of `rank`: no room."""

_Place = tuple[int, float, float, int]
"""The rank, and the place by registration."""


class Ranking:
    """Owns the order of those endpoints of *reach* that serve, for one API."""

    def __init__(self, reach: Reach, api: Api, slots: Slots, standings: Standings) -> None:
        self.reach = reach
        self.serving = tuple(eligible(reach.endpoints))
        self._api, self._slots, self._standings = api, slots, standings
        self._number = {endpoint.id: n for n, endpoint in enumerate(self.serving)}
        self._places: list[_Place] = []
        self._place_of: list[_Place] = []
        self._seen = (-1, -1)
        self._looked_at_s = self._ages_at_s = -math.inf

    def with_room(self, now_s: float, most: int | None = None) -> list[Endpoint]:
        """Those that have room, *most* of them at most, the best first."""
        self._catch_up(now_s)
        full_from = bisect_left(self._places, (_FULL,))
        return [self.serving[place[-1]] for place in self._places[:full_from][:most]]

    def _catch_up(self, now_s: float) -> None:
        seen = self._slots.changes.count, self._standings.changes.count
        aged = now_s >= max(self._ages_at_s, self._looked_at_s + LOOKED_THROUGH_EVERY_S)
        if sum(seen) - sum(self._seen) >= len(self.serving) or aged:
            changed = None
        else:
            changed = _both(
                self._slots.changes.since(self._seen[0]),
                self._standings.changes.since(self._seen[1]),
            )
        self._seen = seen
        if changed is None:
            self._sort(now_s)
        else:
            for endpoint_id in changed:
                if (number := self._number.get(endpoint_id)) is not None:
                    self._move(number, now_s)

    def _sort(self, now_s: float) -> None:
        self._looked_at_s, self._ages_at_s = now_s, math.inf
        self._place_of = [self._place(number, now_s) for number in range(len(self.serving))]
        self._places = sorted(self._place_of)

    def _move(self, number: int, now_s: float) -> None:
        before, after = self._place_of[number], self._place(number, now_s)
        if before != after:
            del self._places[bisect_left(self._places, before)]
            insort(self._places, after)
            self._place_of[number] = after

    def _place(self, number: int, now_s: float) -> _Place:
        endpoint = self.serving[number]
        busy = self._slots.in_flight.get(endpoint.id, 0)
        turn = self._slots.last_turn.get(endpoint.id, -1)
        if busy >= endpoint.capacity:
            return (_FULL, 0.0, turn, number)
        own_id = self.reach.own_ids[endpoint.id]
        standing = self._standings.standing(endpoint.id, own_id, self._api)
        if standing is not None and not busy:
            self._ages_at_s = min(self._ages_at_s, self._old_at_s(standing.at_s, now_s))
        ranked: Rank = rank(standing, busy, turn, now_s)
        return (*ranked, number)

    @staticmethod
    def _old_at_s(measured_at_s: float, now_s: float) -> float:
        old_at_s = measured_at_s + STALE_AFTER_S
        return old_at_s if old_at_s > now_s else math.inf


def _both(
    some: Iterable[EndpointId] | None, others: Iterable[EndpointId] | None
) -> set[EndpointId] | None:
    return None if some is None or others is None else {*some, *others}
