"""Where stored responses live: what is remembered, for how long, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
import trio
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from llmlb.actors.journal import Journal
from llmlb.actors.mailbox import ActorGone
from llmlb.actors.responses import KEPT_FOR, SWEEP_EVERY_S, ResponseDirectory
from llmlb.types import MOST_STORED_RESPONSES, EndpointId, Whereabouts
from tests.actors.conftest import A_ID, NOW, FakeBurstStore

B_ID = EndpointId("id-b")
DAY_S = 24 * 3600.0


class Remembered:
    """A directory, its wall clock, and what it told."""

    def __init__(self, known: Mapping[str, Whereabouts] | None = None) -> None:
        self.told: list[tuple[str, Whereabouts | None]] = []
        self.set_forward = timedelta(0)
        self.directory = ResponseDirectory(
            known or {}, on_changed=lambda *word: self.told.append(word), now=self.now
        )

    def now(self) -> datetime:
        return NOW + timedelta(seconds=trio.current_time()) + self.set_forward

    @property
    def ids(self) -> list[str]:
        return list(self.directory.whereabouts)

    async def made(self, *ids: str, one: EndpointId = A_ID, owner: str | None = None) -> None:
        for response_id in ids:
            self.directory.made(response_id, one, owner)
        await wait_all_tasks_blocked()

    async def gone(self, response_id: str) -> None:
        self.directory.gone(response_id)
        await wait_all_tasks_blocked()


@pytest.fixture
async def remembered(nursery: trio.Nursery) -> Remembered:
    remembered = Remembered()
    await nursery.start(remembered.directory.run)
    return remembered


def lives(one: EndpointId = A_ID, owner: str | None = None, at: datetime = NOW) -> Whereabouts:
    return Whereabouts(one, owner, at)


def many(number: int) -> dict[str, Whereabouts]:
    return {f"resp_{n}": lives() for n in range(number)}


async def test_what_was_made_is_found_with_its_endpoint_and_owner_and_told_on(
    remembered: Remembered,
) -> None:
    await remembered.made("resp_1", owner="key-1")
    await remembered.made("conv_1", one=B_ID)
    entries = {"resp_1": lives(owner="key-1"), "conv_1": lives(B_ID)}
    assert remembered.directory.whereabouts == entries
    assert remembered.told == list(entries.items())


async def test_what_is_gone_is_found_no_more_and_told_once(remembered: Remembered) -> None:
    await remembered.made("resp_1")
    for _ in range(2):
        await remembered.gone("resp_1")
    assert remembered.ids == []
    assert remembered.told[1:] == [("resp_1", None)]


async def test_the_newest_word_on_an_id_counts(remembered: Remembered) -> None:
    await remembered.made("conv_1", "resp_1")
    await trio.sleep(60)
    await remembered.made("conv_1", one=B_ID)
    assert remembered.directory.whereabouts["conv_1"] == lives(B_ID, at=remembered.now())
    assert remembered.ids == ["resp_1", "conv_1"]


@pytest.mark.parametrize("strange", ["", "x" * 257, "resp_ä", "resp\n1", "resp\x7f", "\ud800"])
async def test_an_id_that_no_sane_server_would_give_is_not_remembered(
    remembered: Remembered, strange: str
) -> None:
    await remembered.made(strange, "x" * 256)
    assert remembered.ids == ["x" * 256]


async def test_the_whereabouts_can_only_be_read(remembered: Remembered) -> None:
    with pytest.raises(TypeError):
        remembered.directory.whereabouts["x"] = lives()  # type: ignore[index]  # the point


async def test_nothing_is_taken_in_after_closing(nursery: trio.Nursery) -> None:
    remembered = Remembered()
    nursery.start_soon(remembered.directory.run)
    await wait_all_tasks_blocked()
    remembered.directory.made("resp_1", A_ID, None)
    remembered.directory.close()
    await wait_all_tasks_blocked()
    assert remembered.ids == ["resp_1"], "what was told before is"
    with pytest.raises(ActorGone):
        remembered.directory.made("resp_2", A_ID, None)
    assert nursery.child_tasks == frozenset(), "no timer is left over"


# -- too many


async def test_the_oldest_makes_room_and_being_looked_up_does_not_help(
    nursery: trio.Nursery,
) -> None:
    remembered = Remembered(many(MOST_STORED_RESPONSES))
    await nursery.start(remembered.directory.run)
    assert "resp_0" in remembered.directory.whereabouts
    await remembered.made("new", "newer")
    assert len(remembered.ids) == MOST_STORED_RESPONSES
    assert remembered.ids[0] == "resp_2"
    assert remembered.ids[-2:] == ["new", "newer"]
    assert [said for said, _ in remembered.told] == ["new", "newer"], "the store counts itself"


async def test_more_than_fit_from_an_earlier_run_are_cut_at_the_start(
    nursery: trio.Nursery,
) -> None:
    remembered = Remembered(many(MOST_STORED_RESPONSES + 3))
    await nursery.start(remembered.directory.run)
    assert len(remembered.ids) == MOST_STORED_RESPONSES
    assert remembered.ids[0] == "resp_3"


# -- too old


async def test_an_entry_is_dropped_after_thirty_days_though_nothing_is_made(
    remembered: Remembered,
) -> None:
    await remembered.made("resp_1")
    await trio.sleep(29 * DAY_S)
    await remembered.made("resp_2")
    await trio.sleep(DAY_S)
    assert remembered.ids == ["resp_1", "resp_2"]
    await trio.sleep(SWEEP_EVERY_S + 1)
    assert remembered.ids == ["resp_2"]
    assert remembered.told[-1] == ("resp_1", None)


async def test_what_grew_too_old_while_the_server_was_off_is_dropped_at_the_start(
    nursery: trio.Nursery,
) -> None:
    old = lives(at=NOW - KEPT_FOR - timedelta(seconds=1))
    remembered = Remembered({"old": old, "young": lives(at=NOW - KEPT_FOR)})
    await nursery.start(remembered.directory.run)
    assert remembered.ids == ["young"]
    assert remembered.told == [("old", None)]


async def test_a_clock_that_was_set_back_does_not_make_the_newest_the_oldest(
    nursery: trio.Nursery,
) -> None:
    remembered = Remembered(many(MOST_STORED_RESPONSES))
    await nursery.start(remembered.directory.run)
    remembered.set_forward = timedelta(days=-10)
    await remembered.made("new")
    assert remembered.ids[0] == "resp_1"
    assert remembered.ids[-1] == "new"


async def test_an_entry_from_the_future_keeps_no_older_one_alive(remembered: Remembered) -> None:
    remembered.set_forward = timedelta(days=400)
    await remembered.made("from the future")
    remembered.set_forward = timedelta(0)
    await remembered.made("resp_1")
    await trio.sleep(31 * DAY_S)
    assert remembered.ids == ["from the future"]


words = st.tuples(st.sampled_from(["r1", "r2", "r3"]), st.sampled_from([A_ID, B_ID, None]))


@effort(max_examples=40)
@given(st.lists(words, max_size=12), st.integers(0, 12), st.booleans())
def test_the_store_ends_up_with_what_is_remembered_even_if_it_refused_meanwhile(
    said: list[tuple[str, EndpointId | None]], pause_at: int, refuses: bool
) -> None:
    async def live() -> None:
        store = FakeBurstStore()
        journal = Journal(store, {})
        directory = ResponseDirectory({}, on_changed=journal.response_is, now=lambda: NOW)
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            await nursery.start(directory.run)
            store.refuses(refuses)
            for position, (response_id, endpoint_id) in enumerate(said):
                if position == pause_at:
                    await trio.sleep(0.75)  # a write has been tried
                if endpoint_id is None:
                    directory.gone(response_id)
                else:
                    directory.made(response_id, endpoint_id, None)
            store.refuses(False)
            await trio.sleep(60)
            assert store.responses == dict(directory.whereabouts)
            assert list(store.responses) == list(directory.whereabouts), "in the same order"
            directory.close()
            journal.close()

    trio.run(live, clock=MockClock(autojump_threshold=0))
