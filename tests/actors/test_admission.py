"""Leases, the line and its order, in virtual time."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.accounting import Lease, Outcome
from llmlb.actors.admission import (
    AdmissionController,
    CapacityExceeded,
    Closed,
    ModelUnknown,
    NoneCapable,
    Ready,
    Timeout,
    WaitResult,
)
from llmlb.actors.mailbox import ActorGone
from llmlb.routing import AcceptWithDelay, AdmissionDecision, Reject, admission_control
from llmlb.types import Mode, Status
from tests.actors.conftest import CHAT, Latencies, catalog, endpoint, initialising


async def lease_of(admission: AdmissionController, model: str = "m") -> Lease:
    result = await admission.wait_for_ready(model, CHAT, 0)
    assert isinstance(result, Ready)
    return result.lease


class Callers:
    """Starts callers one by one, each parked before the next, and logs who ran where and when."""

    def __init__(self, nursery: trio.Nursery, admission: AdmissionController) -> None:
        self._nursery, self._admission = nursery, admission
        self.log: list[tuple[str, str, float]] = []
        self.refused: list[tuple[str, WaitResult]] = []

    async def hold(self, name: str, seconds: float, model: str = "m", **how: object) -> None:
        result = await self._admission.wait_for_ready(model, CHAT, 100, **how)  # type: ignore[arg-type]
        if not isinstance(result, Ready):
            self.refused.append((name, result))
            return
        with result.lease:
            self.log.append((name, result.lease.endpoint.name, trio.current_time()))
            await trio.sleep(seconds)

    async def arrive(self, name: str, seconds: float, model: str = "m", **how: object) -> None:
        async def run() -> None:
            await self.hold(name, seconds, model, **how)

        self._nursery.start_soon(run)
        await wait_all_tasks_blocked()  # start_soon does not fix the order; this does


async def test_waiters_are_served_in_order_of_arrival(admission: AdmissionController) -> None:
    admission.catalog_changed(catalog(endpoint("a")))
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        for name in "wxyz":
            await callers.arrive(name, seconds=10)
    assert callers.log == [("w", "a", 0), ("x", "a", 10), ("y", "a", 20), ("z", "a", 30)]


async def test_a_free_slot_means_no_delay_and_no_refusal(admission: AdmissionController) -> None:
    admission.catalog_changed(catalog(endpoint("a")))
    result = await admission.wait_for_ready("m", CHAT, 0, decide=lambda w, m: Reject())
    assert isinstance(result, Ready)
    assert result.waited_s == 0


async def test_nobody_overtakes_within_a_model_but_another_model_may_go(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(catalog(endpoint("a", "m"), endpoint("b", "n")))
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        await callers.arrive("m1", 10, "m")
        await callers.arrive("m2", 10, "m")
        await callers.arrive("n1", 10, "n")
    assert callers.log == [("m1", "a", 0), ("n1", "b", 0), ("m2", "a", 10)]


async def test_a_freed_slot_goes_to_whoever_has_waited_longest_whatever_the_model(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(catalog(endpoint("a", "m", "n")))
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        await callers.arrive("first", 10, "m")
        await callers.arrive("second", 10, "n")
        await callers.arrive("third", 10, "m")
    assert [name for name, _, _ in callers.log] == ["first", "second", "third"]


async def test_a_waiter_that_times_out_gives_up_its_place(admission: AdmissionController) -> None:
    admission.catalog_changed(catalog(endpoint("a")))
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        await callers.arrive("held", seconds=10)
        result = await admission.wait_for_ready_with_timeout("m", CHAT, 1, 5)
        assert isinstance(result, Timeout)
        assert admission.statistics().waiting == {}
        # The place of the one that left counts no more, though the slot is still taken.
        result = await admission.wait_for_ready_with_timeout("m", CHAT, 1, 6)
        assert isinstance(result, Ready)
        result.lease.release()


async def test_without_patience_a_free_slot_is_granted_and_a_taken_one_is_a_timeout(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(catalog(endpoint("a")))
    first = await admission.wait_for_ready_with_timeout("m", CHAT, 10, 0)
    assert isinstance(first, Ready)
    assert isinstance(await admission.wait_for_ready_with_timeout("m", CHAT, 10, 0), Timeout)


async def test_the_bound_counts_the_waiters_of_all_models(admission: AdmissionController) -> None:
    admission.catalog_changed(catalog(endpoint("a", "m"), endpoint("b", "n")))
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        await callers.arrive("m1", 10, "m")
        await callers.arrive("m2", 10, "m")
        await callers.arrive("n1", 10, "n")
        refused = await admission.wait_for_ready("n", CHAT, 1)
        assert isinstance(refused, CapacityExceeded)
        assert refused.waiters == 1


@pytest.mark.parametrize("limit", [4, 5])
async def test_the_line_is_graded_only_where_it_has_five_places(
    admission: AdmissionController, limit: int
) -> None:
    asked: list[tuple[int, int]] = []

    def decide(waiters: int, places: int) -> AdmissionDecision:
        asked.append((waiters, places))
        return Reject()

    admission.catalog_changed(catalog(initialising(endpoint("a"))))
    result = await admission.wait_for_ready_with_timeout("m", CHAT, limit, 1, decide=decide)
    assert asked == ([] if limit == 4 else [(0, 5)])
    assert isinstance(result, Timeout if limit == 4 else CapacityExceeded)


async def test_a_delayed_waiter_takes_its_place_first_and_is_granted_after_its_delay(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(catalog(endpoint("a")))
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        held = await lease_of(admission)
        await callers.arrive("delayed", 1, decide=lambda w, m: AcceptWithDelay(50))
        await callers.arrive("behind", 1)
        await trio.sleep(0.010)
        held.release()  # a slot is free, but the delay has not passed
        await wait_all_tasks_blocked()
        assert callers.log == []
    assert [(n, t) for n, _, t in callers.log] == [("delayed", 0.050), ("behind", 1.050)]


async def test_one_that_asks_again_keeps_its_place_and_is_not_refused(
    admission: AdmissionController,
) -> None:
    a, b = endpoint("a"), endpoint("b", max_concurrency=1)
    admission.catalog_changed(catalog(a, b))
    on_b = await admission.wait_for_ready("m", CHAT, 0, excluding={a.id})
    on_a = await admission.wait_for_ready("m", CHAT, 0)
    assert isinstance(on_a, Ready)
    assert isinstance(on_b, Ready)
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        await callers.arrive("late", 5)
        on_a.lease.release()  # failed there; "late" gets the slot of a
        await wait_all_tasks_blocked()
        await callers.arrive("later", 5)
        await callers.arrive("again", 6, excluding={a.id}, arrival=on_a.lease.arrival)
        on_b.lease.release()
    assert callers.log == [("late", "a", 0), ("again", "b", 0), ("later", "a", 5)]


async def test_a_waiter_that_excludes_the_free_endpoint_does_not_hold_up_the_others(
    admission: AdmissionController,
) -> None:
    a, b = endpoint("a"), endpoint("b")
    admission.catalog_changed(catalog(a, b))
    on_b = await admission.wait_for_ready("m", CHAT, 0, excluding={a.id})
    assert isinstance(on_b, Ready)
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        await callers.arrive("only b", 1, excluding={a.id})
        await callers.arrive("any", 1)
        assert callers.log == [("any", "a", 0)]
        on_b.lease.release()
    assert callers.log[1] == ("only b", "b", 0)


async def test_an_unknown_model_is_refused_at_once(admission: AdmissionController) -> None:
    admission.catalog_changed(catalog(endpoint("a")))
    assert await admission.wait_for_ready("other", CHAT, 100) == ModelUnknown()


@pytest.mark.parametrize("status", [Status.OFFLINE, Status.ERROR])
async def test_a_model_whose_endpoints_are_all_down_is_refused_at_once(
    admission: AdmissionController, status: Status
) -> None:
    down = endpoint("a", status=status, health_check_interval_s=17)
    admission.catalog_changed(catalog(down))
    assert await admission.wait_for_ready("m", CHAT, 100) == NoneCapable(17)


@pytest.mark.parametrize("mode", [Mode.DISABLED, Mode.DRAINING])
async def test_disabled_and_draining_endpoints_admit_nothing(
    admission: AdmissionController, mode: Mode
) -> None:
    admission.catalog_changed(catalog(endpoint("a", mode=mode)))
    assert isinstance(await admission.wait_for_ready("m", CHAT, 100), NoneCapable)


async def test_an_endpoint_known_from_the_last_run_is_worth_waiting_for_until_probed(
    admission: AdmissionController,
) -> None:
    restored = endpoint("a", status=Status.OFFLINE, probed=False, synced=False)
    admission.catalog_changed(catalog(restored))
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        await callers.arrive("w", 1)
        assert callers.refused == []
        admission.catalog_changed(catalog(replace(restored, probed=True)))
    assert callers.refused == [("w", NoneCapable(30))]


async def test_waiters_learn_that_their_model_is_gone(admission: AdmissionController) -> None:
    a = endpoint("a")
    admission.catalog_changed(catalog(a))
    held = await lease_of(admission)
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        await callers.arrive("w", 1)
        admission.catalog_changed(catalog())
    assert callers.refused == [("w", ModelUnknown())]
    held.release()


async def test_a_deleted_endpoint_keeps_its_leases_until_they_end(
    admission: AdmissionController,
) -> None:
    a = endpoint("a")
    admission.catalog_changed(catalog(a))
    held = await lease_of(admission)
    admission.catalog_changed(catalog())
    await wait_all_tasks_blocked()
    assert admission.statistics().in_flight == {a.id: 1}
    held.release()
    await admission.wait_until_idle()
    assert admission.statistics().in_flight == {}


async def test_capacity_is_shared_by_the_models_of_an_endpoint(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(catalog(endpoint("a", "m", "n", max_concurrency=2)))
    one, two = await lease_of(admission, "m"), await lease_of(admission, "n")
    assert isinstance(await admission.wait_for_ready("m", CHAT, 0), CapacityExceeded)
    one.release()
    two.release()


async def test_equals_take_turns(admission: AdmissionController, latencies: Latencies) -> None:
    endpoints = [endpoint(n) for n in "abc"]
    for one in endpoints:
        latencies.measured(one, 100)
    admission.catalog_changed(catalog(*endpoints))
    served = []
    for _ in range(9):
        lease = await lease_of(admission)
        served.append(lease.endpoint.name)
        lease.release()
    assert served == list("abcabcabc")


async def test_an_unmeasured_endpoint_is_tried_first_but_with_one_request_at_a_time(
    admission: AdmissionController, latencies: Latencies
) -> None:
    known, new = endpoint("known", max_concurrency=4), endpoint("new", max_concurrency=4)
    latencies.measured(known, 50)
    admission.catalog_changed(catalog(known, new))
    served = [(await lease_of(admission)).endpoint.name for _ in range(8)]
    assert served == ["new"] + ["known"] * 4 + ["new"] * 3


async def test_releasing_twice_gives_one_slot_back(admission: AdmissionController) -> None:
    a = endpoint("a", max_concurrency=2)
    admission.catalog_changed(catalog(a))
    first, second = await lease_of(admission), await lease_of(admission)
    first.release()
    first.release()
    await wait_all_tasks_blocked()
    assert admission.statistics().in_flight == {a.id: 1}
    second.release()


async def test_retry_after_follows_the_completions_of_the_last_minute(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(catalog(endpoint("a")))
    for _ in range(6):  # 0.1 per second over the last 60 s
        lease = await lease_of(admission)
        lease.outcome = Outcome.SUCCEEDED
        lease.release()
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        for n in range(4):
            await callers.arrive(str(n), 1)
        refused = await admission.wait_for_ready("m", CHAT, 3)
        assert isinstance(refused, CapacityExceeded)
        assert refused.retry_after_s == 30  # 3 ahead ÷ 0.1/s


async def test_retry_after_without_completions_is_the_latency_else_five_seconds(
    admission: AdmissionController, latencies: Latencies
) -> None:
    a = endpoint("a")
    admission.catalog_changed(catalog(a))
    held = await lease_of(admission)
    refused = await admission.wait_for_ready("m", CHAT, 0)
    assert refused == CapacityExceeded(0, 5)
    latencies.measured(a, 12_300)
    assert await admission.wait_for_ready("m", CHAT, 0) == CapacityExceeded(0, 13)
    held.release()


async def test_closing_answers_the_line_and_every_newcomer_but_lets_leases_run(
    admission: AdmissionController,
) -> None:
    a, b = endpoint("a"), endpoint("b")
    admission.catalog_changed(catalog(a))
    held = await lease_of(admission)
    async with trio.open_nursery() as nursery:
        callers = Callers(nursery, admission)
        await callers.arrive("w", 1)
        admission.refuse_all()
        await wait_all_tasks_blocked()
        assert callers.refused == [("w", Closed())]
        assert await admission.wait_for_ready("m", CHAT, 100) == Closed()
        admission.catalog_changed(catalog(a, b))
        # One that was admitted before may still go elsewhere when its endpoint fails it.
        again = await admission.wait_for_ready("m", CHAT, 0, excluding={a.id}, arrival=held.arrival)
        assert isinstance(again, Ready)
        again.lease.release()
        held.release()
        await admission.wait_until_idle()


async def test_callers_in_line_learn_that_the_owner_is_gone() -> None:
    admission = AdmissionController(standings=Latencies().standings)
    admission.catalog_changed(catalog(initialising(endpoint("a"))))

    async def wait() -> None:
        with pytest.raises(ActorGone):
            await admission.wait_for_ready("m", CHAT, 10)

    async with trio.open_nursery() as callers, trio.open_nursery() as house:
        await house.start(admission.run)
        callers.start_soon(wait)
        await wait_all_tasks_blocked()
        house.cancel_scope.cancel()
    with pytest.raises(ActorGone):
        await admission.wait_for_ready("m", CHAT, 10)


async def test_a_lease_can_be_released_after_the_owner_has_gone() -> None:
    admission = AdmissionController(standings=Latencies().standings)
    admission.catalog_changed(catalog(endpoint("a")))
    async with trio.open_nursery() as nursery:
        await nursery.start(admission.run)
        lease = await lease_of(admission)
        nursery.cancel_scope.cancel()
    lease.release()


async def test_the_mailbox_remembers_its_high_water_mark(admission: AdmissionController) -> None:
    for _ in range(5):
        admission.catalog_changed(catalog())
    await wait_all_tasks_blocked()
    assert admission.statistics().mailbox.high_water >= 5
    assert admission.statistics().mailbox.waiting == 0


@pytest.mark.parametrize("first_seed", range(0, 1000, 50))
async def test_no_lease_is_lost_or_doubled_however_callers_are_cancelled(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 50):
        await callers_are_cancelled_at_random(seed)


async def callers_are_cancelled_at_random(seed: int) -> None:
    rng = random.Random(seed)
    latencies = Latencies()
    endpoints = [endpoint(n, max_concurrency=rng.randint(1, 2)) for n in "ab"[: rng.randint(1, 2)]]
    running = {e.id: 0 for e in endpoints}
    capacity = {e.id: e.capacity for e in endpoints}
    admission = AdmissionController(standings=latencies.standings)
    admission.catalog_changed(catalog(*endpoints))

    async def steps(n: int) -> None:
        for _ in range(n):
            await trio.lowlevel.checkpoint()

    async def impatient(before: int, held: int, patience: int) -> None:
        await steps(before)
        async with trio.open_nursery() as inner:

            async def lose_patience() -> None:
                await steps(patience)
                inner.cancel_scope.cancel()

            inner.start_soon(lose_patience)
            result = await admission.wait_for_ready("m", CHAT, 5, decide=admission_control)
            if isinstance(result, Ready):
                endpoint_id = result.lease.endpoint.id
                with result.lease:
                    running[endpoint_id] += 1
                    try:
                        assert running[endpoint_id] <= capacity[endpoint_id], f"{seed=}"
                        await steps(held)
                    finally:
                        running[endpoint_id] -= 1

    async with trio.open_nursery() as house:
        await house.start(admission.run)
        async with trio.open_nursery() as callers:
            for _ in range(12):
                callers.start_soon(impatient, rng.randrange(6), rng.randrange(4), rng.randrange(8))
        await admission.wait_until_idle()
        assert admission.statistics().in_flight == {}, f"{seed=}"
        assert admission.statistics().waiting == {}, f"{seed=}"
        admission.close()
