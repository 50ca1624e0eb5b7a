"""When statistics are written, and that each is counted exactly once."""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import TypeVar, cast

import pytest
import structlog
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.accounting import Outcome, Totals
from llmlb.actors.journal import CLOSING_WRITE_LIMIT_S, Journal
from llmlb.actors.mailbox import ActorGone
from llmlb.actors.pauses import MOST_S
from llmlb.errors import StoreUnavailable
from llmlb.store.burst import StatKey
from llmlb.store.opening import open_store
from llmlb.store.sums import By, Unit, Wanted
from llmlb.types import MOST_STORED_RESPONSES, Api, EndpointId, Whereabouts
from tests.actors.conftest import A_ID, CHAT, NOW, FakeBurstStore, a_record, finished, tokens
from tests.fakes.house import run_inline

T = TypeVar("T")

FULL = StoreUnavailable("The database is not available (its disk is full).")
FOR_EVER_S = 1e6


@pytest.fixture
def store() -> FakeBurstStore:
    return FakeBurstStore()


@pytest.fixture
async def journal(nursery: trio.Nursery, store: FakeBurstStore) -> Journal:
    journal = Journal(store, {})
    await nursery.start(journal.run)
    return journal


def in_the(store: FakeBurstStore, one: EndpointId = A_ID) -> Totals:
    return sum((t for key, t in store.totals.items() if key.endpoint_id == one), Totals())


async def test_a_burst_gathers_for_half_a_second_and_is_written_at_once(
    journal: Journal, store: FakeBurstStore
) -> None:
    for _ in range(40):
        journal.record(finished(usage=tokens(1, 2)))
        await trio.sleep(0.01)
    assert store.begun == []
    await trio.sleep(10)
    assert store.tried_at_s == [0.5]
    assert in_the(store) == journal.totals[A_ID]
    assert in_the(store).total_requests == 40
    journal.record(finished())
    await trio.sleep(10)
    assert store.tried_at_s == [0.5, pytest.approx(10.9)]


async def test_nothing_told_nothing_written(journal: Journal, store: FakeBurstStore) -> None:
    await trio.sleep(3600)
    assert await journal.flush()
    assert store.begun == []


async def test_a_row_is_one_model_and_api_of_one_endpoint_on_one_utc_day(
    journal: Journal, store: FakeBurstStore
) -> None:
    late = datetime(2026, 3, 1, 23, 30, tzinfo=timezone(timedelta(hours=-2)))  # the 2nd in UTC
    journal.record(finished(finished_at=late))
    journal.record(finished(finished_at=late - timedelta(hours=2)))
    journal.record(finished(finished_at=datetime(2026, 3, 2, tzinfo=UTC), model="n"))
    journal.record(finished(finished_at=datetime(2026, 3, 2, tzinfo=UTC), api=Api.EMBEDDINGS))
    await journal.flush()
    first, second = date(2026, 3, 1), date(2026, 3, 2)
    assert set(store.totals) == {
        StatKey(A_ID, "m", CHAT, second),
        StatKey(A_ID, "m", CHAT, first),
        StatKey(A_ID, "n", CHAT, second),
        StatKey(A_ID, "m", Api.EMBEDDINGS, second),
    }


async def test_the_newest_latency_of_each_is_written_inf_too(
    journal: Journal, store: FakeBurstStore
) -> None:
    for ms in (1.0, 2.0, math.inf):
        journal.latency_is(A_ID, None, None, ms)
    for ms in (5.0, 6.0):
        journal.latency_is(A_ID, "m", CHAT, ms)
    await trio.sleep(1)
    assert len(store.begun) == 1
    assert store.latencies == {A_ID: math.inf}
    assert store.model_latencies == {(A_ID, "m", CHAT): 6.0}


async def test_totals_go_on_from_what_the_store_remembered(
    nursery: trio.Nursery, store: FakeBurstStore
) -> None:
    journal = Journal(store, {A_ID: Totals(total_requests=7, input_tokens=70)})
    await nursery.start(journal.run)
    journal.record(finished(usage=tokens(1, None)))
    assert await journal.flush()
    assert journal.totals[A_ID].total_requests == 8
    assert journal.totals[A_ID].input_tokens == 71
    assert in_the(store).total_requests == 1, "only what is new is written"


async def test_the_totals_can_only_be_read(journal: Journal) -> None:
    with pytest.raises(TypeError):
        journal.totals[A_ID] = Totals()  # type: ignore[index]  # that is the point


# -- a store that refuses


async def test_a_refused_burst_is_put_back_and_tried_again_after_doubling_pauses(
    journal: Journal, store: FakeBurstStore
) -> None:
    store.refusal = FULL
    journal.record(finished(usage=tokens(10, 5)))
    await trio.sleep(120)
    pauses = [1, 2, 4, 8, 16, 30, 30]
    assert store.tried_at_s == [0.5 + sum(pauses[:n]) for n in range(8)]
    store.refusal = None
    await trio.sleep(30)
    assert in_the(store) == journal.totals[A_ID]
    assert in_the(store).total_requests == 1
    await trio.sleep(300)
    assert len(store.written_at_s) == 1, "and not once more"


async def test_after_a_success_the_pauses_begin_anew(
    journal: Journal, store: FakeBurstStore
) -> None:
    store.refusal = FULL
    journal.record(finished())
    await trio.sleep(5)  # refused at 0.5, 1.5, 3.5
    store.refusal = None
    await trio.sleep(5)  # written at 7.5
    store.refusal = FULL
    journal.record(finished())
    await trio.sleep(2)
    assert store.tried_at_s == [0.5, 1.5, 3.5, 7.5, 10.5, 11.5]


async def test_what_came_during_the_failed_write_is_newer_than_what_is_put_back(
    journal: Journal, store: FakeBurstStore
) -> None:
    store.refusal, store.takes_s = FULL, 1.0
    journal.latency_is(A_ID, None, None, 1.0)
    journal.latency_is(A_ID, "m", CHAT, 1.0)
    journal.latency_is(A_ID, "n", CHAT, 4.0)
    journal.record(finished(usage=tokens(1, 1)))
    await trio.sleep(1)  # the write is under way
    journal.latency_is(A_ID, None, None, 2.0)
    journal.latency_is(A_ID, "m", CHAT, 3.0)
    journal.record(finished(usage=tokens(10, 10)))
    await trio.sleep(1)
    store.refusal = None
    assert await journal.flush()
    assert store.latencies == {A_ID: 2.0}
    assert store.model_latencies == {(A_ID, "m", CHAT): 3.0, (A_ID, "n", CHAT): 4.0}
    assert in_the(store) == journal.totals[A_ID]
    assert in_the(store).total_tokens == 22


async def test_while_the_store_refuses_thousands_of_requests_are_a_row_and_none_is_lost(
    journal: Journal, store: FakeBurstStore
) -> None:
    store.refuses(True)
    for _ in range(5000):
        journal.record(finished(usage=tokens(1, 1)))
        await trio.sleep(0.1)
    store.refuses(False)
    await trio.sleep(MOST_S)
    assert in_the(store) == journal.totals[A_ID]
    assert in_the(store).total_requests == 5000
    assert len(store.begun) < 30, "and the store was left in peace"


async def test_a_store_that_is_known_to_be_well_again_is_not_waited_for(
    journal: Journal, store: FakeBurstStore
) -> None:
    store.refuses(True)
    journal.record(finished())
    await trio.sleep(20)  # the next try would be at 31.5
    store.refuses(False)
    journal.hurry()
    await wait_all_tasks_blocked()
    assert store.written_at_s == [20]
    journal.hurry()
    await trio.sleep(60)
    assert store.written_at_s == [20], "nothing new, nothing written"


async def test_what_does_not_fit_is_counted_and_said_once(
    journal: Journal, store: FakeBurstStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmlb.actors.backlog.MOST_ROWS", 3)
    store.refuses(True)
    with structlog.testing.capture_logs() as logs:
        for number in range(10):
            for _ in range(number + 1):
                journal.record(finished(model=f"m{number}"))
            journal.latency_is(A_ID, f"m{number}", CHAT, 1.0)
            await trio.sleep(7)
        store.refuses(False)
        await trio.sleep(MOST_S)
    assert {key.model for key in store.totals} == {"m7", "m8", "m9"}
    assert {model for _, model, _ in store.model_latencies} == {"m7", "m8", "m9"}
    assert [(e["event"], e.get("lost_requests")) for e in logs] == [
        ("statistics could not be written and wait", None),
        ("statistics are lost: too many wait, and the oldest go", None),
        ("statistics are written again", sum(range(1, 8))),
    ]
    assert journal.totals[A_ID].total_requests == 55, "the totals of this run are whole"


# -- stored responses

HERE = Whereabouts(A_ID, None, NOW)


async def test_the_newest_word_on_a_stored_response_is_written_with_the_burst(
    journal: Journal, store: FakeBurstStore
) -> None:
    journal.response_is("resp_1", HERE)
    journal.response_is("resp_2", HERE)
    journal.response_is("resp_1", None)
    await trio.sleep(10)
    assert store.tried_at_s == [0.5]
    assert store.responses == {"resp_2": HERE}


async def test_words_on_responses_are_put_back_unless_there_are_newer_ones(
    journal: Journal, store: FakeBurstStore
) -> None:
    store.takes_s = 1.0
    store.refuses(True)
    for response_id in ("deleted", "moved", "kept"):
        journal.response_is(response_id, HERE)
    journal.response_is("made again", None)
    await trio.sleep(1)  # the write is under way
    elsewhere = Whereabouts(EndpointId("id-b"), "key-1", NOW)
    journal.response_is("deleted", None)
    journal.response_is("moved", elsewhere)
    journal.response_is("made again", HERE)
    await trio.sleep(1)
    store.refuses(False)
    assert await journal.flush()
    assert store.responses == {"kept": HERE, "moved": elsewhere, "made again": HERE}


async def test_while_the_store_refuses_no_more_words_are_held_than_are_remembered(
    journal: Journal, store: FakeBurstStore
) -> None:
    store.refuses(True)
    for number in range(MOST_STORED_RESPONSES // 2):
        journal.response_is(f"early {number}", HERE)
    await trio.sleep(0.75)  # these are put back
    for number in range(MOST_STORED_RESPONSES):
        journal.response_is(f"late {number}", HERE)
    store.refuses(False)
    await trio.sleep(60)
    assert len(store.responses) == MOST_STORED_RESPONSES
    assert next(iter(store.responses)) == "late 0"


# -- flushing


async def test_flushing_writes_at_once_and_says_whether_it_worked(
    journal: Journal, store: FakeBurstStore
) -> None:
    journal.record(finished())
    assert await journal.flush()
    assert store.tried_at_s == [0]
    assert in_the(store).total_requests == 1
    store.refusal = FULL
    journal.record(finished())
    assert not await journal.flush()
    assert in_the(store).total_requests == 1
    store.refusal = None
    assert await journal.flush(), "it does not wait for the pause after the failure"
    assert in_the(store).total_requests == 2
    assert trio.current_time() == 0
    await trio.sleep(60)
    assert len(store.begun) == 3, "no timer is left over"


async def test_a_flush_during_a_write_also_waits_for_what_came_since(
    journal: Journal, store: FakeBurstStore
) -> None:
    store.takes_s = 1.0
    journal.record(finished())
    await trio.sleep(0.6)  # the write goes from 0.5 to 1.5
    journal.record(finished())
    assert await journal.flush()
    assert trio.current_time() == 2.5
    assert in_the(store).total_requests == 2


async def test_a_flush_with_nothing_new_waits_for_the_write_under_way(
    journal: Journal, store: FakeBurstStore
) -> None:
    store.takes_s = 1.0
    journal.record(finished())
    await trio.sleep(0.6)
    assert await journal.flush()
    assert trio.current_time() == 1.5
    assert len(store.begun) == 1


async def test_several_flushes_share_one_write(journal: Journal, store: FakeBurstStore) -> None:
    store.takes_s = 1.0
    journal.record(finished())
    answers: list[bool] = []

    async def flush() -> None:
        answers.append(await journal.flush())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(flush)
    assert answers == [True] * 5
    assert len(store.begun) == 1


async def test_a_caller_who_leaves_during_a_flush_leaves_the_write_alone(
    journal: Journal, store: FakeBurstStore
) -> None:
    store.takes_s = 1.0
    journal.record(finished())
    with trio.move_on_after(0.5) as scope:
        await journal.flush()
    assert scope.cancelled_caught
    await trio.sleep(1)
    assert in_the(store).total_requests == 1


# -- closing


async def closed_journal(store: FakeBurstStore, *, after_s: float = 0.0) -> float:
    """Record one request, close *after_s* later; how long that took."""
    journal = Journal(store, {})
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        journal.record(finished())
        await trio.sleep(after_s)
        closed_at_s = trio.current_time()
        journal.close()
    with pytest.raises(ActorGone):
        journal.record(finished())
    with pytest.raises(ActorGone):
        await journal.flush()
    return trio.current_time() - closed_at_s


async def test_closing_writes_the_rest_at_once(store: FakeBurstStore) -> None:
    assert await closed_journal(store) == 0
    assert store.requests() == 1


async def test_closing_takes_in_what_was_told_but_not_yet_looked_at(store: FakeBurstStore) -> None:
    journal = Journal(store, {})
    for _ in range(3):
        journal.record(finished())
    journal.close()
    await journal.run()
    assert store.requests() == 3


async def test_closing_waits_for_the_write_under_way_and_writes_nothing_twice(
    store: FakeBurstStore,
) -> None:
    store.takes_s = 2.0
    assert await closed_journal(store, after_s=1.0) == 1.5
    assert store.requests() == 1
    assert len(store.begun) == 1


async def test_a_write_that_fails_while_closing_is_tried_once_more(store: FakeBurstStore) -> None:
    store.takes_s, store.refusal = 2.0, FULL
    async with trio.open_nursery() as nursery:
        journal = Journal(store, {})
        await nursery.start(journal.run)
        journal.record(finished())
        await trio.sleep(1)
        journal.close()
        await trio.sleep(1.6)  # refused at 2.5; the next began then
        store.refusal = None
    assert store.requests() == 1
    assert len(store.begun) == 2


async def test_a_store_that_refuses_at_the_end_costs_the_rest_but_no_time(
    store: FakeBurstStore,
) -> None:
    store.refusal = FULL
    assert await closed_journal(store) == 0
    assert len(store.begun) == 1


@pytest.mark.parametrize("after_s", [0.0, 1.0], ids=["with the last write", "with one under way"])
async def test_a_store_that_hangs_at_the_end_does_not_hang_the_house(
    store: FakeBurstStore, after_s: float
) -> None:
    store.takes_s = FOR_EVER_S
    assert await closed_journal(store, after_s=after_s) == CLOSING_WRITE_LIMIT_S


async def test_an_asked_flush_ends_when_the_journal_does(store: FakeBurstStore) -> None:
    store.takes_s = FOR_EVER_S
    journal = Journal(store, {})

    async def flush() -> None:
        with pytest.raises(ActorGone):
            await journal.flush()

    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        journal.record(finished())
        nursery.start_soon(flush)
        await wait_all_tasks_blocked()
        journal.close()


# -- the whole


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_happens_the_totals_are_the_sum_of_the_records(seed: int) -> None:
    """Refusals, slow writes, flushes and impatient callers, in any order."""
    rng = random.Random(seed)
    store = FakeBurstStore()
    journal = Journal(store, {})
    ids = [EndpointId(f"id-{n}") for n in range(3)]
    recorded = dict.fromkeys(ids, Totals())
    latest: dict[EndpointId, float] = {}

    async def impatient_flush(patience_s: float) -> None:
        with trio.move_on_after(patience_s):
            await journal.flush()

    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        async with trio.open_nursery() as callers:
            for _ in range(120):
                match rng.randrange(8):
                    case 0:
                        store.refusal = FULL if rng.random() < 0.6 else None
                    case 1:
                        store.takes_s = rng.choice([0.0, 0.01, 0.7, 2.0])
                    case 2:
                        callers.start_soon(impatient_flush, rng.random())
                    case 3:
                        one, ms = rng.choice(ids), rng.random()
                        latest[one] = ms
                        journal.latency_is(one, None, None, ms)
                    case _:
                        request = finished(
                            rng.choice(ids),
                            rng.choice(list(Outcome)),
                            model=rng.choice("mn"),
                            duration_ms=float(rng.randrange(1000)),
                            usage=tokens(rng.randrange(99), rng.randrange(99)),
                        )
                        journal.record(request)
                        so_far = recorded[request.endpoint_id]
                        recorded[request.endpoint_id] = so_far.plus(request)
                await trio.sleep(rng.choice([0.0, 0.0, 0.05, 0.6, 3.0]))
        store.refusal, store.takes_s = None, 0.0
        if rng.random() < 0.5:
            assert await journal.flush()
        journal.close()
    done = {one: totals for one, totals in recorded.items() if totals.total_requests}
    assert dict(journal.totals) == done
    assert {one: in_the(store, one) for one in done} == done
    assert store.latencies == latest


@pytest.mark.parametrize("seed", range(20))
async def test_a_kill_at_any_moment_loses_no_more_than_the_last_second(
    journal: Journal, store: FakeBurstStore, seed: int
) -> None:
    rng = random.Random(seed)
    store.takes_s = 0.2  # a slow disk
    told_at_s: list[float] = []
    while trio.current_time() < 20:
        journal.record(finished())
        told_at_s.append(trio.current_time())
        await trio.sleep(rng.choice([0.001, 0.05, 0.3, 0.9]))
        older_than_a_second = sum(at_s <= trio.current_time() - 1.0 for at_s in told_at_s)
        assert store.requests() >= older_than_a_second


async def test_sums_neither_miss_nor_repeat_what_is_being_written(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    """With the real store, at every moment of a write, while it refuses, and after it."""
    rng = random.Random(5)

    async def in_a_while(sync_fn: Callable[[], T], /) -> T:
        await trio.sleep(rng.choice([0.0, 0.1]))
        refused = rng.random() < 0.2
        result = None if refused else sync_fn()
        await trio.sleep(rng.choice([0.0, 0.1, 0.7]))
        if refused:
            raise sqlite3.OperationalError("disk I/O error")
        return cast("T", result)

    opened = await open_store("sqlite::memory:", data_dir=tmp_path, run_in_thread=run_inline)
    opened._database._run_in_thread = in_a_while
    journal = Journal(opened.statistics, {})
    await nursery.start(journal.run)
    read = 0

    async def look() -> None:
        nonlocal read
        while True:
            by_day = Wanted(Unit.ATTEMPTS, (By.DAY, By.MODEL))
            with suppress(StoreUnavailable):
                found = await journal.sums(by_day)
                assert sum(found.values(), Totals()) == journal.totals.get(A_ID, Totals())
                read += 1
            with suppress(StoreUnavailable):
                asked = await journal.sums(Wanted(Unit.REQUESTS))
                assert asked.get((), Totals()) == journal.requests
            await trio.sleep(rng.choice([0.0, 0.01, 0.3]))

    async with trio.open_nursery() as looking:
        for _ in range(3):
            looking.start_soon(look)
        for n in range(1000):
            journal.record(finished(model=rng.choice("mn"), duration_ms=1.0, usage=tokens(n, 1)))
            journal.answered(a_record(key_id=rng.choice("kl")))
            await trio.sleep(rng.choice([0.0, 0.05, 0.2]))
        looking.cancel_scope.cancel()
    assert read > 50
    opened._database._run_in_thread = run_inline
    await trio.sleep(60)  # a write that was under way may still be refused
    assert await journal.flush()
    stored = await opened.statistics.totals()
    assert stored == {A_ID: journal.totals[A_ID]}
    assert await opened.statistics.all_requests() == journal.requests
    assert (journal.requests.total_requests, stored[A_ID].total_requests) == (1000, 1000)
    await opened.close()
