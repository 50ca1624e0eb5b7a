"""Requests by any name of a model, and for one chosen endpoint."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.admission import (
    AdmissionController,
    CapacityExceeded,
    ModelUnknown,
    NoneCapable,
    Ready,
    Timeout,
    WaitResult,
)
from llmlb.catalog import Catalog
from llmlb.routing import AcceptWithDelay, Measured
from llmlb.types import Endpoint, EndpointId, Status
from tests.actors.conftest import CHAT, Latencies, catalog, endpoint
from tests.actors.test_admission import Callers, lease_of

A, B = EndpointId("id-a"), EndpointId("id-b")


def named(*endpoints: Endpoint) -> Catalog:
    return Catalog.of({e.id: e for e in endpoints}, aliases={"fast": ("x", "y")})


# -- names


async def test_a_lease_says_what_the_endpoint_calls_the_model(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(named(endpoint("a", "x"), endpoint("b", "y")))
    first, second = await lease_of(admission, "fast"), await lease_of(admission, "fast")
    assert {first.endpoint.name: first.model, second.endpoint.name: second.model} == {
        "a": "x",
        "b": "y",
    }
    first.release()
    assert (await lease_of(admission, "x")).model == "x"


async def test_a_waiter_for_an_alias_is_served_when_a_slot_comes_free(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(named(endpoint("a", "x", "llama3.1:8b")))
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        await callers.arrive("v", 10, "x")
        await callers.arrive("w", 10, "fast")
        await callers.arrive("x", 10, "meta-llama/Llama-3.1-8B-Instruct")
        await callers.arrive("y", 10, "x")
    assert [(name, at_s) for name, _, at_s in callers.log] == [
        ("v", 0),
        ("w", 10),
        ("x", 20),
        ("y", 30),
    ]


async def test_endpoints_are_ordered_by_the_latency_of_their_own_ids(
    admission: AdmissionController, latencies: Latencies
) -> None:
    admission.catalog_changed(named(endpoint("a", "x"), endpoint("b", "y")))
    latencies.by_model[A, "x", CHAT] = Measured(200, 0)
    latencies.by_model[B, "y", CHAT] = Measured(100, 0)
    latencies.by_model[A, "fast", CHAT] = Measured(1, 0)
    assert (await lease_of(admission, "fast")).endpoint.id == B


async def test_the_honest_estimate_is_by_the_own_id_too(
    admission: AdmissionController, latencies: Latencies
) -> None:
    admission.catalog_changed(named(endpoint("a", "x"), endpoint("b", "y")))
    latencies.by_model[A, "x", CHAT] = Measured(7_000, 0)
    latencies.by_model[B, "y", CHAT] = Measured(20_000, 0)
    await lease_of(admission, "fast")
    await lease_of(admission, "fast")
    assert await admission.wait_for_ready("fast", CHAT, 0) == CapacityExceeded(0, 7)
    assert await admission.wait_for_ready("fast", CHAT, 0, only=B) == CapacityExceeded(0, 20)


# -- one chosen endpoint


async def test_only_the_chosen_endpoint_is_given(admission: AdmissionController) -> None:
    admission.catalog_changed(catalog(endpoint("a"), endpoint("b")))
    for _ in range(3):
        result = await admission.wait_for_ready("m", CHAT, 0, only=B)
        assert isinstance(result, Ready)
        assert result.lease.endpoint.id == B
        result.lease.release()
    now = await admission.wait_for_ready_with_timeout("m", CHAT, 0, 0, only=B)
    assert isinstance(now, Ready)
    assert isinstance(await admission.wait_for_ready_with_timeout("m", CHAT, 0, 0, only=B), Timeout)


async def test_refusals_are_about_the_chosen_endpoint(admission: AdmissionController) -> None:
    off = endpoint("b", status=Status.OFFLINE, health_check_interval_s=17)
    admission.catalog_changed(catalog(endpoint("a"), off, endpoint("c", "n")))
    for limit_s in (0.0, 5.0):
        ask = admission.wait_for_ready_with_timeout
        assert await ask("m", CHAT, 9, limit_s, only=B) == NoneCapable(17)
        assert await ask("m", CHAT, 9, limit_s, only=EndpointId("id-c")) == ModelUnknown()
        assert await ask("m", CHAT, 9, limit_s, only=EndpointId("gone")) == ModelUnknown()
    assert trio.current_time() == 0


async def test_a_refusal_does_not_wait_for_those_ahead_in_line(
    admission: AdmissionController,
) -> None:
    off = endpoint("b", status=Status.OFFLINE)
    admission.catalog_changed(catalog(endpoint("a"), off))
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        await callers.arrive("runs", 10)
        await callers.arrive("waits", 10)
        await callers.arrive("chooses", 10, only=B)
        assert [name for name, _ in callers.refused] == ["chooses"]
        admission.catalog_changed(catalog(endpoint("a"), endpoint("b")))
        await callers.arrive("chooses now", 10, only=B)
    assert ("waits", "b", 0) in callers.log
    assert ("chooses now", "b", 10) in callers.log


async def test_one_that_waits_for_a_busy_endpoint_blocks_nobody_behind_it(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(catalog(endpoint("a"), endpoint("b")))
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        await callers.arrive("u", 30, only=B)
        await callers.arrive("v", 10, only=B)
        await callers.arrive("w", 10, only=B)
        await callers.arrive("x", 10)
    assert callers.log == [("u", "b", 0), ("x", "a", 0), ("v", "b", 30), ("w", "b", 40)]


async def test_one_that_is_delayed_for_its_endpoint_delays_nobody_else(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(catalog(endpoint("a"), endpoint("b")))
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        await callers.arrive("u", 10, only=B)
        await callers.arrive("v", 10, only=B, decide=lambda w, m: AcceptWithDelay(50_000))
        await callers.arrive("x", 10)
        await trio.sleep(20)
        await callers.arrive("y", 40, only=A)
    assert callers.log == [("u", "b", 0), ("x", "a", 0), ("y", "a", 20), ("v", "b", 50)]


async def test_a_chosen_endpoint_that_goes_away_answers_its_waiters(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(catalog(endpoint("a"), endpoint("b")))
    results: list[WaitResult] = []

    async def wait() -> None:
        results.append(await admission.wait_for_ready("m", CHAT, 9, only=B))

    async with trio.open_nursery() as nursery:
        first = await admission.wait_for_ready("m", CHAT, 9, only=B)
        assert isinstance(first, Ready)
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        admission.catalog_changed(catalog(endpoint("a")))
    assert results == [ModelUnknown()]


@pytest.mark.parametrize("first_seed", range(0, 500, 50))
async def test_no_lease_is_lost_or_doubled_when_some_choose_their_endpoint(
    first_seed: int,
) -> None:
    for seed in range(first_seed, first_seed + 50):
        await choosy_callers_are_cancelled_at_random(seed)


async def choosy_callers_are_cancelled_at_random(seed: int) -> None:
    rng = random.Random(seed)
    endpoints = [endpoint("a", "x"), endpoint("b", "x", "y", max_concurrency=2)]
    own_ids = {A: {"x"}, B: {"x", "y"}}
    running = {e.id: 0 for e in endpoints}
    admission = AdmissionController(standings=Latencies().standings)
    admission.catalog_changed(named(*endpoints))

    async def steps(n: int) -> None:
        for _ in range(n):
            await trio.lowlevel.checkpoint()

    async def impatient(before: int, held: int, patience: int) -> None:
        only, model = rng.choice([None, A, B]), rng.choice(["x", "y", "fast", "x:latest"])
        await steps(before)
        async with trio.open_nursery() as inner:

            async def lose_patience() -> None:
                await steps(patience)
                inner.cancel_scope.cancel()

            inner.start_soon(lose_patience)
            result = await admission.wait_for_ready(model, CHAT, 20, only=only)
            if isinstance(result, Ready):
                one = result.lease.endpoint
                with result.lease:
                    assert only in (None, one.id), f"{seed=}"
                    assert result.lease.model in own_ids[one.id], f"{seed=}"
                    running[one.id] += 1
                    try:
                        assert running[one.id] <= one.capacity, f"{seed=}"
                        await steps(held)
                    finally:
                        running[one.id] -= 1
            else:
                assert result == ModelUnknown(), f"{seed=}"
                assert (model, only) == ("y", A), f"{seed=}"

    async with trio.open_nursery() as house:
        await house.start(admission.run)
        async with trio.open_nursery() as callers:
            for _ in range(14):
                callers.start_soon(impatient, rng.randrange(6), rng.randrange(4), rng.randrange(9))
        await admission.wait_until_idle()
        assert admission.statistics().in_flight == {}, f"{seed=}"
        assert admission.statistics().waiting == {}, f"{seed=}"
        admission.close()
