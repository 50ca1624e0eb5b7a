"""On what grounds a request was given to an endpoint, or to none: what there was to choose from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice

from llmlb.records import Candidate, Exclusion, View
from llmlb.routing import Measured
from llmlb.types import Endpoint, EndpointId, Mode, Status

MOST_CANDIDATES = 20
"""So many are named; a fleet may have hundreds of endpoints for a model."""


def view_of(
    offering: Sequence[Endpoint],
    best_first: Iterable[Endpoint],
    *,
    on_offer: Callable[[Endpoint], bool],
    excluding: AbstractSet[EndpointId],
    tried: AbstractSet[EndpointId],
    latency_of: Callable[[Endpoint], Measured | None],
    in_flight: Mapping[EndpointId, int],
    cools: Callable[[Endpoint], bool],
) -> View:
    """What a request had to choose from: *best_first*, then the rest of those *offering*.

    *on_offer* is asked of those against which nothing is said but that they may have no room.
    """
    chosen = tuple(best_first)
    crowded = len(chosen) >= MOST_CANDIDATES  # nobody else is named, of perhaps thousands
    could = frozenset[EndpointId]() if crowded else {e.id for e in chosen}

    def why_not(endpoint: Endpoint) -> Exclusion:
        reasons = {
            Exclusion.INCAPABLE: endpoint.id in excluding,
            Exclusion.DISABLED: endpoint.mode is Mode.DISABLED,
            Exclusion.DRAINING: endpoint.mode is Mode.DRAINING,
            Exclusion.TRIED: endpoint.id in tried,
            Exclusion.OFFLINE: endpoint.status is Status.OFFLINE,
            Exclusion.ERROR: endpoint.status is Status.ERROR,
            Exclusion.PENDING: endpoint.initialising,
            Exclusion.COOLING: cools(endpoint),
            Exclusion.FULL: on_offer(endpoint),
        }
        # what is none of these is held back while another one is better off
        return next((reason for reason, holds in reasons.items() if holds), Exclusion.CIRCUIT_OPEN)

    def seen(endpoint: Endpoint, excluded: Exclusion | None) -> Candidate:
        measured = latency_of(endpoint)
        return Candidate(
            endpoint.id,
            endpoint.name,
            None if measured is None else measured.latency_ms,
            in_flight.get(endpoint.id, 0),
            endpoint.capacity,
            excluded,
        )

    named: list[tuple[Endpoint, Exclusion | None]] = [(e, None) for e in chosen[:MOST_CANDIDATES]]
    rest = () if crowded else (e for e in offering if e.id not in could)
    named += [(e, why_not(e)) for e in islice(rest, MOST_CANDIDATES - len(named))]
    return View(tuple(seen(e, why) for e, why in named), omitted=len(offering) - len(named))
