"""Who is given a lease when endpoints fail, cool, come back, or are replaced; in virtual time."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from llmlb.accounting import Lease, Outcome, Verdict
from llmlb.actors.admission import (
    AdmissionController,
    CircuitChange,
    CircuitState,
    EndpointHealth,
    NoneCapable,
    RateLimited,
    Ready,
    Timeout,
    WaitResult,
)
from llmlb.types import Endpoint, Status
from tests.actors.conftest import CHAT, Latencies, catalog, endpoint, initialising

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

NOTHING, ILL = Verdict(), Verdict(ill=True)


class Desk:
    """Asks for leases and gives them back, and notes which circuits changed when."""

    def __init__(self, latencies: Latencies) -> None:
        self.latencies = latencies
        self.changes: list[tuple[CircuitState, str, float]] = []
        self.admission = AdmissionController(
            standings=latencies.standings, rng=random.Random(3), on_circuit=self._note
        )

    def _note(self, change: CircuitChange) -> None:
        self.changes.append((change.state, change.endpoint_id, trio.current_time()))

    def knows(self, *endpoints: Endpoint) -> None:
        """These are the endpoints, each measured: the first one is the fastest."""
        for place, one in enumerate(endpoints):
            self.latencies.measured(one, 100.0 * (place + 1), trio.current_time())
        self.admission.catalog_changed(catalog(*endpoints))

    async def ask(self, timeout_s: float = 0, *, failed: Lease | None = None) -> WaitResult:
        """Ask for a lease; *failed* is the one under which the request has failed before."""
        return await self.admission.wait_for_ready_with_timeout(
            "m",
            CHAT,
            100,
            timeout_s,
            tried=frozenset() if failed is None else {failed.endpoint.id},
            arrival=None if failed is None else failed.arrival,
        )

    async def lease(self, timeout_s: float = 0, *, failed: Lease | None = None) -> Lease:
        result = await self.ask(timeout_s, failed=failed)
        assert isinstance(result, Ready), result
        return result.lease

    async def end(
        self, lease: Lease, outcome: Outcome = Outcome.SUCCEEDED, verdict: Verdict = NOTHING
    ) -> Lease:
        lease.outcome, lease.verdict = outcome, verdict
        lease.release()
        await wait_all_tasks_blocked()
        return lease

    async def fail(self, lease: Lease) -> Lease:
        return await self.end(lease, Outcome.FAILED, ILL)

    async def open(self, *endpoints: Endpoint) -> None:
        """Let each of them fail until its circuit opens."""
        for one in endpoints:
            for _ in range(3):
                result = await self.admission.wait_for_ready("m", CHAT, 0, only=one.id)
                assert isinstance(result, Ready)
                await self.fail(result.lease)
            assert self.health(one).state is OPEN

    def health(self, one: Endpoint) -> EndpointHealth:
        return self.admission.statistics().health.get(one.id, EndpointHealth())


@pytest.fixture
async def desk(nursery: trio.Nursery, latencies: Latencies) -> Desk:
    desk = Desk(latencies)
    await nursery.start(desk.admission.run)
    return desk


# -- an endpoint that fails


async def test_a_bad_endpoint_costs_three_requests_and_then_only_canaries(desk: Desk) -> None:
    bad, good = endpoint("bad", max_concurrency=4), endpoint("good", max_concurrency=4)
    desk.knows(bad, good)
    spent: list[float] = []
    for _ in range(300):  # for half a minute, ten a second; the bad one fails in 5 ms
        lease = await desk.lease()
        if lease.endpoint.name == "bad":
            spent.append(trio.current_time())
            await trio.sleep(0.005)
            again = await desk.lease(failed=await desk.fail(lease))
            assert again.endpoint.name == "good"
            await desk.end(again)
        else:
            await desk.end(lease)
        await trio.sleep(0.1)

    canaries = spent[3:]
    assert len(spent[:3]) == 3
    assert spent[2] < 1
    assert [round(b - a) for a, b in zip([spent[2], *canaries], canaries, strict=False)] == [
        1,
        2,
        4,
        8,
    ]
    assert [state for state, _, _ in desk.changes] == [OPEN, *[HALF_OPEN, OPEN] * 4]


async def test_while_a_canary_is_out_nobody_else_goes_there(desk: Desk) -> None:
    bad, good = endpoint("bad", max_concurrency=4), endpoint("good", max_concurrency=8)
    desk.knows(bad, good)
    await desk.open(bad)
    await trio.sleep(2)
    canary = await desk.lease()
    assert canary.endpoint == bad
    assert desk.health(bad).state is HALF_OPEN
    assert {(await desk.lease()).endpoint.name for _ in range(5)} == {"good"}
    await desk.end(canary)
    assert desk.health(bad) == EndpointHealth()
    assert (await desk.lease()).endpoint == bad


async def test_a_canary_that_is_given_up_makes_room_for_the_next(desk: Desk) -> None:
    bad, good = endpoint("bad"), endpoint("good", max_concurrency=8)
    desk.knows(bad, good)
    await desk.open(bad)
    await trio.sleep(2)
    for _ in range(3):
        canary = await desk.lease()
        assert canary.endpoint == bad
        await desk.end(canary, Outcome.CANCELLED)


async def test_an_answer_that_has_begun_readmits_its_endpoint(desk: Desk) -> None:
    bad, good = endpoint("bad", max_concurrency=2), endpoint("good")
    desk.knows(bad, good)
    await desk.open(bad)
    await trio.sleep(2)
    canary, _ = await desk.lease(), await desk.lease()
    async with trio.open_nursery() as nursery:
        granted: list[Lease] = []

        async def wait() -> None:
            granted.append(await desk.lease(100))

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert granted == []
        canary.begun()
        await wait_all_tasks_blocked()
        assert [lease.endpoint for lease in granted] == [bad]
    assert desk.health(bad).state is CLOSED


async def test_whoever_waits_is_the_canary_as_soon_as_there_is_to_be_one(desk: Desk) -> None:
    bad, good = endpoint("bad"), endpoint("good")
    desk.knows(bad, good)
    await desk.open(bad)
    await desk.lease()  # good is busy
    lease = await desk.lease(10)
    assert lease.endpoint == bad
    assert trio.current_time() == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.REFUSED, Outcome.FAILED])
async def test_what_is_not_the_endpoints_fault_never_opens_its_circuit(
    desk: Desk, outcome: Outcome
) -> None:
    only = endpoint()
    desk.knows(only)
    for _ in range(10):
        await desk.end(await desk.lease(), outcome)
    assert desk.health(only) == EndpointHealth()
    assert desk.changes == []


async def test_a_failure_that_was_the_requests_is_taken_back(desk: Desk) -> None:
    a, b = endpoint("a"), endpoint("b")
    desk.knows(a, b)
    for _ in range(10):
        first = await desk.fail(await desk.lease())
        second = await desk.lease(failed=first)
        second.take_back()
        first.take_back()
        await desk.end(second, Outcome.FAILED, second.verdict)
    assert (desk.health(a), desk.health(b)) == (EndpointHealth(), EndpointHealth())
    assert desk.changes == []


async def test_to_take_back_what_opened_a_circuit_serves_those_that_wait(desk: Desk) -> None:
    a, b = endpoint("a"), endpoint("b")
    desk.knows(a, b)
    for _ in range(2):
        await desk.fail(await desk.lease())
    poison = await desk.lease()
    await desk.lease()  # b is busy
    await desk.fail(poison)
    assert desk.health(a).state is OPEN
    assert isinstance(await desk.ask(), Timeout)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(0.5):
            nursery.start_soon(desk.lease, 100)
            await wait_all_tasks_blocked()
            poison.take_back()
    assert desk.health(a).state is CLOSED


# -- there is always one


async def test_the_only_endpoint_is_never_held_back(desk: Desk) -> None:
    only = endpoint(max_concurrency=3)
    desk.knows(only)
    for _ in range(20):
        leases = [await desk.lease() for _ in range(3)]
        for lease in leases:
            await desk.fail(lease)
    assert desk.health(only).state is OPEN
    await desk.end(await desk.lease())  # it is back: the very next request succeeds
    assert desk.health(only) == EndpointHealth()


async def test_if_all_fail_all_are_on_offer_and_tried_evenly(desk: Desk) -> None:
    endpoints = [endpoint(name, max_concurrency=2) for name in "abc"]
    desk.knows(*endpoints)
    await desk.open(*endpoints)
    leases = [await desk.lease() for _ in range(6)]
    assert sorted(lease.endpoint.name for lease in leases[:3]) == list("abc")
    assert sorted(lease.endpoint.name for lease in leases[3:]) == list("abc")
    assert isinstance(await desk.ask(), Timeout), "there is no room, but no refusal either"


async def test_if_all_fail_the_one_that_would_be_tried_first_comes_first(desk: Desk) -> None:
    a, b = endpoint("a"), endpoint("b")
    desk.knows(a, b)
    await desk.open(b)
    await trio.sleep(0.5)
    await desk.open(a)
    assert (await desk.lease()).endpoint == b


async def test_if_all_fail_a_request_that_failed_on_one_may_try_the_others(desk: Desk) -> None:
    a, b = endpoint("a"), endpoint("b")
    desk.knows(a, b)
    await desk.open(a, b)
    first = await desk.fail(await desk.lease())
    second = await desk.fail(await desk.lease(failed=first))
    assert {first.endpoint, second.endpoint} == {a, b}


async def test_as_soon_as_one_is_well_the_others_are_held_back_again(desk: Desk) -> None:
    a, b = endpoint("a", max_concurrency=4), endpoint("b", max_concurrency=4)
    desk.knows(a, b)
    await desk.open(a, b)
    leases = [await desk.lease(), await desk.lease()]
    [well] = [lease for lease in leases if lease.endpoint == b]
    await desk.end(well)
    assert {(await desk.lease()).endpoint.name for _ in range(4)} == {"b"}


async def test_a_request_that_failed_on_a_healthy_endpoint_is_not_sent_to_an_ill_one(
    desk: Desk,
) -> None:
    good, bad = endpoint("good"), endpoint("bad")
    desk.knows(good, bad)
    await desk.open(bad)
    failed = await desk.fail(await desk.lease())
    assert failed.endpoint == good
    assert isinstance(await desk.ask(100, failed=failed), NoneCapable)
    assert trio.current_time() == 0


async def test_an_endpoint_that_cannot_do_what_is_asked_keeps_no_other_from_being_on_offer(
    desk: Desk,
) -> None:
    blind, ill = endpoint("blind"), endpoint("ill")
    desk.knows(blind, ill)
    await desk.open(ill)
    result = await desk.admission.wait_for_ready("m", CHAT, 0, excluding={blind.id})
    assert isinstance(result, Ready)
    assert result.lease.endpoint == ill


async def test_one_that_is_asked_for_by_name_is_given_whatever_its_circuit(desk: Desk) -> None:
    good, bad = endpoint("good"), endpoint("bad")
    desk.knows(good, bad)
    await desk.open(bad)
    result = await desk.admission.wait_for_ready("m", CHAT, 0, only=bad.id)
    assert isinstance(result, Ready)


# -- endpoints that change


async def test_one_that_was_offline_gets_one_request_when_it_is_back(desk: Desk) -> None:
    back, good = endpoint("back", max_concurrency=4), endpoint("good", max_concurrency=8)
    desk.knows(back, good)
    await desk.open(back)
    for _ in range(6):
        await trio.sleep(70)
        desk.knows(back, good)
        await desk.fail(await desk.lease())
    desk.knows(replace(back, status=Status.OFFLINE), good)
    assert (await desk.lease()).endpoint == good
    desk.knows(back, good)
    assert [(await desk.lease()).endpoint.name for _ in range(3)] == ["back", "good", "good"]


async def test_a_probe_that_finds_it_alive_does_not_close_its_circuit(desk: Desk) -> None:
    bad, good = endpoint("bad"), endpoint("good")
    desk.knows(bad, good)
    await desk.open(bad)
    desk.knows(replace(bad, status=Status.ERROR), good)
    desk.knows(bad, good)
    assert (await desk.lease()).endpoint == good
    assert desk.health(bad).state is OPEN


async def test_another_server_under_the_same_id_begins_well(desk: Desk) -> None:
    a, b = endpoint("a", max_concurrency=8), endpoint("b")
    desk.knows(a, b)
    late = [await desk.lease() for _ in range(4)]
    await desk.open(a)
    moved = replace(a, base_url="http://elsewhere:1")
    desk.knows(moved, b)
    await wait_all_tasks_blocked()
    assert desk.health(moved) == EndpointHealth()
    for lease in late[:3]:
        lease.begun()
        await desk.end(lease, Outcome.FAILED, Verdict(ill=True, cools_s=9))
    assert desk.health(moved) == EndpointHealth(), "they failed on the server that was there"
    desk.knows(b)
    await desk.fail(late[3])
    assert desk.admission.statistics().health == {}


# -- endpoints that ask to be left alone


async def cool(desk: Desk, one: Endpoint, seconds: float) -> Lease:
    result = await desk.admission.wait_for_ready("m", CHAT, 0, only=one.id)
    assert isinstance(result, Ready)
    return await desk.end(result.lease, Outcome.FAILED, Verdict(cools_s=seconds))


async def test_one_that_cools_gets_no_lease_until_it_has(desk: Desk) -> None:
    a, b = endpoint("a", max_concurrency=2), endpoint("b", max_concurrency=2)
    desk.knows(a, b)
    await cool(desk, a, 10)
    assert desk.health(a) == EndpointHealth(cools_s=10)
    leases = [await desk.lease(), await desk.lease()]
    assert {lease.endpoint for lease in leases} == {b}
    waited = await desk.lease(100)  # b is full
    assert (waited.endpoint, trio.current_time()) == (a, 10)


async def test_if_all_cool_nobody_waits_and_the_first_that_has_cooled_is_told(desk: Desk) -> None:
    a, b = endpoint("a", max_concurrency=2), endpoint("b", max_concurrency=2)
    desk.knows(a, b)
    await cool(desk, a, 30)
    await cool(desk, b, 12.5)
    await trio.sleep(1)
    assert await desk.ask(100) == RateLimited(12)
    assert await desk.admission.wait_for_ready("m", CHAT, 9, only=a.id) == RateLimited(29)
    await trio.sleep(11.5)
    assert (await desk.lease()).endpoint == b


async def test_those_in_line_learn_that_all_cool(desk: Desk) -> None:
    only = endpoint()
    desk.knows(only)
    held = await desk.lease()
    results: list[WaitResult] = []

    async def wait() -> None:
        results.append(await desk.ask(100))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        await desk.end(held, Outcome.FAILED, Verdict(cools_s=8))
    assert results == [RateLimited(8)] * 3


async def test_one_that_may_turn_out_to_serve_is_waited_for_while_the_others_cool(
    desk: Desk,
) -> None:
    a, b = endpoint("a"), endpoint("b")
    desk.knows(a, initialising(b))
    await cool(desk, a, 30)
    assert isinstance(await desk.ask(5), Timeout)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.lease, 5)
        await wait_all_tasks_blocked()
        desk.knows(a, b)


async def test_an_ill_endpoint_is_on_offer_while_the_healthy_ones_cool(desk: Desk) -> None:
    cools, ill = endpoint("cools"), endpoint("ill")
    desk.knows(cools, ill)
    await desk.open(ill)
    failed = await cool(desk, cools, 30)
    assert (await desk.lease(failed=failed)).endpoint == ill


async def test_one_may_be_ill_and_cool_at_once(desk: Desk) -> None:
    only = endpoint()
    desk.knows(only)
    for _ in range(3):
        await desk.end(await desk.lease(), Outcome.FAILED, Verdict(ill=True, cools_s=0.001))
        await trio.sleep(0.002)
    await desk.end(await desk.lease(), Outcome.FAILED, Verdict(ill=True, cools_s=20))
    assert await desk.ask(100) == RateLimited(20)
    health = desk.health(only)
    assert (health.state, health.failures, health.cools_s) == (OPEN, 4, 20)
    assert health.opens_s == pytest.approx(2, rel=0.2)


# -- how many are tried again


async def test_three_requests_at_a_time_may_be_tried_again(desk: Desk) -> None:
    a, b = endpoint("a", max_concurrency=10), endpoint("b", max_concurrency=10)
    desk.knows(a, b)
    failed = [await desk.lease() for _ in range(5)]
    for lease in failed:
        await desk.end(lease, Outcome.FAILED)
    retried = [await desk.lease(failed=lease) for lease in failed[:3]]
    assert desk.admission.statistics().retrying == 3
    assert await desk.ask(failed=failed[3]) == Timeout(), "this one will not wait"

    more: list[Lease] = []

    async def wait_for(lease: Lease) -> None:
        more.append(await desk.lease(100, failed=lease))

    async with trio.open_nursery() as nursery:
        for lease in failed[3:]:
            nursery.start_soon(wait_for, lease)
            await wait_all_tasks_blocked()
        assert (await desk.lease()).endpoint == a, "new requests are none of it"
        assert not more
        retried[0].begun()
        await wait_all_tasks_blocked()
        assert [lease.arrival for lease in more] == [failed[3].arrival]
        await desk.fail(retried[1])
        assert [lease.arrival for lease in more] == [lease.arrival for lease in failed[3:]]
    assert desk.admission.statistics().retrying == 3


async def test_the_more_are_in_flight_the_more_may_be_tried_again(desk: Desk) -> None:
    a, b = endpoint("a", max_concurrency=40), endpoint("b", max_concurrency=40)
    desk.knows(a, b)
    failed = [await desk.lease() for _ in range(10)]
    for lease in failed:
        await desk.end(lease, Outcome.FAILED)
    for _ in range(25):
        await desk.lease()
    results = [await desk.ask(failed=lease) for lease in failed]
    retries = [result for result in results if isinstance(result, Ready)]
    assert len(retries) == 6, "a fifth of 25, and then of those and the retries"


async def test_whatever_happens_nothing_is_lost_and_the_budget_is_kept(
    desk: Desk, autojump_clock: trio.testing.MockClock
) -> None:
    """Requests of all kinds on endpoints that fail at random; some callers leave at any moment."""
    assert autojump_clock is not None
    rng = random.Random(7)
    endpoints = [endpoint(name, max_concurrency=3) for name in "abc"]
    desk.knows(*endpoints)
    served = 0

    async def client() -> None:
        nonlocal served
        failed: Lease | None = None
        with trio.move_on_after(rng.choice([0.5, 5, 50])):
            while True:
                result = await desk.ask(30, failed=failed)
                if not isinstance(result, Ready):
                    return
                with result.lease as lease:
                    figures = desk.admission.statistics()
                    in_flight = sum(figures.in_flight.values())
                    assert figures.retrying <= max(3, in_flight / 5 + 1)
                    await trio.sleep(rng.uniform(0, 1))
                    if rng.random() < (0.9 if lease.endpoint.name == "a" else 0.2):
                        lease.outcome = Outcome.FAILED
                        lease.verdict = Verdict(
                            ill=rng.random() < 0.8, cools_s=rng.choice([0, 0, 0, 2])
                        )
                        failed = lease
                        continue
                    lease.begun()
                    await trio.sleep(rng.uniform(0, 3))
                    lease.outcome = Outcome.SUCCEEDED
                    served += 1
                    return

    async with trio.open_nursery() as nursery:
        for _ in range(400):
            nursery.start_soon(client)
            await trio.sleep(rng.expovariate(2))
    await wait_all_tasks_blocked()
    figures = desk.admission.statistics()
    assert (figures.in_flight, figures.waiting, figures.retrying) == ({}, {}, 0)
    assert served > 150, "it is no proof if nothing succeeds"
    await trio.sleep(400)
    assert isinstance(await desk.ask(), Ready)


gaps = st.lists(st.floats(0, 3), min_size=5, max_size=60)


@given(
    gaps=gaps,
    bad_s=st.floats(0, 0.5),
    good_s=st.floats(0, 5),
    slots=st.integers(1, 8),
    measured=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_bad_endpoint_gets_three_requests_and_then_canaries_whatever_comes(
    gaps: list[float], bad_s: float, good_s: float, slots: int, measured: bool
) -> None:
    """However requests come, and however fast the bad endpoint fails and the good one answers."""
    desk = Desk(Latencies())
    spent: list[float] = []
    """When a request went to the bad one."""

    async def run() -> None:
        bad, good = endpoint("bad", max_concurrency=slots), endpoint("good", max_concurrency=100)
        desk.knows(bad, good)
        if not measured:
            desk.latencies.by_endpoint.clear()
            desk.latencies.standings.changes.note_all()

        async def client() -> None:
            lease = await desk.lease(100)
            if lease.endpoint == good:
                await trio.sleep(good_s)
                await desk.end(lease)
                return
            spent.append(trio.current_time())
            await trio.sleep(bad_s)
            await desk.fail(lease)

        async with trio.open_nursery() as nursery:
            await nursery.start(desk.admission.run)
            async with trio.open_nursery() as clients:
                for gap_s in gaps:
                    clients.start_soon(client)
                    await trio.sleep(gap_s)
            desk.admission.close()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    opened = [at_s for state, _, at_s in desk.changes if state is OPEN]
    canaries = [at_s for state, _, at_s in desk.changes if state is HALF_OPEN]
    # Three, and those that were under way beside them; then nobody but canaries.
    assert len(spent) - len(canaries) <= 3 + (slots - 1)
    assert [at_s for at_s in spent if opened and at_s > opened[0]] == canaries
    for n, (one_s, next_s) in enumerate(pairwise(canaries)):
        assert next_s - one_s >= bad_s + min(60, 0.8 * 2 ** (n + 1)) - 1e-9
