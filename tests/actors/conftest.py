"""Endpoints in every state, what surrounds the actors, and an admission controller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
import trio

from llmlb.accounting import FinishedRequest, Outcome, Totals, Usage
from llmlb.accounts import Accounts, Row
from llmlb.actors.admission import AdmissionController
from llmlb.actors.registry import EndpointRegistry
from llmlb.catalog import Catalog
from llmlb.errors import LbError, NotFound, StoreUnavailable
from llmlb.minutes import MinuteCount
from llmlb.records import RequestRecord
from llmlb.routing import Measured, Standings
from llmlb.store.burst import Burst, StatKey, TimedAttempt, UsageKey
from llmlb.store.sums import Group, Unit, Wanted, with_unwritten
from llmlb.types import Api, Endpoint, EndpointId, Model, Status, Whereabouts

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CHAT = Api.CHAT_COMPLETIONS
A_ID = EndpointId("id-a")


def endpoint(name: str = "a", *models: str, **changes: Any) -> Endpoint:
    """An online endpoint, probed and synced, with room for one request unless said otherwise."""
    fields: dict[str, Any] = {
        "status": Status.ONLINE,
        "probed": True,
        "synced": True,
        "max_concurrency": 1,
        **changes,
    }
    return Endpoint(
        id=EndpointId(f"id-{name}"),
        name=name,
        base_url=f"http://{name}:1",
        registered_at=NOW,
        models=tuple(Model(m) for m in models or ("m",)),
        **fields,
    )


def initialising(one: Endpoint) -> Endpoint:
    return replace(one, status=Status.PENDING, probed=False, synced=False)


def catalog(*endpoints: Endpoint) -> Catalog:
    return Catalog.of({e.id: e for e in endpoints})


def finished(
    one: EndpointId = A_ID, outcome: Outcome = Outcome.SUCCEEDED, **changes: Any
) -> FinishedRequest:
    """A request for model m that took 100 ms, unless said otherwise."""
    fields: dict[str, Any] = {
        "model": "m",
        "api": CHAT,
        "finished_at": NOW,
        "duration_ms": 100.0,
        **changes,
    }
    return FinishedRequest(endpoint_id=one, outcome=outcome, **fields)


def a_record(**changes: Any) -> RequestRecord:
    """A chat about model m that endpoint a answered within 100 ms, unless said otherwise."""
    fields: dict[str, Any] = {
        "id": "r-1",
        "request_id": "req-1",
        "arrived_at": NOW,
        "finished_at": NOW,
        "api": CHAT,
        "path": "/v1/chat/completions",
        "stream": False,
        "model": "m",
        "known_model": True,
        "served_model": "m",
        "endpoint_id": A_ID,
        "endpoint_name": "a",
        "only": False,
        "key_id": None,
        "user_id": None,
        "client_address": None,
        "outcome": Outcome.SUCCEEDED,
        "status": 200,
        "error_code": None,
        "error_message": None,
        "waited_ms": 0.0,
        "duration_ms": 100.0,
        "time_to_first_token_ms": None,
        "usage": Usage(),
        "request_bytes": 0,
        "response_bytes": 0,
        "decisions": (),
        "attempts": (),
        **changes,
    }
    return RequestRecord(**fields)


def tokens(given: int | None, made: int | None, total: int | None = None) -> Usage:
    return Usage(given, made, total)


class SlowStore:
    """What the fake stores share: a write may take its time, be refused, or never end."""

    def __init__(self) -> None:
        self.takes_s = 0.0
        self.refusal: LbError | None = None
        self.begun: list[tuple[str, float]] = []
        """What was tried when."""
        self._under_way = 0

    async def _write(self, what: str, apply: Callable[[], None]) -> None:
        self.begun.append((what, trio.current_time()))
        assert len(self.begun) < 1000, "a store is not asked without a pause"
        self._under_way += 1
        assert self._under_way == 1, "one write at a time keeps them in order"
        try:
            await trio.sleep(self.takes_s)
            if self.refusal is not None:
                raise self.refusal
            apply()
        finally:
            self._under_way -= 1


class FakeBurstStore(SlowStore):
    """Statistics as a database would add them up, and where responses live."""

    def __init__(self) -> None:
        super().__init__()
        self.totals: dict[StatKey, Totals] = {}
        self.usage: dict[UsageKey, Totals] = {}
        self.speeds: list[TimedAttempt] = []
        self.minutes: dict[datetime, MinuteCount] = {}
        self.latencies: dict[EndpointId, float] = {}
        self.model_latencies: dict[tuple[EndpointId, str, Api], float] = {}
        self.responses: dict[str, Whereabouts] = {}
        self.written_at_s: list[float] = []

    @property
    def tried_at_s(self) -> list[float]:
        return [at_s for _, at_s in self.begun]

    def refuses(self, refuses: bool) -> None:
        self.refusal = StoreUnavailable("The disk is full.") if refuses else None

    def requests(self) -> int:
        return sum(totals.total_requests for totals in self.totals.values())

    async def write(self, burst: Burst) -> None:
        def apply() -> None:
            for key, totals in burst.totals.items():
                self.totals[key] = self.totals.get(key, Totals()) + totals
            for asked, totals in burst.usage.items():
                self.usage[asked] = self.usage.get(asked, Totals()) + totals
            self.speeds += burst.speeds
            self.minutes |= burst.minutes
            self.latencies |= burst.latencies
            self.model_latencies |= burst.model_latencies
            for response_id, whereabouts in burst.responses.items():
                self.responses.pop(response_id, None)
                if whereabouts is not None:
                    self.responses[response_id] = whereabouts
            self.written_at_s.append(trio.current_time())

        await self._write("burst", apply)

    async def sums(self, wanted: Wanted) -> dict[Group, Totals]:
        await trio.lowlevel.checkpoint()
        kept = self.totals if wanted.unit is Unit.ATTEMPTS else self.usage
        return with_unwritten({}, wanted, tuple(kept.items()))


class FakeEndpointStore(SlowStore):
    """Rows as a database would keep them: what was written, whole."""

    def __init__(self, *endpoints: Endpoint) -> None:
        super().__init__()
        self.rows = {e.id: e for e in endpoints}

    async def insert(self, endpoint: Endpoint) -> None:
        def apply() -> None:
            self.rows[endpoint.id] = endpoint

        await self._write(f"insert {endpoint.name}", apply)

    async def update(self, endpoint: Endpoint) -> None:
        def apply() -> None:
            if endpoint.id not in self.rows:
                raise NotFound("There is no such endpoint.")
            self.rows[endpoint.id] = _chosen(endpoint, onto=self.rows[endpoint.id])

        await self._write(f"update {endpoint.name}", apply)

    async def delete(self, endpoint_id: EndpointId) -> None:
        await self._write(
            f"delete {self.rows[endpoint_id].name}", lambda: self._forget(endpoint_id)
        )

    async def save_observed(self, endpoints: Sequence[Endpoint]) -> None:
        def apply() -> None:
            for endpoint in endpoints:
                if row := self.rows.get(endpoint.id):
                    self.rows[endpoint.id] = _chosen(row, onto=endpoint)

        await self._write("observed " + " ".join(e.name for e in endpoints), apply)

    def _forget(self, endpoint_id: EndpointId) -> None:
        del self.rows[endpoint_id]


class FakeAccountStore(SlowStore):
    """Accounts as a database would keep them: each change whole or not at all."""

    def __init__(self, *rows: Row) -> None:
        super().__init__()
        self.accounts = Accounts.of(rows)

    async def change(self, put: Iterable[Row], drop: Iterable[Row]) -> None:
        added, gone = tuple(put), tuple(drop)

        def apply() -> None:
            self.accounts = self.accounts.with_changes(put=added, drop=gone)

        await self._write(" ".join(row.id for row in (*added, *gone)), apply)


def _chosen(chosen: Endpoint, *, onto: Endpoint) -> Endpoint:
    """*onto*, with all that an operator sets taken from *chosen*."""
    return replace(
        onto,
        name=chosen.name,
        base_url=chosen.base_url,
        mode=chosen.mode,
        api_key=chosen.api_key,
        extra_headers=chosen.extra_headers,
        tls_verify=chosen.tls_verify,
        ca_certificate=chosen.ca_certificate,
        health_check_interval_s=chosen.health_check_interval_s,
        inference_timeout_s=chosen.inference_timeout_s,
        max_concurrency=chosen.max_concurrency,
        model_aliases=chosen.model_aliases,
        model_capabilities=chosen.model_capabilities,
        notes=chosen.notes,
        declared=chosen.declared,
    )


class Registered:
    """An endpoint registry, its store, and all that it told."""

    def __init__(self, store: FakeEndpointStore, latencies: Latencies) -> None:
        self.store = store
        self.told: list[tuple[str, object]] = []
        """What was told; of catalogs the names of the endpoints."""
        self.catalogs: list[Catalog] = []
        self.registry = EndpointRegistry(
            store,
            store.rows.values(),
            listener=self,
            standings=latencies.standings,
            now=lambda: NOW + timedelta(seconds=trio.current_time()),
        )

    def catalog_changed(self, catalog: Catalog) -> None:
        self.catalogs.append(catalog)
        self.told.append(("catalog", tuple(e.name for e in catalog.endpoints.values())))

    def watch(self, endpoint: Endpoint, *, at_once: bool) -> None:
        self.told.append(("watch", endpoint))

    def unwatch(self, endpoint_id: EndpointId) -> None:
        self.told.append(("unwatch", endpoint_id))

    def went_offline(self, endpoint_id: EndpointId) -> None:
        self.told.append(("went_offline", endpoint_id))

    def forget(self, endpoint_id: EndpointId) -> None:
        self.told.append(("forget", endpoint_id))


class Latencies:
    """A table of latencies that a test writes and admission reads."""

    def __init__(self) -> None:
        self.by_endpoint: dict[EndpointId, Measured] = {}
        self.by_model: dict[tuple[EndpointId, str, Api], Measured] = {}
        self.standings = Standings(
            MappingProxyType(self.by_endpoint), MappingProxyType(self.by_model)
        )

    def measured(self, one: Endpoint, latency_ms: float, at_s: float = 0.0) -> None:
        self.by_endpoint[one.id] = Measured(latency_ms, at_s)
        self.standings.changes.note(one.id)


@pytest.fixture
def latencies() -> Latencies:
    return Latencies()


@pytest.fixture
async def registered(nursery: trio.Nursery, latencies: Latencies) -> Registered:
    registered = Registered(FakeEndpointStore(), latencies)
    await nursery.start(registered.registry.run)
    return registered


@pytest.fixture
async def admission(nursery: trio.Nursery, latencies: Latencies) -> AdmissionController:
    controller = AdmissionController(standings=latencies.standings)
    await nursery.start(controller.run)
    return controller
