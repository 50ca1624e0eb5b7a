"""Whom one request may be given to now, in which order, and why not to the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmlb.actors.admission.grounds import view_of
from llmlb.actors.admission.health import Choice, Health
from llmlb.actors.admission.messages import WaitForReady
from llmlb.actors.admission.results import Closed, ModelUnknown, NoneCapable, RateLimited, Refusal
from llmlb.actors.admission.slots import Slots
from llmlb.catalog import Catalog
from llmlb.records import View
from llmlb.routing import Standings, order, retry_after_s
from llmlb.types import Endpoint, Mode


class Candidates:
    """Reads what the controller owns, and changes nothing. No clock: it is told the time."""

    def __init__(self, slots: Slots, health: Health, standings: Standings) -> None:
        self.catalog = Catalog.of({})
        self._slots, self._health, self._standings = slots, health, standings

    def offering(self, request: WaitForReady) -> tuple[Endpoint, ...]:
        """The endpoints that *request* is about."""
        found = self.catalog.offering(request.model)
        if request.only is None:
            return found
        return tuple(e for e in found if e.id == request.only)

    def choice(self, request: WaitForReady, now_s: float) -> Choice:
        """What is left of them, whether there is room or not."""
        able = (e for e in self.offering(request) if e.id not in request.excluding)
        return self._health.choice(able, request.tried, now_s)

    def refusal(self, request: WaitForReady, choice: Choice, *, closed: bool) -> Refusal | None:
        """Why waiting would be in vain, if it would."""
        if closed and request.arrival is None:
            return Closed()
        offering = self.offering(request)
        if not offering:
            return ModelUnknown()
        if not choice.hopeful:
            if choice.limited_s is not None:
                return RateLimited(math.ceil(choice.limited_s))
            enabled = [e for e in offering if e.mode is Mode.ENABLED]
            interval_s = min((e.health_check_interval_s for e in enabled), default=60)
            return NoneCapable(max(1, min(60, round(interval_s))))
        return None

    def best_first(self, request: WaitForReady, choice: Choice, now_s: float) -> list[Endpoint]:
        """Those of *choice* that have room, in order."""
        own_ids = self.catalog.reach(request.model).own_ids
        found = order(
            filter(self._slots.has_room, choice.endpoints),
            own_id=lambda e: own_ids[e.id],
            api=request.api,
            standings=self._standings,
            in_flight=self._slots.in_flight,
            last_turn=self._slots.last_turn,
            now_s=now_s,
        )
        return sorted(found, key=self._burden) if choice.failing_open else found

    def _burden(self, endpoint: Endpoint) -> tuple[int, float]:
        """Of endpoints that all fail, none is known to be fast: they are all tried evenly."""
        in_flight = self._slots.in_flight.get(endpoint.id, 0)
        return in_flight, self._health.circuits.opens_until_s(endpoint.id)

    def view(
        self, request: WaitForReady, choice: Choice, best_first: Sequence[Endpoint], now_s: float
    ) -> View:
        """What *request* has to choose from, for people."""
        own_ids = self.catalog.reach(request.model).own_ids
        return view_of(
            self.offering(request),
            best_first,
            choice=choice,
            excluding=request.excluding,
            tried=request.tried,
            latency_of=lambda e: self._standings.standing(e.id, own_ids[e.id], request.api),
            in_flight=self._slots.in_flight,
            cools=lambda e: self._health.cooling.left_s(e.id, now_s) > 0,
        )

    def retry_after_s(
        self, request: WaitForReady, *, waiters_ahead: int, completions_per_s: float
    ) -> int:
        """When *request* may come back, refused because too many wait."""
        own_ids = self.catalog.reach(request.model).own_ids
        standings = [
            s
            for e in self.offering(request)
            if (s := self._standings.standing(e.id, own_ids[e.id], request.api)) is not None
        ]
        return retry_after_s(
            waiters_ahead=waiters_ahead,
            completions_per_s=completions_per_s,
            latency_ms=min((s.latency_ms for s in standings), default=None),
        )
