"""Who is told of which events, in which order, and what becomes of those who are slow."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest
import trio
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from llmlb import event_json
from llmlb.actors.feed import (
    KEPT_EVENTS,
    KEPT_REQUESTS,
    MOST_SUBSCRIBERS,
    Batch,
    EventFeed,
    Subscription,
)
from llmlb.actors.feed.actor import (
    APART_PER_SUBSCRIBER_S,
    FEW_SUBSCRIBERS,
    GATHER_S,
    LOOK_EVERY_S,
    PER_SUBSCRIBER_S,
)
from llmlb.actors.feed.messages import Flush, Happened, Message
from llmlb.actors.feed.readers import KEPT_BYTES
from llmlb.actors.mailbox import ActorGone
from llmlb.catalog import Catalog
from llmlb.errors import Overloaded, ShuttingDown
from llmlb.events import (
    EndpointRegistered,
    EndpointStatusChanged,
    LoadChanged,
    ModelsChanged,
    ServerStopping,
    StatisticsTick,
    StorageUnwell,
    StorageWell,
    TpsUpdated,
)
from llmlb.types import Endpoint, Status
from tests.actors.conftest import A_ID, NOW, endpoint
from tests.fakes.steps import counted_steps

OF_THE_FEED_AND_THE_TEST = 10
"""So many steps of tasks, at most, are not those of subscribers."""

HANGS_S = 1000.0
"""Longer than any wait in these tests that ends."""


def make_feed(*known: Endpoint) -> EventFeed:
    return EventFeed(
        {e.id: e for e in known}, now=lambda: NOW + timedelta(seconds=trio.current_time())
    )


@pytest.fixture
async def feed(nursery: trio.Nursery) -> EventFeed:
    feed = make_feed()
    await nursery.start(feed.run)
    return feed


def happen(feed: EventFeed, numbers: Iterable[int]) -> None:
    for n in numbers:
        feed.happened(StorageUnwell(str(n)))


def told(batch: Batch) -> list[int]:
    return [int(t.event.reason) for t in batch.events if isinstance(t.event, StorageUnwell)]


async def nothing(subscription: Subscription) -> bool:
    """Whether it is told nothing, however long it waits."""
    with trio.move_on_after(HANGS_S):
        await subscription.next()
        return False
    return True


async def test_who_follows_is_told_what_happens_with_its_number_and_time(feed: EventFeed) -> None:
    with await feed.subscribe() as subscription:
        assert (subscription.seq, subscription.reset) == (0, False)
        await trio.sleep(5)
        feed.happened(StorageWell())
        (only,) = (await subscription.next()).events
        assert (only.seq, only.at, only.event) == (1, NOW + timedelta(seconds=5), StorageWell())
        assert await nothing(subscription)


async def test_what_happened_before_is_not_told(feed: EventFeed) -> None:
    happen(feed, range(3))
    with await feed.subscribe() as subscription:
        assert subscription.seq == 3
        happen(feed, [3])
        assert told(await subscription.next()) == [3]


async def test_all_who_follow_are_told_the_same_each_in_its_own_time(feed: EventFeed) -> None:
    with await feed.subscribe() as quick, await feed.subscribe() as late:
        seen = []
        for n in range(5):
            happen(feed, [n])
            seen += told(await quick.next())
        assert seen == told(await late.next()) == list(range(5))


# -- what happens to endpoints


async def test_the_changes_of_a_catalog_are_told_as_events(nursery: trio.Nursery) -> None:
    before = endpoint("a")
    feed = make_feed(before)
    await nursery.start(feed.run)
    with await feed.subscribe() as subscription:
        feed.catalog_changed(Catalog.of({A_ID: before}))
        after = endpoint("a", status=Status.OFFLINE, last_error="no answer")
        new = endpoint("b")
        feed.catalog_changed(Catalog.of({A_ID: after, new.id: new}))
        feed.catalog_changed(Catalog.of({A_ID: after, new.id: new}))
        await wait_all_tasks_blocked()
        assert [t.event for t in (await subscription.next()).events] == [
            EndpointStatusChanged(A_ID, "a", Status.ONLINE, Status.OFFLINE, "no answer"),
            EndpointRegistered(new.id, "b", "http://b:1", Status.ONLINE),
            ModelsChanged(new.id, "b", 1, added=("m",)),
        ]
        assert await nothing(subscription)


# -- too slow


async def test_one_that_is_slow_gets_the_newest_events_and_is_told_how_many_are_gone(
    feed: EventFeed,
) -> None:
    with await feed.subscribe() as slow, await feed.subscribe() as quick:
        happen(feed, range(100))
        assert told(await quick.next()) == list(range(100))
        happen(feed, range(100, KEPT_EVENTS + 7))
        await wait_all_tasks_blocked()
        batch = await slow.next()
        assert batch.dropped == 7
        assert told(batch) == list(range(7, KEPT_EVENTS + 7))
        assert (await quick.next()).dropped == 0
        happen(feed, [1000])
        batch = await slow.next()
        assert (batch.dropped, told(batch)) == (0, [1000])


async def test_exactly_as_many_as_are_kept_are_not_too_many(feed: EventFeed) -> None:
    with await feed.subscribe() as slow:
        happen(feed, range(KEPT_EVENTS))
        await wait_all_tasks_blocked()
        batch = await slow.next()
        assert (batch.dropped, len(batch.events)) == (0, KEPT_EVENTS)


# -- coming back


async def test_one_that_comes_back_is_told_what_it_has_missed(feed: EventFeed) -> None:
    happen(feed, range(10))
    with await feed.subscribe(after=4) as subscription:
        assert (subscription.seq, subscription.reset) == (4, False)
        assert told(await subscription.next()) == [4, 5, 6, 7, 8, 9]


async def test_one_that_has_missed_nothing_is_told_what_comes(feed: EventFeed) -> None:
    happen(feed, range(10))
    with await feed.subscribe(after=10) as subscription:
        assert not subscription.reset
        assert await nothing(subscription)


@pytest.mark.parametrize("after", [-1, 2, KEPT_EVENTS + 4, 10**15])
async def test_one_whose_last_event_is_not_known_begins_anew(feed: EventFeed, after: int) -> None:
    happen(feed, range(KEPT_EVENTS + 3))
    with await feed.subscribe(after) as subscription:
        assert subscription.reset
        assert subscription.seq == KEPT_EVENTS + 3
        assert await nothing(subscription)


@pytest.mark.parametrize("after", [3, KEPT_EVENTS + 3])
async def test_the_oldest_and_the_newest_place_that_is_known(feed: EventFeed, after: int) -> None:
    happen(feed, range(KEPT_EVENTS + 3))
    with await feed.subscribe(after) as subscription:
        assert not subscription.reset
        happen(feed, [-1])
        await wait_all_tasks_blocked()
        # the event that has just come has pushed out the oldest one
        batch = await subscription.next()
        assert len(batch.events) + batch.dropped == KEPT_EVENTS + 4 - after


# -- giving up


async def test_one_that_gives_up_waiting_has_taken_nothing(feed: EventFeed) -> None:
    with await feed.subscribe() as subscription:
        for _ in range(3):
            with trio.move_on_after(15) as waiting:
                await subscription.next()
            assert waiting.cancelled_caught
        happen(feed, range(3))
        await wait_all_tasks_blocked()
        assert told(await subscription.next()) == [0, 1, 2]


async def test_one_that_leaves_is_forgotten_at_once(feed: EventFeed, nursery: trio.Nursery) -> None:
    async def follow() -> None:
        with leaving, await feed.subscribe() as subscription:
            await subscription.next()

    leaving = trio.CancelScope()
    nursery.start_soon(follow)
    await wait_all_tasks_blocked()
    assert feed.statistics().subscribers == 1
    leaving.cancel()
    await wait_all_tasks_blocked()
    assert feed.statistics().subscribers == 0


async def test_one_that_gave_up_before_it_was_taken_in_has_no_place(feed: EventFeed) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await feed.subscribe()
    await wait_all_tasks_blocked()
    assert feed.statistics().subscribers == 0


async def test_one_too_many_is_refused_until_another_leaves(feed: EventFeed) -> None:
    many = [await feed.subscribe() for _ in range(MOST_SUBSCRIBERS)]
    with pytest.raises(Overloaded) as refusal:
        await feed.subscribe()
    assert refusal.value.retry_after_s
    with many.pop():
        pass
    with await feed.subscribe():
        assert feed.statistics().subscribers == MOST_SUBSCRIBERS


@pytest.mark.simulation
@pytest.mark.parametrize("first_seed", range(0, 400, 50))
async def test_no_event_and_no_place_is_lost_however_subscribers_are_cancelled(
    first_seed: int,
) -> None:
    for seed in range(first_seed, first_seed + 50):
        await subscribers_are_cancelled_at_random(seed)


async def subscribers_are_cancelled_at_random(seed: int) -> None:
    rng = random.Random(seed)
    feed = make_feed()
    total = 40

    async def steps(n: int) -> None:
        for _ in range(n):
            await trio.lowlevel.checkpoint()

    async def restless() -> None:
        """Gives up waiting now and then, leaves altogether, and comes back."""
        seen: int | None = None
        numbers: list[int] = []
        while not numbers or numbers[-1] < total:
            async with trio.open_nursery() as stay:

                async def lose_patience(scope: trio.CancelScope, patience: int) -> None:
                    await steps(patience)
                    scope.cancel()

                stay.start_soon(lose_patience, stay.cancel_scope, rng.randrange(12))
                with await feed.subscribe(seen) as subscription:
                    seen = subscription.seq
                    numbers = numbers or [seen]
                    while numbers[-1] < total:
                        batch: Batch | None = None
                        async with trio.open_nursery() as wait:
                            wait.start_soon(lose_patience, wait.cancel_scope, rng.randrange(4))
                            batch = await subscription.next()
                            wait.cancel_scope.cancel()
                        if batch is not None:
                            assert not batch.dropped
                            numbers += [t.seq for t in batch.events]
                            seen = numbers[-1]
                stay.cancel_scope.cancel()
        assert numbers == list(range(numbers[0], total + 1)), f"{seed=}"

    async with trio.open_nursery() as house:
        await house.start(feed.run)
        async with trio.open_nursery() as everybody:
            for _ in range(6):
                everybody.start_soon(restless)
            for n in range(total):
                await steps(rng.randrange(3))
                happen(feed, [n])
        await wait_all_tasks_blocked()
        assert feed.statistics().subscribers == 0, f"{seed=}"
        assert feed.statistics().events == total
        feed.close()


# -- the end


async def test_the_end_is_told_and_then_there_is_nothing_more(feed: EventFeed) -> None:
    with await feed.subscribe() as waiting, await feed.subscribe() as busy:
        happen(feed, [1])
        feed.end()
        feed.end()
        happen(feed, [2])
        for subscription in (waiting, busy):
            *before, last = (await subscription.next()).events
            assert [t.seq for t in before] == [1]
            assert last.event == ServerStopping()
            assert await subscription.next() == Batch(())
            assert await subscription.next() == Batch(())


async def test_one_that_waits_is_told_of_the_end(feed: EventFeed, nursery: trio.Nursery) -> None:
    batches = []

    async def follow() -> None:
        with await feed.subscribe() as subscription:
            while (batch := await subscription.next()).events:
                batches.append(batch)

    nursery.start_soon(follow)
    await wait_all_tasks_blocked()
    feed.end()
    await wait_all_tasks_blocked()
    assert [t.event for batch in batches for t in batch.events] == [ServerStopping()]
    assert feed.statistics().subscribers == 0


async def test_nobody_is_taken_in_after_the_end(feed: EventFeed) -> None:
    feed.end()
    with pytest.raises(ShuttingDown):
        await feed.subscribe()


async def test_a_feed_that_has_stopped_refuses_and_lets_go(nursery: trio.Nursery) -> None:
    feed = make_feed()
    await nursery.start(feed.run)
    with await feed.subscribe() as subscription:
        feed.close()
        await wait_all_tasks_blocked()
        with pytest.raises(ActorGone):
            await subscription.next()
        with pytest.raises(ActorGone):
            await feed.subscribe()
        with pytest.raises(ActorGone):
            feed.happened(StorageWell())


# -- any order of things

STEPS = st.one_of(
    st.tuples(st.just("happen"), st.integers(1, KEPT_EVENTS + 40)),
    st.tuples(st.just("next"), st.integers(0, 2)),
    st.tuples(st.just("back"), st.integers(0, 2)),
)


@effort(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=15))
def test_told_and_dropped_make_up_all_that_happened(steps: list[tuple[str, int]]) -> None:
    async def live() -> None:
        feed, happened = make_feed(), 0
        async with trio.open_nursery() as nursery:
            await nursery.start(feed.run)
            following = [await feed.subscribe() for _ in range(3)]
            places = [0, 0, 0]
            for step, n in [*steps, ("next", 0), ("next", 1), ("next", 2)]:
                if step == "happen":
                    happen(feed, range(n))
                    happened += n
                    await wait_all_tasks_blocked()
                elif step == "next" and places[n] < happened:
                    batch = await following[n].next()
                    assert len(batch.events) <= KEPT_EVENTS
                    first = places[n] + batch.dropped + 1
                    assert [t.seq for t in batch.events] == list(range(first, happened + 1))
                    places[n] = happened
                elif step == "back":
                    with following[n]:
                        pass
                    following[n] = await feed.subscribe(places[n])
                    assert following[n].reset == (happened - places[n] > KEPT_EVENTS)
                    places[n] = following[n].seq
            feed.close()

    trio.run(live, clock=MockClock(autojump_threshold=0))


# -- what comes with every request


def finish(feed: EventFeed, numbers: Iterable[int]) -> None:
    for n in numbers:
        feed.happened(TpsUpdated(A_ID, "m", 1.0, n, 1.0))


def names(batch: Batch) -> list[str]:
    return [type(t.event).__name__ for t in batch.events]


async def test_what_comes_often_is_told_together_and_what_is_rare_at_once(feed: EventFeed) -> None:
    with await feed.subscribe() as subscription:
        began_s = trio.current_time()
        finish(feed, range(5))
        assert len((await subscription.next()).events) == 5
        assert trio.current_time() == began_s + GATHER_S
        finish(feed, range(5))
        happen(feed, [7])
        batch = await subscription.next()
        assert trio.current_time() == began_s + GATHER_S
        assert [t.seq for t in batch.events] == list(range(6, 12)), "in order"
        finish(feed, range(2))
        await wait_all_tasks_blocked()
        assert len((await subscription.next()).events) == 2, "also if it asks afterwards"


async def test_a_busy_hour_wakes_a_subscriber_ten_times_a_second(
    feed: EventFeed, nursery: trio.Nursery
) -> None:
    batches: list[int] = []

    async def follow() -> None:
        with await feed.subscribe() as subscription:
            while True:
                batches.append(len((await subscription.next()).events))

    nursery.start_soon(follow)
    for _ in range(1000):
        await trio.sleep(0.001)
        finish(feed, [1])
    await trio.sleep(2 * GATHER_S)
    assert sum(batches) == 1000
    assert len(batches) <= 1.0 / GATHER_S + 1


async def test_what_comes_often_pushes_out_nothing_rare(feed: EventFeed) -> None:
    happen(feed, range(3))
    finish(feed, range(KEPT_REQUESTS + 10))
    with await feed.subscribe(after=1) as back:
        assert not back.reset
        batch = await back.next()
        assert told(batch) == [1, 2]
        assert batch.dropped == 10
        assert len(batch.events) == KEPT_REQUESTS + 2
    with await feed.subscribe(after=3 + 10) as back:
        assert (await back.next()).dropped == 0
    with await feed.subscribe(1, frozenset({StorageUnwell})) as back:
        batch = await back.next()
        assert (told(batch), batch.dropped) == ([1, 2], 0), "it never wanted what is gone"


async def test_what_is_rare_and_gone_is_no_loss_to_who_wants_requests_alone(
    feed: EventFeed,
) -> None:
    finish(feed, [1, 2])
    happen(feed, range(KEPT_EVENTS + 1))
    with await feed.subscribe(1, frozenset({TpsUpdated})) as back:
        batch = await back.next()
        assert (back.reset, [t.seq for t in batch.events], batch.dropped) == (False, [2], 0)
    with await feed.subscribe(1) as back:
        assert back.reset


async def test_a_slow_subscriber_is_told_of_losses_of_what_it_wants_alone(feed: EventFeed) -> None:
    with await feed.subscribe(kinds=frozenset({StorageWell})) as slow:
        happen(feed, range(KEPT_EVENTS))
        feed.happened(StorageWell())
        happen(feed, range(KEPT_EVENTS - 1))
        await wait_all_tasks_blocked()
        batch = await slow.next()
        assert (names(batch), batch.dropped) == (["StorageWell"], 0)
        feed.happened(StorageWell())
        happen(feed, range(KEPT_EVENTS))
        await wait_all_tasks_blocked()
        batch = await slow.next()
        assert (names(batch), batch.dropped, batch.over) == ([], 1, False)


async def test_large_events_are_fewer(feed: EventFeed) -> None:
    big = "x" * (KEPT_BYTES // 10)
    with await feed.subscribe() as slow:
        for _ in range(15):
            feed.happened(StorageUnwell(big))
        feed.happened(StorageUnwell(big * 11))
        await wait_all_tasks_blocked()
        batch = await slow.next()
        assert (len(batch.events), batch.dropped) == (1, 15), "the newest one is always kept"


# -- how things are


class Meters:
    """Gauges that a test sets."""

    def __init__(self) -> None:
        self.running = 0
        self.looks = 0

    def load(self) -> LoadChanged:
        self.looks += 1
        return LoadChanged({A_ID: self.running} if self.running else {}, {}, self.running, 0)

    def totals(self) -> StatisticsTick:
        return StatisticsTick(*range(12))


@pytest.fixture
async def meters() -> Meters:
    return Meters()


@pytest.fixture
async def metered(nursery: trio.Nursery, meters: Meters) -> EventFeed:
    feed = EventFeed({}, now=lambda: NOW, gauges=meters)
    await nursery.start(feed.run)
    return feed


async def test_nobody_looks_while_nobody_wants_to_know(metered: EventFeed, meters: Meters) -> None:
    await trio.sleep(60)
    with await metered.subscribe(kinds=frozenset({StorageUnwell})):
        await trio.sleep(60)
    assert meters.looks == 0
    with await metered.subscribe(kinds=frozenset({LoadChanged})):
        await trio.sleep(60.1)
    assert meters.looks == 240
    await trio.sleep(60)
    assert meters.looks == 240
    with await metered.subscribe():
        metered.end()
        await trio.sleep(60)
    assert meters.looks == 240, "nor after the end"


async def test_a_newcomer_is_told_how_things_are_and_then_of_changes(
    metered: EventFeed, meters: Meters
) -> None:
    only = frozenset({LoadChanged})
    with await metered.subscribe(kinds=only) as first:
        assert names(await first.next()) == ["LoadChanged"]
        assert trio.current_time() == LOOK_EVERY_S
        with await metered.subscribe(kinds=only) as second:
            assert names(await second.next()) == ["LoadChanged"]
            assert await nothing(first)
            await trio.sleep(LOOK_EVERY_S / 8)  # at no moment when it looks
            for meters.running in (1, 2, 1, 3):
                await trio.sleep(LOOK_EVERY_S / 4)
            for one in (first, second):
                (change,) = (await one.next()).events
                assert change.event == LoadChanged({A_ID: 3}, {}, 3, 0), "only the newest"
            meters.running = 4
            await trio.sleep(10 * LOOK_EVERY_S)
            meters.running = 5
            await trio.sleep(10 * LOOK_EVERY_S)
            (change,) = (await second.next()).events
            assert change.event == LoadChanged({A_ID: 5}, {}, 5, 0)


async def test_totals_come_every_few_seconds_and_are_no_place_to_go_on_from(
    metered: EventFeed,
) -> None:
    happen(metered, [1])
    with await metered.subscribe(kinds=frozenset({StatisticsTick, StorageUnwell})) as following:
        times = []
        for _ in range(3):
            (tick,) = (await following.next()).events
            assert (tick.seq, tick.event) == (1, StatisticsTick(*range(12)))
            times.append(trio.current_time())
        assert times == [0.25, 5.25, 10.25]
        assert metered.statistics().events == 1


# -- many


async def test_two_hundred_are_told_of_what_was_made_once(
    feed: EventFeed, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []

    def dumps(shown: object) -> str:
        made.append(shown)
        return json.dumps(shown)

    monkeypatch.setattr(event_json, "json", SimpleNamespace(dumps=dumps))
    batches: list[list[Batch]] = []

    async def follow() -> None:
        with await feed.subscribe() as subscription:
            batches.append(mine := [])
            while True:
                mine.append(await subscription.next())
                assert all(t.json for t in mine[-1].events)

    for _ in range(200):
        nursery.start_soon(follow)
    await wait_all_tasks_blocked()
    happen(feed, [1])
    await wait_all_tasks_blocked()
    finish(feed, range(9))
    await trio.sleep(200 * PER_SUBSCRIBER_S)
    await wait_all_tasks_blocked()
    assert len(made) == 10
    assert {tuple(len(batch.events) for batch in mine) for mine in batches} == {(1, 9)}
    assert len({id(batch) for mine in batches for batch in mine}) == 2, "they share them"


async def test_an_event_costs_two_messages_and_wakes_each_subscriber_once(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What 200 subscribers cost, as counts: one step of a task is all that each of them takes."""
    feed, messages, seen = make_feed(), list[object](), list[int]()
    handle = feed._handle

    def noted(message: Message) -> None:
        messages.append(message)
        handle(message)

    async def follow() -> None:
        with await feed.subscribe() as subscription:
            while True:
                seen.extend(told(await subscription.next()))

    monkeypatch.setattr(feed, "_handle", noted)
    await nursery.start(feed.run)
    for _ in range(200):
        nursery.start_soon(follow)
    await trio.sleep(1)

    messages.clear()
    with counted_steps() as steps:
        happen(feed, [1])
        await wait_all_tasks_blocked()
    assert seen == [1] * 200
    assert messages == [Happened(StorageUnwell("1")), Flush()]
    assert 200 < steps.count <= 200 + OF_THE_FEED_AND_THE_TEST

    await trio.sleep(1)
    with counted_steps() as steps:
        happen(feed, range(100))
        await wait_all_tasks_blocked()
    assert len(seen) == 200 * 101
    assert steps.count <= 200 + OF_THE_FEED_AND_THE_TEST, "a burst costs what one costs"

    await trio.sleep(1)
    with counted_steps() as steps:
        for n in range(1000):
            happen(feed, [n])
            await trio.sleep(0.001)
        await trio.sleep(1)
    assert len(seen) == 200 * 1101
    most_wakings = 1 + 1.0 / (200 * APART_PER_SUBSCRIBER_S) + 1
    assert steps.count <= 200 * most_wakings + 4 * 1000, "nor does a steady flow"


async def test_the_first_of_many_rare_events_is_told_at_once_and_the_others_together(
    feed: EventFeed,
) -> None:
    many = [await feed.subscribe() for _ in range(2 * FEW_SUBSCRIBERS)]
    apart_s = len(many) * APART_PER_SUBSCRIBER_S
    times = []
    for n in range(3):
        happen(feed, [n])
        await many[0].next()
        times.append(trio.current_time())
    assert times == pytest.approx([0, apart_s, 2 * apart_s])
    for gone in many[: FEW_SUBSCRIBERS + 1]:
        with gone:
            pass
    for n in range(3):
        happen(feed, [n])
        await many[-1].next()
    assert trio.current_time() == pytest.approx(2 * apart_s), "among few nobody waits"


async def test_the_more_follow_the_longer_it_gathers_and_the_rarer_it_looks(
    metered: EventFeed, meters: Meters
) -> None:
    many = [await metered.subscribe() for _ in range(200)]
    await trio.sleep(60.5)
    assert meters.looks == 61, "the first one for the first of them alone"
    began_s = trio.current_time()
    finish(metered, [1])
    following = await metered.subscribe(kinds=frozenset({TpsUpdated}))
    finish(metered, [2])
    assert [t.seq for t in (await following.next()).events] == [2]
    assert trio.current_time() - began_s == pytest.approx(200 * PER_SUBSCRIBER_S, abs=0.01)
    happen(metered, [1])
    await wait_all_tasks_blocked()
    assert told(await many[0].next()) == [1], "what is rare waits for nobody"


async def test_totals_keep_their_time_however_many_follow(metered: EventFeed) -> None:
    for _ in range(200):
        await metered.subscribe(kinds=frozenset({LoadChanged}))
    with await metered.subscribe(kinds=frozenset({StatisticsTick})) as following:
        times = []
        for _ in range(4):
            await following.next()
            times.append(trio.current_time())
    gaps = [after - before for before, after in pairwise(times)]
    assert all(4 < gap < 6.1 for gap in gaps), gaps
