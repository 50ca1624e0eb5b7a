"""When the history is written, what is lost when it cannot be, and when its oldest part goes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.history import History, HistoryStatistics, Keeping
from llmlb.actors.history import waiting as bounds
from llmlb.actors.history.history import CLOSING_WRITE_LIMIT_S, MOST_IN_BURST, WRITE_BEHIND_S
from llmlb.actors.history.upkeep import DOUBTED_S, PRUNE_EVERY_S
from llmlb.actors.history.waiting import MOST_WAITING, Waiting, size_of
from llmlb.actors.mailbox import ActorGone
from llmlb.errors import StoreUnavailable
from llmlb.records import Bodies, RequestRecord
from tests.actors.conftest import NOW, SlowStore
from tests.fakes.records import record

FULL = StoreUnavailable("The database is not available (its disk is full).")
FOR_EVER_S = 1e6


class FakeHistoryStore(SlowStore):
    """A history as a database would keep it."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[RequestRecord] = []
        self.bursts: list[int] = []
        self.pruned: list[tuple[datetime | None, int, int]] = []
        self.to_prune, self.to_shrink = 0, 0

    @property
    def ids(self) -> list[str]:
        return [row.id for row in self.rows]

    @property
    def tried_at_s(self) -> list[float]:
        return [at_s for _, at_s in self.begun]

    async def write(self, records: Sequence[RequestRecord]) -> None:
        assert 0 < len(records) <= MOST_IN_BURST

        def apply() -> None:
            self.rows += records
            self.bursts.append(len(records))

        await self._write("burst", apply)

    async def prune(self, older_than: datetime | None, most_requests: int, most_bytes: int) -> int:
        await trio.lowlevel.checkpoint()
        self.pruned.append((older_than, most_requests, most_bytes))
        if self.refusal is not None:
            raise self.refusal
        gone, self.to_prune = min(self.to_prune, 500), max(self.to_prune - 500, 0)
        return gone

    async def shrink(self) -> int:
        await trio.lowlevel.checkpoint()
        gone, self.to_shrink = min(self.to_shrink, 256), max(self.to_shrink - 256, 0)
        return gone


@pytest.fixture
def store() -> FakeHistoryStore:
    return FakeHistoryStore()


def now() -> datetime:
    return NOW + timedelta(seconds=trio.current_time())


def history_on(store: FakeHistoryStore, *, days: int = 7) -> History:
    return History(store, keeping=Keeping(days, 5000, 10**6), now=now)


@pytest.fixture
async def history(nursery: trio.Nursery, store: FakeHistoryStore) -> History:
    history = history_on(store)
    await nursery.start(history.run)
    return history


def tell(history: History, *numbers: int) -> None:
    for number in numbers:
        history.record(record(number))


async def test_records_are_written_together_a_moment_later(
    history: History, store: FakeHistoryStore
) -> None:
    tell(history, 1)
    await trio.sleep(WRITE_BEHIND_S / 2)
    tell(history, 2, 3)
    await wait_all_tasks_blocked()
    assert history.statistics().waiting == 3
    await trio.sleep(WRITE_BEHIND_S)
    assert store.bursts == [3]
    assert store.tried_at_s == [WRITE_BEHIND_S]
    assert history.statistics() == HistoryStatistics(0, 0, written=3, dropped=0)


async def test_many_are_written_in_transactions_that_are_short(
    history: History, store: FakeHistoryStore
) -> None:
    tell(history, *range(2 * MOST_IN_BURST + 1))
    await trio.sleep(3 * WRITE_BEHIND_S)
    assert store.bursts == [MOST_IN_BURST, MOST_IN_BURST, 1]
    assert store.ids == [f"row-{n}" for n in range(2 * MOST_IN_BURST + 1)]


async def test_what_comes_during_a_write_waits_for_the_next(
    history: History, store: FakeHistoryStore
) -> None:
    store.takes_s = 5
    tell(history, 1)
    await trio.sleep(1)
    tell(history, 2)
    await trio.sleep(20)
    assert store.bursts == [1, 1]


async def test_what_is_refused_is_tried_again_in_order(
    history: History, store: FakeHistoryStore
) -> None:
    store.refusal = FULL
    tell(history, 1)
    await trio.sleep(1)
    tell(history, 2)
    await trio.sleep(10)
    assert store.tried_at_s == [0.5, 1.5, 3.5, 7.5], "after pauses that double"
    store.refusal = None
    with structlog.testing.capture_logs() as told:
        history.hurry()
        await wait_all_tasks_blocked()
    assert store.ids == ["row-1", "row-2"]
    assert [line["event"] for line in told] == ["the request history is written again"]


async def test_a_flush_tells_whether_all_is_written(
    history: History, store: FakeHistoryStore
) -> None:
    assert await history.flush()
    tell(history, *range(MOST_IN_BURST + 1))
    assert await history.flush()
    assert len(store.rows) == MOST_IN_BURST + 1
    store.refusal = FULL
    tell(history, 7)
    assert not await history.flush()


async def test_while_nothing_can_be_written_the_oldest_go_and_are_counted(
    history: History, store: FakeHistoryStore
) -> None:
    store.refusal = FULL
    with structlog.testing.capture_logs() as told:
        for begin in range(0, MOST_WAITING + 100, 100):
            tell(history, *range(begin, begin + 100))
            await wait_all_tasks_blocked()
        await trio.sleep(100)
    assert history.statistics().dropped == 100
    assert history.statistics().waiting == MOST_WAITING
    events = [line["event"] for line in told]
    assert events.count("the request history could not be written and waits") == 1
    assert sum("are missing" in event for event in events) == 1
    store.refusal = None
    assert await history.flush()
    assert store.ids == [f"row-{n}" for n in range(100, MOST_WAITING + 100)]
    assert history.statistics() == HistoryStatistics(0, 0, written=MOST_WAITING, dropped=100)


async def test_what_is_written_when_it_stops_has_a_bound_in_time(
    nursery: trio.Nursery, store: FakeHistoryStore
) -> None:
    history = history_on(store)
    await nursery.start(history.run)
    tell(history, *range(MOST_IN_BURST + 1))
    history.close()
    await wait_all_tasks_blocked()
    assert len(store.rows) == MOST_IN_BURST + 1
    with pytest.raises(ActorGone):
        tell(history, 1)


@pytest.mark.parametrize("under_way", [False, True])
async def test_a_store_that_never_answers_does_not_hold_up_the_stop(
    store: FakeHistoryStore, under_way: bool
) -> None:
    store.takes_s = FOR_EVER_S
    history = history_on(store)
    with structlog.testing.capture_logs() as told:
        async with trio.open_nursery() as nursery:
            await nursery.start(history.run)
            tell(history, 1, 2)
            if under_way:
                await trio.sleep(1)
            history.close()
            began_s = trio.current_time()
        assert trio.current_time() - began_s == CLOSING_WRITE_LIMIT_S
    assert [(line["event"], line["requests"]) for line in told] == [
        ("the end of the request history was lost", 2)
    ]


async def test_every_minute_the_oldest_go(nursery: trio.Nursery, store: FakeHistoryStore) -> None:
    store.to_prune, store.to_shrink = 1200, 300
    await nursery.start(history_on(store).run)
    await trio.sleep(PRUNE_EVERY_S / 2)
    assert (store.to_prune, store.to_shrink, len(store.pruned)) == (0, 0, 4)
    assert set(store.pruned) == {(NOW - timedelta(days=7), 5000, 10**6)}
    store.refusal = FULL
    await trio.sleep(3 * PRUNE_EVERY_S)
    assert len(store.pruned) == 7
    store.refusal = None
    await trio.sleep(PRUNE_EVERY_S)
    assert len(store.pruned) == 8


async def test_without_an_age_nothing_is_too_old(
    nursery: trio.Nursery, store: FakeHistoryStore
) -> None:
    await nursery.start(history_on(store, days=0).run)
    await trio.sleep(1)
    assert [older_than for older_than, _, _ in store.pruned] == [None]


@pytest.mark.parametrize("put_back_after_s", [300.0, FOR_EVER_S])
async def test_a_clock_that_leaps_ahead_makes_nothing_too_old_for_an_hour(
    nursery: trio.Nursery, store: FakeHistoryStore, put_back_after_s: float
) -> None:
    leapt_at_s = 90.0

    def leaping() -> datetime:
        leapt = leapt_at_s <= trio.current_time() < leapt_at_s + put_back_after_s
        return now() + timedelta(days=3650 if leapt else 0)

    await nursery.start(History(store, keeping=Keeping(7, 5000, 10**6), now=leaping).run)
    await trio.sleep(DOUBTED_S)
    dates = [older_than for older_than, _, _ in store.pruned]
    assert None not in dates[:2]
    assert dates[2:7] == [None] * 5, "though there are too many all the same"
    sure = [date for date in dates if date is not None]
    assert all(date < NOW for date in sure)
    assert (len(sure) > 2) == (put_back_after_s == 300)
    await trio.sleep(leapt_at_s + 2 * PRUNE_EVERY_S)
    older_than, *_ = store.pruned[-1]
    assert older_than is not None
    assert (older_than > NOW) == (put_back_after_s == FOR_EVER_S), "believed at last"


# -- what waits

_sizes = st.lists(st.integers(0, 400), max_size=40)


@given(_sizes, st.integers(0, 15))
def test_what_waits_is_bounded_in_number_and_size(sizes: list[int], taken: int) -> None:
    waiting = Waiting()
    told = [record(n, bodies=Bodies("x" * size, None)) for n, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "MOST_WAITING", 10)
        patch.setattr(bounds, "MOST_WAITING_BYTES", 25_000)
        for one in told:
            waiting.add(one)
        burst = waiting.take(taken)
        waiting.put_back(burst)
        assert len(waiting) <= 10
        assert waiting.n_bytes <= 25_000
        left = waiting.take(100)
    assert left == told[waiting.dropped :], "the newest, in order"
    assert waiting.n_bytes == 0
    more = len(told) - len(left)
    assert not more or len(left) == 10 or sum(map(size_of, told[more - 1 :])) > 25_000


async def test_a_write_that_is_cancelled_leaves_its_records_waiting(
    store: FakeHistoryStore,
) -> None:
    """The house falls: nothing may be counted twice on the way."""
    store.takes_s = FOR_EVER_S
    history = history_on(store)
    with suppress(trio.TooSlowError), trio.fail_after(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(history.run)
            tell(history, 1)
            await trio.sleep_forever()
    assert (store.rows, len(history._waiting)) == ([], 1)
