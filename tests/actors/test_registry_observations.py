"""What probes and requests observe: it counts at once and is written behind."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.mailbox import ActorGone
from llmlb.actors.registry.registry import CLOSING_WRITE_LIMIT_S
from llmlb.errors import StoreUnavailable
from llmlb.types import (
    Capability,
    DeviceInfo,
    DeviceReport,
    DeviceType,
    Endpoint,
    EndpointId,
    Engine,
    Mode,
    Model,
    Status,
    Survey,
)
from tests.actors.conftest import (
    A_ID,
    NOW,
    FakeEndpointStore,
    Latencies,
    Registered,
    endpoint,
    initialising,
)

FULL = StoreUnavailable("The database is not available (its disk is full).")
FOR_EVER_S = 1e6
SURVEY = Survey(Engine.LLAMACPP, (Model("m", max_tokens=4096),), 4)


async def started(nursery: trio.Nursery, *endpoints: Endpoint) -> Registered:
    registered = Registered(FakeEndpointStore(*endpoints), Latencies())
    await nursery.start(registered.registry.run)
    registered.told.clear()
    return registered


async def now_of(registered: Registered, endpoint_id: EndpointId = A_ID) -> Endpoint:
    return (await registered.registry.settled()).endpoints[endpoint_id]


# -- statuses, reference §5.1


@pytest.mark.parametrize(
    ("before", "failures", "after"),
    [
        (Status.PENDING, [None], Status.ONLINE),
        (Status.PENDING, ["dead"], Status.OFFLINE),
        (Status.ONLINE, [None], Status.ONLINE),
        (Status.ONLINE, ["dead"], Status.ERROR),
        (Status.ONLINE, ["dead", "dead"], Status.OFFLINE),
        (Status.ONLINE, ["dead", None], Status.ONLINE),
        (Status.ONLINE, ["dead", None, "dead"], Status.ERROR),
        (Status.ERROR, [None], Status.ONLINE),
        (Status.ERROR, ["dead"], Status.OFFLINE),
        (Status.OFFLINE, [None], Status.ONLINE),
        (Status.OFFLINE, ["dead"], Status.OFFLINE),
    ],
)
async def test_a_probe_moves_the_status(
    nursery: trio.Nursery, before: Status, failures: list[str | None], after: Status
) -> None:
    a = endpoint("a", status=before, probed=False)
    registered = await started(nursery, a)
    for failure in failures:
        registered.registry.probed(a, failure)
    now = await now_of(registered)
    assert now.status is after
    assert now.probed
    assert now.last_error == failures[-1]
    assert now.error_count == (1 if after is Status.ERROR else 0)
    offline = (Status.OFFLINE is after) and before is not Status.OFFLINE
    assert ("went_offline", a.id) in registered.told or not offline
    assert sum(what == "went_offline" for what, _ in registered.told) == offline
    if after is Status.OFFLINE:
        assert now.latency_ms == math.inf
        assert not now.synced


async def test_a_success_says_when_the_endpoint_was_last_seen(nursery: trio.Nursery) -> None:
    a = endpoint("a")
    registered = await started(nursery, a)
    await trio.sleep(5)
    registered.registry.probed(a, None)
    registered.registry.probed(a, "dead")
    assert (await now_of(registered)).last_seen_at == NOW + timedelta(seconds=5)


async def test_a_recovered_endpoint_is_initialising_until_its_models_are_read(
    nursery: trio.Nursery,
) -> None:
    a = endpoint("a", status=Status.OFFLINE, synced=False)
    registered = await started(nursery, a)
    registered.registry.probed(a, None)
    assert (await now_of(registered)).initialising
    registered.registry.synced(a, SURVEY)
    assert not (await now_of(registered)).initialising


async def test_a_survey_and_a_device_report_are_taken_in(nursery: trio.Nursery) -> None:
    a = initialising(endpoint("a"))
    registered = await started(nursery, a)
    gpu = DeviceInfo(DeviceType.GPU)
    registered.registry.synced(a, SURVEY)
    registered.registry.described(a, DeviceReport(gpu, "a note"))
    now = await now_of(registered)
    assert (now.engine, now.models, now.engine_concurrency) == (
        SURVEY.engine,
        SURVEY.models,
        SURVEY.engine_concurrency,
    )
    assert (now.device_info, now.device_note) == (gpu, "a note")
    assert registered.registry.catalog.offering("m") == (now,)


async def test_what_the_operator_says_of_a_model_survives_every_survey(
    nursery: trio.Nursery,
) -> None:
    speech = frozenset({Capability.AUDIO_SPEECH})
    a = endpoint("a", model_aliases=(("talk", "m"),), model_capabilities=(("m", speech),))
    registered = await started(nursery, a)
    for _ in range(2):
        registered.registry.synced(a, SURVEY)
        now = await now_of(registered)
        assert {m.id: m.capabilities for m in now.models}["m"] == speech
        assert registered.registry.catalog.offering("talk") == (now,)
    await registered.registry.update(a.id, lambda e: replace(e, model_capabilities=()))
    assert (await now_of(registered)).models == SURVEY.models


async def test_an_endpoint_that_refuses_our_key_is_in_error_until_a_probe_succeeds(
    nursery: trio.Nursery,
) -> None:
    a = endpoint("a")
    registered = await started(nursery, a)
    registered.registry.failed(a, "It refuses the key.")
    now = await now_of(registered)
    assert (now.status, now.last_error, now.error_count) == (
        Status.ERROR,
        "It refuses the key.",
        1,
    )
    registered.registry.probed(a, None)
    now = await now_of(registered)
    assert (now.status, now.last_error, now.error_count) == (Status.ONLINE, None, 0)


# -- yesterday's server


OBSERVATIONS: dict[str, Callable[[Registered, Endpoint], None]] = {
    "probed": lambda r, e: r.registry.probed(e, None),
    "failed probe": lambda r, e: r.registry.probed(e, "dead"),
    "synced": lambda r, e: r.registry.synced(e, SURVEY),
    "described": lambda r, e: r.registry.described(e, DeviceReport(DeviceInfo(DeviceType.CPU))),
    "failed": lambda r, e: r.registry.failed(e, "It refuses the key."),
}


@pytest.mark.parametrize("observe", OBSERVATIONS.values(), ids=OBSERVATIONS.keys())
@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "http://elsewhere:1"},
        {"api_key": "sk-new"},
        {"extra_headers": (("x-a", "b"),)},
        {"tls_verify": False},
        {"ca_certificate": "PEM"},
    ],
    ids=["url", "key", "headers", "verification", "authorities"],
)
async def test_an_answer_of_yesterdays_server_is_ignored(
    nursery: trio.Nursery,
    observe: Callable[[Registered, Endpoint], None],
    changes: dict[str, Any],
) -> None:
    before = endpoint("a")
    registered = await started(nursery, before)
    after = await registered.registry.update(before.id, lambda e: replace(e, **changes))
    await wait_all_tasks_blocked()
    begun = list(registered.store.begun)
    observe(registered, before)
    assert await now_of(registered) == after
    await wait_all_tasks_blocked()
    assert registered.store.begun == begun
    observe(registered, after)
    assert await now_of(registered) != after


@pytest.mark.parametrize("observe", OBSERVATIONS.values(), ids=OBSERVATIONS.keys())
async def test_an_answer_of_a_deleted_endpoint_is_ignored(
    nursery: trio.Nursery, observe: Callable[[Registered, Endpoint], None]
) -> None:
    a = endpoint("a")
    registered = await started(nursery, a)
    await registered.registry.remove(a.id)
    observe(registered, a)
    assert (await registered.registry.settled()).endpoints == {}
    await wait_all_tasks_blocked()
    assert [what for what, _ in registered.store.begun] == ["delete a"]


# -- writing behind


async def test_what_is_observed_counts_before_it_is_written(nursery: trio.Nursery) -> None:
    a = initialising(endpoint("a"))
    registered = await started(nursery, a)
    registered.store.takes_s = 5
    registered.registry.probed(a, None)
    assert (await now_of(registered)).status is Status.ONLINE
    assert trio.current_time() == 0
    assert registered.store.rows[a.id].status is Status.PENDING
    await trio.sleep(6)
    assert registered.store.rows[a.id] == await now_of(registered)


async def test_what_comes_during_a_write_is_written_together_after_it(
    nursery: trio.Nursery,
) -> None:
    a, b, c = (initialising(endpoint(n)) for n in "abc")
    registered = await started(nursery, a, b, c)
    registered.store.takes_s = 1
    registered.registry.probed(a, None)
    await trio.sleep(0.5)
    for _ in range(50):
        for one in (c, b, a):
            registered.registry.probed(one, None)
            registered.registry.synced(one, SURVEY)
    await trio.sleep(10)
    assert registered.store.begun == [("observed a", 0), ("observed a b c", 1)]
    assert registered.store.rows == dict(registered.registry.catalog.endpoints)


async def test_an_operators_change_goes_before_what_was_observed(nursery: trio.Nursery) -> None:
    a, b = (initialising(endpoint(n)) for n in "ab")
    registered = await started(nursery, a, b)
    registered.store.takes_s = 1
    registered.registry.probed(a, None)
    await wait_all_tasks_blocked()
    registered.registry.probed(b, None)
    await registered.registry.update(a.id, lambda e: replace(e, notes="n"))
    await trio.sleep(5)
    assert [what for what, _ in registered.store.begun] == [
        "observed a",
        "update a",
        "observed b",
    ]


async def test_a_refused_write_is_tried_again_with_the_next_answer_and_not_before(
    nursery: trio.Nursery,
) -> None:
    a, b = (initialising(endpoint(n)) for n in "ab")
    registered = await started(nursery, a, b)
    registered.store.refusal = FULL
    registered.registry.probed(a, None)
    await trio.sleep(100)
    await registered.registry.settled()
    await trio.sleep(100)
    assert registered.store.begun == [("observed a", 0)]
    registered.registry.probed(b, None)
    await trio.sleep(100)
    assert registered.store.begun[1:] == [("observed a b", 200)]
    registered.store.refusal = None
    registered.registry.probed(b, None)
    await trio.sleep(100)
    assert len(registered.store.begun) == 3
    assert registered.store.rows == dict(registered.registry.catalog.endpoints)


async def test_many_answers_do_not_hammer_a_store_that_refuses(nursery: trio.Nursery) -> None:
    a = initialising(endpoint("a"))
    registered = await started(nursery, a)
    registered.store.refusal = FULL
    for _ in range(1200):
        registered.registry.probed(a, None)
        await trio.sleep(0.1)
    tried_at_s = [at_s for _, at_s in registered.store.begun]
    assert tried_at_s == pytest.approx([0, 1, 3, 7, 15, 31, 61, 91], abs=1)
    registered.store.refusal = None
    await trio.sleep(30)
    registered.registry.probed(a, None)
    await wait_all_tasks_blocked()
    assert registered.store.rows == dict(registered.registry.catalog.endpoints)
    registered.registry.probed(a, None)
    await wait_all_tasks_blocked()
    assert len(registered.store.begun) == len(tried_at_s) + 2, "and it is not put off any more"


async def test_what_was_refused_is_written_as_soon_as_the_store_takes_something(
    nursery: trio.Nursery,
) -> None:
    a = initialising(endpoint("a"))
    registered = await started(nursery, a)
    registered.store.refusal = FULL
    registered.registry.probed(a, None)
    await wait_all_tasks_blocked()
    registered.store.refusal = None
    await registered.registry.update(a.id, lambda e: replace(e, notes="n"))
    await wait_all_tasks_blocked()
    assert registered.store.rows == dict(registered.registry.catalog.endpoints)


async def test_a_refused_change_does_not_stop_what_was_observed_from_being_written(
    nursery: trio.Nursery,
) -> None:
    a = initialising(endpoint("a"))
    registered = await started(nursery, a)
    registered.store.takes_s, registered.store.refusal = 1, FULL

    async def update() -> None:
        with pytest.raises(StoreUnavailable):
            await registered.registry.update(a.id, lambda e: replace(e, notes="n"))
        registered.store.refusal = None

    nursery.start_soon(update)
    await wait_all_tasks_blocked()
    registered.registry.probed(a, None)
    await trio.sleep(5)
    assert registered.store.rows[a.id] == await now_of(registered)
    assert registered.store.rows[a.id].status is Status.ONLINE


# -- settled


async def test_settled_answers_with_all_that_was_told_before(nursery: trio.Nursery) -> None:
    a = initialising(endpoint("a"))
    registered = await started(nursery, a)
    registered.store.takes_s = 10
    registered.registry.probed(a, None)
    registered.registry.synced(a, SURVEY)
    registered.registry.probed(a, "dead")
    catalog = await registered.registry.settled()
    assert catalog is registered.registry.catalog
    assert catalog.endpoints[a.id].status is Status.ERROR
    assert catalog.endpoints[a.id].models == SURVEY.models
    assert trio.current_time() == 0, "it does not wait for the database"


# -- closing


async def closing(registered: Registered, *, after_s: float) -> float:
    """Run, observe that a is online, close *after_s* later; how long that took."""
    a = next(iter(registered.store.rows.values()))
    async with trio.open_nursery() as nursery:
        await nursery.start(registered.registry.run)
        registered.registry.probed(a, None)
        await trio.sleep(after_s)
        closed_at_s = trio.current_time()
        registered.registry.close()
    return trio.current_time() - closed_at_s


@pytest.fixture
def closable(latencies: Latencies) -> Registered:
    return Registered(FakeEndpointStore(initialising(endpoint("a"))), latencies)


@pytest.mark.parametrize("after_s", [0, 1, 5], ids=["at once", "during the write", "after it"])
async def test_what_was_observed_is_in_the_database_when_the_registry_has_closed(
    closable: Registered, after_s: float
) -> None:
    closable.store.takes_s = 2
    await closing(closable, after_s=after_s)
    assert closable.store.rows[A_ID].status is Status.ONLINE
    assert closable.store.rows == dict(closable.registry.catalog.endpoints)


async def test_a_write_that_fails_while_closing_is_tried_once_more(closable: Registered) -> None:
    closable.store.takes_s, closable.store.refusal = 2, FULL
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: closing(closable, after_s=1))
        await trio.sleep(2.5)
        closable.store.refusal = None
    assert closable.store.rows[A_ID].status is Status.ONLINE


async def test_a_store_that_refuses_at_the_end_is_not_asked_for_ever(closable: Registered) -> None:
    closable.store.refusal = FULL
    assert await closing(closable, after_s=1) == 0
    assert closable.store.rows[A_ID].status is Status.PENDING


@pytest.mark.parametrize("after_s", [0, 1], ids=["with the last write", "with one under way"])
async def test_a_store_that_hangs_at_the_end_does_not_hang_the_house(
    closable: Registered, after_s: float
) -> None:
    closable.store.takes_s = FOR_EVER_S
    assert await closing(closable, after_s=after_s) == CLOSING_WRITE_LIMIT_S


async def test_a_change_under_way_at_closing_is_made_and_its_caller_learns_of_the_end(
    closable: Registered,
) -> None:
    closable.store.takes_s = 2

    async def disable() -> None:
        with pytest.raises(ActorGone):
            await closable.registry.update(A_ID, lambda e: replace(e, mode=Mode.DISABLED))

    async with trio.open_nursery() as nursery:
        await nursery.start(closable.registry.run)
        nursery.start_soon(disable)
        await trio.sleep(1)
        closable.registry.close()
    assert closable.store.rows[A_ID].mode is Mode.DISABLED


async def test_nothing_is_written_at_the_end_if_nothing_was_observed(
    closable: Registered,
) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(closable.registry.run)
        closable.registry.close()
    assert closable.store.begun == []
