"""Which endpoint comes first, who may join the line, what a probe means: pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from llmlb.changes import Changes
from llmlb.types import Api, Endpoint, EndpointId, Mode, Status, ema

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "Accept",
    "AcceptWithDelay",
    "AdmissionDecision",
    "Measured",
    "Rank",
    "Reject",
    "Standings",
    "admission_control",
    "after_probe",
    "after_refusal",
    "eligible",
    "ema",
    "hopeful",
    "order",
    "rank",
    "retry_after_s",
]

STALE_AFTER_S = 300.0
"""A latency that nobody refreshed for this long is explored again."""

RETRY_AFTER_FALLBACK_S = 5
"""Told when neither a completion nor a latency is known."""


class Measured(NamedTuple):
    """A latency EMA and the monotonic second of its last sample."""

    latency_ms: float
    at_s: float


Rank = tuple[int, float, int]
"""The class of an endpoint, its latency or how busy it is, and its last turn: the lowest first."""


@dataclass(frozen=True, slots=True)
class Standings:
    """Frozen view of all latencies: per endpoint, and per (endpoint, model, API)."""

    by_endpoint: Mapping[EndpointId, Measured] = field(default_factory=dict)
    by_model: Mapping[tuple[EndpointId, str, Api], Measured] = field(default_factory=dict)
    changes: Changes[EndpointId] = field(default_factory=Changes)
    """Whose latencies are not as they were."""

    def latency_ms(self, endpoint_id: EndpointId) -> float | None:
        """The endpoint's EMA; None: not measured, inf: offline."""
        measured = self.by_endpoint.get(endpoint_id)
        return None if measured is None else measured.latency_ms

    def standing(self, endpoint_id: EndpointId, model: str, api: Api | None) -> Measured | None:
        """The most exact finite EMA there is, or None: not measured."""
        found = None if api is None else self.by_model.get((endpoint_id, model, api))
        found = found or self.by_endpoint.get(endpoint_id)
        return None if found is None or math.isinf(found.latency_ms) else found


def eligible(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Those that may be given a request now: enabled, online, and their models known."""
    return [
        e
        for e in endpoints
        if e.mode is Mode.ENABLED and e.status is Status.ONLINE and not e.initialising
    ]


def hopeful(endpoints: Iterable[Endpoint]) -> bool:
    """Whether waiting can help: one of them is eligible, or may turn out to be."""
    return any(
        e.mode is Mode.ENABLED and (e.initialising or e.status is Status.ONLINE) for e in endpoints
    )


def order(
    candidates: Iterable[Endpoint],
    *,
    own_id: Callable[[Endpoint], str],
    api: Api | None,
    standings: Standings,
    in_flight: Mapping[EndpointId, int],
    last_turn: Mapping[EndpointId, int],
    now_s: float,
) -> list[Endpoint]:
    """Sort *candidates*, best first, by their standings under their own ids of the model.

    Unmeasured (or stale) and idle: first, so that they get a value. Then by latency in ms,
    ascending. Unmeasured and already busy: last. Equals take turns: who was chosen longest
    ago (smallest *last_turn*) comes first.
    """

    def ranked(endpoint: Endpoint) -> Rank:
        standing = standings.standing(endpoint.id, own_id(endpoint), api)
        busy = in_flight.get(endpoint.id, 0)
        return rank(standing, busy, last_turn.get(endpoint.id, -1), now_s)

    return sorted(candidates, key=ranked)


def rank(standing: Measured | None, busy: int, turn: int, now_s: float) -> Rank:
    """What `order` sorts by: of an endpoint with *busy* requests, chosen last at *turn*."""
    if standing is None:
        return (2, busy, turn) if busy else (0, 0.0, turn)
    if not busy and now_s - standing.at_s >= STALE_AFTER_S:
        return (0, 0.0, turn)
    return (1, standing.latency_ms, turn)


@dataclass(frozen=True, slots=True)
class Accept:
    """Join the line."""


@dataclass(frozen=True, slots=True)
class AcceptWithDelay:
    """Join the line, and be granted no sooner than *delay_ms* from now."""

    delay_ms: int


@dataclass(frozen=True, slots=True)
class Reject:
    """Come back later."""


AdmissionDecision = Accept | AcceptWithDelay | Reject


def admission_control(waiters: int, max_waiters: int) -> AdmissionDecision:
    """Decide about one more waiter, when *waiters* of at most *max_waiters* are in line.

    Below half: Accept. From half up to four fifths: AcceptWithDelay, 10 ms growing linearly
    towards 100 ms. From four fifths on: Reject. Integer arithmetic throughout.
    """
    accept, reject = max_waiters // 2, max_waiters * 4 // 5
    if waiters < accept:
        return Accept()
    if waiters < reject:
        return AcceptWithDelay(10 + 90 * (waiters - accept) // (reject - accept))
    return Reject()


def retry_after_s(*, waiters_ahead: int, completions_per_s: float, latency_ms: float | None) -> int:
    """When a refused caller may come back, in whole seconds from 1 to 60.

    ⌈waiters ahead ÷ completions per second⌉; without a completion yet, the latency; else 5 s.
    """
    if completions_per_s > 0:
        estimate = waiters_ahead / completions_per_s
    elif latency_ms is not None and math.isfinite(latency_ms):
        estimate = latency_ms / 1000
    else:
        estimate = RETRY_AFTER_FALLBACK_S
    return math.ceil(max(1.0, min(60.0, estimate)))


def after_probe(endpoint: Endpoint, *, at: datetime, failure: str | None) -> Endpoint:
    """The endpoint after one probe, *failure* being the reason why it failed, or None.

    pending → online | offline; online → error → offline at the second failure in a row;
    offline → online. Whoever goes offline has its latency reset to infinity.
    """
    if failure is None:
        return replace(
            endpoint,
            status=Status.ONLINE,
            probed=True,
            error_count=0,
            last_error=None,
            last_seen_at=at,
        )
    if endpoint.status is Status.ONLINE:
        return replace(
            endpoint, status=Status.ERROR, probed=True, error_count=1, last_error=failure
        )
    return replace(
        endpoint.reset_latency(),
        status=Status.OFFLINE,
        probed=True,
        synced=False,
        error_count=0,
        last_error=failure,
    )


def after_refusal(endpoint: Endpoint, reason: str) -> Endpoint:
    """The endpoint after a request showed that it cannot serve, whatever its probes say."""
    if endpoint.status not in (Status.ONLINE, Status.ERROR):
        return replace(endpoint, last_error=reason)
    return replace(
        endpoint,
        status=Status.ERROR,
        last_error=reason,
        error_count=endpoint.error_count + 1,
    )
