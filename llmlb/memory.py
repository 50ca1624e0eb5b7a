"""What is known of earlier runs when a new one begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from llmlb.accounting import Totals
from llmlb.accounts import Accounts
from llmlb.actors.latency import KnownLatency
from llmlb.audit import Link
from llmlb.minutes import MinuteCount
from llmlb.store.opening import Store
from llmlb.types import Endpoint, EndpointId, Whereabouts


@dataclass(frozen=True, slots=True)
class Memory:
    """What the store remembers."""

    endpoints: Sequence[Endpoint]
    latencies: Sequence[KnownLatency]
    totals: Mapping[EndpointId, Totals]
    requests: Totals
    minutes: Sequence[tuple[datetime, MinuteCount]]
    responses: Mapping[str, Whereabouts]
    accounts: Accounts
    audit_end: Link


async def remembered_by(store: Store) -> Memory:
    """All of it. Raises StoreUnavailable."""
    return Memory(
        endpoints=await store.endpoints.all(),
        latencies=[
            KnownLatency(row.endpoint_id, row.model, row.api, row.latency_ms)
            for row in await store.statistics.latencies()
        ],
        totals=await store.statistics.totals(),
        requests=await store.statistics.all_requests(),
        minutes=await store.statistics.minutes(),
        responses=await store.responses.all(),
        accounts=await store.accounts.all(),
        audit_end=await store.audit.place(),
    )
