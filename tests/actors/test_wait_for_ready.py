"""The specified behaviour of waiting, by its old names (T008)."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.admission import (
    AdmissionController,
    CapacityExceeded,
    Ready,
    Timeout,
    WaitResult,
)
from llmlb.routing import (
    Accept,
    AcceptWithDelay,
    Reject,
    admission_control,
    eligible,
)
from tests.actors.conftest import CHAT, Latencies, catalog, endpoint, initialising


async def test_wait_for_ready_unblocks_when_endpoint_becomes_ready(
    admission: AdmissionController,
) -> None:
    a = endpoint("a")
    admission.catalog_changed(catalog(initialising(a)))
    results: list[WaitResult] = []
    granted = trio.Event()

    async def wait() -> None:
        results.append(await admission.wait_for_ready("m", CHAT, 1024))
        granted.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert results == []
        admission.catalog_changed(catalog(a))
        with trio.fail_after(0.2):
            await granted.wait()
    assert isinstance(results[0], Ready)
    assert results[0].lease.endpoint == a


async def test_wait_for_ready_limits_waiters_and_notifies_first(
    admission: AdmissionController,
) -> None:
    a = endpoint("a")
    admission.catalog_changed(catalog(initialising(a)))
    first: list[WaitResult] = []

    async def wait() -> None:
        first.append(await admission.wait_for_ready("m", CHAT, 1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        second = await admission.wait_for_ready("m", CHAT, 1)
        assert isinstance(second, CapacityExceeded)
        assert first == []
        admission.catalog_changed(catalog(a))
    assert isinstance(first[0], Ready)


async def test_wait_for_ready_with_timeout_returns_timeout_when_no_ready_endpoints(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(catalog(initialising(endpoint("a"))))
    started = trio.current_time()
    result = await admission.wait_for_ready_with_timeout("m", CHAT, 1024, 0.010)
    assert isinstance(result, Timeout)
    assert trio.current_time() - started == 0.010


async def test_wait_for_ready_with_timeout_returns_capacity_exceeded(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(catalog(initialising(endpoint("a"))))
    results: dict[str, tuple[WaitResult, float]] = {}

    async def wait(name: str) -> None:
        result = await admission.wait_for_ready_with_timeout("m", CHAT, 1, 0.100)
        results[name] = (result, trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "first")
        await wait_all_tasks_blocked()
        nursery.start_soon(wait, "second")
    assert isinstance(results["second"][0], CapacityExceeded)
    assert results["second"][1] == 0
    assert isinstance(results["first"][0], Timeout)
    assert results["first"][1] == 0.100


async def test_wait_for_ready_with_timeout_returns_ready_when_endpoint_becomes_available(
    admission: AdmissionController,
) -> None:
    a = endpoint("a")
    admission.catalog_changed(catalog(initialising(a)))
    results: list[WaitResult] = []

    async def wait() -> None:
        results.append(await admission.wait_for_ready_with_timeout("m", CHAT, 1024, 0.200))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(0.020)
        admission.catalog_changed(catalog(a))
    assert isinstance(results[0], Ready)
    assert results[0].waited_s == 0.020
    assert trio.current_time() == 0.020


def test_admission_control_returns_accept_when_below_50_percent() -> None:
    assert admission_control(0, 100) == Accept()


def test_admission_control_returns_accept_with_delay_when_between_50_and_80_percent() -> None:
    decision = admission_control(55, 100)
    assert isinstance(decision, AcceptWithDelay)
    assert decision.delay_ms > 0


def test_admission_control_returns_reject_when_above_80_percent() -> None:
    assert admission_control(85, 100) == Reject()


def test_admission_control_boundary_values() -> None:
    assert admission_control(49, 100) == Accept()
    assert admission_control(50, 100) == AcceptWithDelay(10)
    assert admission_control(79, 100) == AcceptWithDelay(97)
    assert admission_control(80, 100) == Reject()


async def test_load_manager_prefers_lower_latency_when_active_equal(
    admission: AdmissionController, latencies: Latencies
) -> None:
    slow, quick = (endpoint(n, max_concurrency=4) for n in ("slow", "quick"))
    latencies.measured(slow, 240)
    latencies.measured(quick, 120)
    admission.catalog_changed(catalog(slow, quick))
    for _ in range(3):
        result = await admission.wait_for_ready("m", CHAT, 0)
        assert isinstance(result, Ready)
        assert result.lease.endpoint == quick
        result.lease.release()


def test_pending_endpoint_excluded_from_routing() -> None:
    assert eligible([initialising(endpoint("a"))]) == []


def test_registering_endpoint_excluded_from_routing() -> None:
    # Online, but none of its models is known yet.
    assert eligible([endpoint("a", synced=False)]) == []
