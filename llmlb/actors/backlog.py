"""What gathers until it can be written, merged and bounded."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from llmlb.accounting import NOTHING_COUNTED, FinishedRequest, Outcome, Totals
from llmlb.accounts import KeyId
from llmlb.minutes import MOST_MINUTES, MinuteCount
from llmlb.store.burst import Burst, StatKey, TimedAttempt, UsageKey
from llmlb.types import MOST_STORED_RESPONSES, Api, EndpointId, Whereabouts

MOST_ROWS = 20_000
"""Of each kind. A row is one model of one endpoint on one day, so that it takes endpoints that
list ever new models to come near; 20,000 of them take about 10 MB."""

MOST_SPEEDS = 50_000
"""Each attempt's own, until it is written; they take about 10 MB. The oldest go: percentiles of
some of the attempts are as good as of all."""

K = TypeVar("K")
V = TypeVar("V")


class Backlog:
    """Owns one burst as it grows.

    An entry per (endpoint, model, API, day), not per request, and the newest words on stored
    responses. Of each kind there is a bound, at which the oldest entry goes.
    """

    def __init__(self) -> None:
        self._totals: OrderedDict[StatKey, Totals] = OrderedDict()
        self._latencies: OrderedDict[EndpointId, float] = OrderedDict()
        self._model_latencies: OrderedDict[tuple[EndpointId, str, Api], float] = OrderedDict()
        self._responses: OrderedDict[str, Whereabouts | None] = OrderedDict()
        self._key_uses: OrderedDict[KeyId, datetime] = OrderedDict()
        self._usage: OrderedDict[UsageKey, Totals] = OrderedDict()
        self._speeds: deque[TimedAttempt] = deque(maxlen=MOST_SPEEDS)
        self._minutes: OrderedDict[datetime, MinuteCount] = OrderedDict()
        self.lost_requests = 0
        """Those whose totals had to go: attempts, and clients' requests."""

    def __len__(self) -> int:
        """How many rows it is."""
        return len(self.burst())

    def add(self, request: FinishedRequest) -> None:
        day = request.finished_at.astimezone(UTC).date()
        key = StatKey(request.endpoint_id, request.model, request.api, day)
        self._totals[key] = self._totals.get(key, NOTHING_COUNTED).plus(request)
        self._bound_totals()
        if request.outcome is Outcome.SUCCEEDED:
            self._speeds.append(
                TimedAttempt(request.endpoint_id, request.model, day, request.speed)
            )

    def use(self, used: Iterable[tuple[UsageKey, Totals]]) -> None:
        """One request of a client, by whom it was spent."""
        for key, totals in used:
            self._usage[key] = self._usage.get(key, NOTHING_COUNTED) + totals
        self._bound_totals()

    def minute(self, minute: datetime, counted: MinuteCount) -> None:
        """The newest count of it."""
        self._minutes[minute] = counted
        _bound(self._minutes, MOST_MINUTES)

    def latency(
        self, endpoint_id: EndpointId, model: str | None, api: Api | None, latency_ms: float
    ) -> None:
        """The newest value counts. One that is lost is measured again."""
        if model is None or api is None:
            self._latencies[endpoint_id] = latency_ms
            _bound(self._latencies, MOST_ROWS)
        else:
            self._model_latencies[endpoint_id, model, api] = latency_ms
            _bound(self._model_latencies, MOST_ROWS)

    def response(self, response_id: str, whereabouts: Whereabouts | None) -> None:
        self._responses[response_id] = whereabouts
        self._responses.move_to_end(response_id)
        # A word that is lost costs little: after a restart, a response that is gone is asked for
        # at its endpoint, which says so.
        _bound(self._responses, MOST_STORED_RESPONSES)

    def key_used(self, key_id: KeyId, at: datetime) -> None:
        self._key_uses[key_id] = at
        _bound(self._key_uses, MOST_ROWS)

    def put_back(self, burst: Burst) -> None:
        """Take in a burst that could not be written; what came since is newer."""
        self._totals = _sum(burst.totals, self._totals)
        self._usage = _sum(burst.usage, self._usage)
        self._bound_totals()
        self._speeds = deque((*burst.speeds, *self._speeds), maxlen=MOST_SPEEDS)
        minutes, self._minutes = self._minutes, OrderedDict(burst.minutes)
        for minute, counted in minutes.items():
            self.minute(minute, counted)
        self._latencies = _newer(burst.latencies, self._latencies)
        self._model_latencies = _newer(burst.model_latencies, self._model_latencies)
        words, self._responses = self._responses, OrderedDict(burst.responses)
        for response_id, whereabouts in words.items():
            self.response(response_id, whereabouts)
        self._key_uses = _newer(burst.key_uses, self._key_uses)

    def burst(self) -> Burst:
        return Burst(
            self._totals,
            self._latencies,
            self._model_latencies,
            self._responses,
            self._key_uses,
            self._usage,
            self._speeds,
            self._minutes,
        )

    def _bound_totals(self) -> None:
        while len(self._totals) > MOST_ROWS:
            _, lost = self._totals.popitem(last=False)
            self.lost_requests += lost.total_requests
        while len(self._usage) > MOST_ROWS:
            _, lost = self._usage.popitem(last=False)
            self.lost_requests += lost.total_requests


def _sum(older: Mapping[K, Totals], newer: Mapping[K, Totals]) -> OrderedDict[K, Totals]:
    sums = OrderedDict(older)
    for key, totals in newer.items():
        sums[key] = sums.get(key, NOTHING_COUNTED) + totals
    return sums


def _newer(older: Mapping[K, V], newer: Mapping[K, V]) -> OrderedDict[K, V]:
    merged = OrderedDict({**older, **newer})
    _bound(merged, MOST_ROWS)
    return merged


def _bound(entries: OrderedDict[K, V], most: int) -> None:
    while len(entries) > most:
        entries.popitem(last=False)
