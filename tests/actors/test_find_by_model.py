"""Which endpoints can serve a model now, quickest first (T019)."""

from __future__ import annotations

import math

import trio

from llmlb.actors.registry import EndpointRegistry
from llmlb.types import EndpointId, Mode, Status
from tests.actors.conftest import (
    FakeEndpointStore,
    Latencies,
    Registered,
    endpoint,
    initialising,
)


def names(registry: EndpointRegistry, model: str = "m") -> list[str]:
    return [e.name for e in registry.find_by_model_sorted_by_latency(model)]


async def test_find_by_model_sorts_by_latency_ascending_and_leaves_out_what_cannot_serve(
    nursery: trio.Nursery, latencies: Latencies
) -> None:
    endpoints = {
        e.name: e
        for e in (
            endpoint("slow"),
            endpoint("quick"),
            endpoint("middling"),
            endpoint("offline", status=Status.OFFLINE, latency_ms=math.inf),
            endpoint("error", status=Status.ERROR),
            initialising(endpoint("pending")),
            endpoint("unsynced", synced=False),
            endpoint("disabled", mode=Mode.DISABLED),
            endpoint("draining", mode=Mode.DRAINING),
            endpoint("another", "n"),
        )
    }
    for name, ms in (("slow", 300), ("quick", 10), ("middling", 100), ("offline", 1)):
        latencies.measured(endpoints[name], ms)
    registered = Registered(FakeEndpointStore(*endpoints.values()), latencies)
    await nursery.start(registered.registry.run)
    assert names(registered.registry) == ["quick", "middling", "slow"]
    assert names(registered.registry, "n") == ["another"]
    assert names(registered.registry, "unknown") == []


async def test_find_by_model_tries_an_unmeasured_endpoint_first(
    nursery: trio.Nursery, latencies: Latencies
) -> None:
    quick, unmeasured, back = (endpoint(n) for n in ("quick", "unmeasured", "back"))
    latencies.measured(quick, 1)
    latencies.measured(back, math.inf)  # online again, and not measured since
    registered = Registered(FakeEndpointStore(quick, unmeasured, back), latencies)
    await nursery.start(registered.registry.run)
    assert names(registered.registry) == ["unmeasured", "back", "quick"]
    assert names(registered.registry) == ["back", "unmeasured", "quick"]


async def test_find_by_model_lets_equals_take_turns(
    nursery: trio.Nursery, latencies: Latencies
) -> None:
    endpoints = [endpoint(n) for n in ("a", "b", "c", "slow")]
    for one in endpoints:
        latencies.measured(one, 100 if one.name == "slow" else 10)
    registered = Registered(FakeEndpointStore(*endpoints), latencies)
    await nursery.start(registered.registry.run)
    first = [(names(registered.registry))[0] for _ in range(9)]
    assert first == list("abcabcabc")
    await registered.registry.remove(EndpointId("id-b"))
    assert [(names(registered.registry))[0] for _ in range(4)] == list("acac")
