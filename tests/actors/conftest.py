"""Endpoints in every state, and an admission controller that knows them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
import trio

from llmlb.actors.admission import AdmissionController
from llmlb.routing import Measured, Standings
from llmlb.types import Api, Catalog, Endpoint, EndpointId, Model, Status

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CHAT = Api.CHAT_COMPLETIONS


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


@pytest.fixture
def latencies() -> Latencies:
    return Latencies()


@pytest.fixture
async def admission(nursery: trio.Nursery, latencies: Latencies) -> AdmissionController:
    controller = AdmissionController(standings=latencies.standings)
    await nursery.start(controller.run)
    return controller
