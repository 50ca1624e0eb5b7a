"""Whom one request may be given to now, in which order, and why not to the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

from llmlb.actors.admission.grounds import MOST_CANDIDATES, view_of
from llmlb.actors.admission.health import Choice, Health
from llmlb.actors.admission.messages import WaitForReady
from llmlb.actors.admission.ranking import Ranking
from llmlb.actors.admission.results import Closed, ModelUnknown, NoneCapable, RateLimited, Refusal
from llmlb.actors.admission.slots import Slots
from llmlb.catalog import Catalog
from llmlb.records import View
from llmlb.routing import Standings, order, retry_after_s
from llmlb.types import Api, Endpoint, Mode

MOST_RANKINGS = 256
"""Kept, of a model and an API each; the one that was made first goes."""


class Candidates:
    """Reads what the controller owns, and changes nothing. No clock: it is told the time."""

    def __init__(self, slots: Slots, health: Health, standings: Standings) -> None:
        self._catalog = Catalog.of({})
        self._slots, self._health, self._standings = slots, health, standings
        self._rankings: dict[tuple[int, Api], Ranking] = {}

    @property
    def catalog(self) -> Catalog:
        return self._catalog

    def take_in(self, catalog: Catalog) -> None:
        """This is how the endpoints are from now on."""
        self._catalog = catalog
        self._rankings.clear()

    def offering(self, request: WaitForReady) -> tuple[Endpoint, ...]:
        """The endpoints that *request* is about."""
        reach = self._catalog.reach(request.model)
        if request.only is None:
            return reach.endpoints
        return (self._catalog.endpoints[request.only],) if request.only in reach.own_ids else ()

    def at_once(self, request: WaitForReady, now_s: float) -> list[Endpoint]:
        """The best of those that have room and on which nothing is held against the request.

        In order, as many as are named. If there are none, `choice` says whether there is hope.
        """
        if request.only is not None:
            return []
        ranking = self._ranking(request)
        if self._health.perfect and not request.choosy:
            return ranking.with_room(now_s, MOST_CANDIDATES)
        cooling, circuits = self._health.cooling, self._health.circuits
        found = (
            e
            for e in ranking.with_room(now_s)
            if e.id not in request.excluding
            and e.id not in request.tried
            and not cooling.left_s(e.id, now_s)
            and circuits.admits(e.id, now_s)
        )
        return list(islice(found, MOST_CANDIDATES))

    def _ranking(self, request: WaitForReady) -> Ranking:
        """The order of the endpoints of its model, which stays from one request to the next."""
        reach = self._catalog.reach(request.model)
        key = id(reach), request.api  # a ranking holds its reach, so that no other has its id
        if key not in self._rankings:
            if len(self._rankings) >= MOST_RANKINGS:
                del self._rankings[next(iter(self._rankings))]
            self._rankings[key] = Ranking(reach, request.api, self._slots, self._standings)
        return self._rankings[key]

    def choice(self, request: WaitForReady, now_s: float) -> Choice:
        """What is left of them, whether there is room or not."""
        if self._health.perfect and not request.choosy:
            serving = self._ranking(request).serving
            if serving:
                return Choice(serving, hopeful=True, limited_s=None, failing_open=False)
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

    def after_all(self, request: WaitForReady, choice: Choice, now_s: float) -> list[Endpoint]:
        """Those of *choice* that have room, in order, where `at_once` finds none."""
        if request.only is None and not choice.failing_open:
            return []
        own_ids = self._catalog.reach(request.model).own_ids
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

    def view_now(self, request: WaitForReady, now_s: float) -> View:
        """What *request* has to choose from at the moment, for people."""
        if found := self.at_once(request, now_s):
            return self.view(request, found, now_s)
        choice = self.choice(request, now_s)
        found = self.after_all(request, choice, now_s)
        return self.view(request, found, now_s, failing_open=choice.failing_open)

    def view(
        self,
        request: WaitForReady,
        best_first: Sequence[Endpoint],
        now_s: float,
        *,
        failing_open: bool = False,
    ) -> View:
        """The same, once it is known who may be given it, and in which order."""
        own_ids = self._catalog.reach(request.model).own_ids
        return view_of(
            self.offering(request),
            best_first,
            on_offer=lambda e: failing_open or self._health.circuits.admits(e.id, now_s),
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
        own_ids = self._catalog.reach(request.model).own_ids
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
