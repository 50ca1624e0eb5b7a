"""When audit events are written, that none is lost or written twice, and that floods are few."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.audit import AuditLog, Retention
from llmlb.actors.audit.log import CHECK_EVERY_S, CLOSING_WRITE_LIMIT_S, MOST_IN_BURST
from llmlb.actors.audit.repeats import (
    MOST_GROUPS,
    MOST_PER_PLACE,
    MOST_PLACES,
    Repeats,
)
from llmlb.actors.audit.upkeep import PRUNE_EVERY_S
from llmlb.actors.audit.waiting import MOST_WAITING, Waiting
from llmlb.actors.mailbox import ActorGone
from llmlb.audit import GENESIS, ActorType, AuditEntry, AuditEvent, ChainMoved, Link, chained
from llmlb.audit_check import ChainCheck, Chunk
from llmlb.errors import LbError, StoreUnavailable
from tests.actors.conftest import NOW, SlowStore

FULL = StoreUnavailable("The database is not available (its disk is full).")
FOR_EVER_S = 1e6
CHUNK = 100


def now() -> datetime:
    return NOW + timedelta(seconds=trio.current_time())


def deed(number: int = 0, **said: Any) -> AuditEvent:
    said.setdefault("actor_type", ActorType.USER)
    said.setdefault("action", "endpoint.create")
    said.setdefault("at", NOW + timedelta(seconds=number))
    said.setdefault("object_id", str(number))
    return AuditEvent(**said)


def failure(number: int = 0, **said: Any) -> AuditEvent:
    said.setdefault("client_address", "203.0.113.9")
    said.setdefault("path", "/v1/models")
    return AuditEvent(
        at=NOW + timedelta(microseconds=number),
        action=said.pop("action", "auth.failed"),
        actor_type=ActorType.ANONYMOUS,
        **said,
    )


class FakeAuditStore(SlowStore):
    """A chain as a database would keep it."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[AuditEntry] = []
        self.anchor = GENESIS
        self.head = GENESIS
        self.pruned: list[tuple[datetime | None, int]] = []
        self.to_prune = 0
        self.checks = 0
        self.check_refusal: LbError | None = None

    @property
    def events(self) -> list[AuditEvent]:
        return [entry.event for entry in self.entries]

    @property
    def tried_at_s(self) -> list[float]:
        return [at_s for _, at_s in self.begun]

    async def append(self, after: Link, events: Sequence[AuditEvent]) -> Link:
        assert 0 < len(events) <= MOST_IN_BURST

        def apply() -> None:
            if self.head != after:
                raise ChainMoved(self.head)
            self.entries += chained(after, events)
            self.head = self.entries[-1].link

        await self._write("burst", apply)
        return self.head

    async def check_some(self, check: ChainCheck) -> bool:
        await trio.sleep(self.takes_s)
        self.checks += 1
        if self.check_refusal is not None:
            raise self.check_refusal
        after = check.after or 0
        rows = [entry.written() for entry in self.entries if entry.sequence > after]
        last = len(rows) < CHUNK
        return check.take(Chunk(self.anchor, self.head, rows[:CHUNK], last=last))

    async def prune(self, older_than: datetime | None, most: int) -> int:
        await trio.lowlevel.checkpoint()
        self.pruned.append((older_than, most))
        if self.refusal is not None:
            raise self.refusal
        gone, self.to_prune = min(self.to_prune, 1000), max(self.to_prune - 1000, 0)
        return gone


class Told:
    """What the log tells, and how it is made."""

    def __init__(self, store: FakeAuditStore) -> None:
        self.broken: list[str] = []
        self.store = store

    def log(self, end: Link = GENESIS, *, days: int = 90) -> AuditLog:
        retention = Retention(days, 5000)
        return AuditLog(self.store, end, retention=retention, now=now, on_broken=self.broken.append)


@pytest.fixture
def store() -> FakeAuditStore:
    return FakeAuditStore()


@pytest.fixture
def told(store: FakeAuditStore) -> Told:
    return Told(store)


@pytest.fixture
async def audit(nursery: trio.Nursery, told: Told) -> AuditLog:
    log = told.log()
    await nursery.start(log.run)
    return log


# -- writing


async def test_events_are_written_in_a_burst_and_in_order(
    audit: AuditLog, store: FakeAuditStore
) -> None:
    for number in range(40):
        audit.record(deed(number))
        await trio.sleep(0.01)
    assert store.begun == []
    await trio.sleep(10)
    assert store.tried_at_s == [0.5]
    assert store.events == [deed(number) for number in range(40)]
    audit.record(deed(40))
    await trio.sleep(10)
    assert store.events[-1] == deed(40)
    assert (await audit.verify()).valid


async def test_a_chain_goes_on_from_where_it_ended(
    nursery: trio.Nursery, told: Told, store: FakeAuditStore
) -> None:
    store.anchor = store.head = Link(7, "a" * 64)
    log = told.log(store.head)
    await nursery.start(log.run)
    log.record(deed())
    await trio.sleep(1)
    assert store.entries[0].sequence == 8
    assert (await log.verify()).valid


async def test_thousands_are_written_a_thousand_at_a_time_without_a_pause(
    audit: AuditLog, store: FakeAuditStore
) -> None:
    for number in range(3500):
        audit.record(deed(number))
    await trio.sleep(2)
    assert store.tried_at_s == [0.5, 0.5, 0.5, 1.0]
    assert store.events == [deed(number) for number in range(3500)]


async def test_telling_works_while_being_cancelled(audit: AuditLog, store: FakeAuditStore) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep(1)
        finally:
            audit.record(deed())
    await trio.sleep(1)
    assert store.events == [deed()]


# -- a store that refuses


async def test_what_is_refused_is_tried_again_after_doubling_pauses_and_written_once(
    audit: AuditLog, store: FakeAuditStore
) -> None:
    store.refusal = FULL
    with structlog.testing.capture_logs() as logs:
        audit.record(deed(0))
        await trio.sleep(20)
        audit.record(deed(1))
        store.refusal = None
        await trio.sleep(30)
    assert store.tried_at_s == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert store.events == [deed(0), deed(1)]
    assert [entry["event"] for entry in logs if "audit events" in entry["event"]] == [
        "audit events could not be written and wait",
        "audit events are written again",
    ]
    audit.record(deed(2))
    await trio.sleep(1)
    assert store.events[-1] == deed(2)


async def test_a_store_that_is_known_to_be_well_again_is_not_waited_for(
    audit: AuditLog, store: FakeAuditStore
) -> None:
    store.refusal = FULL
    audit.record(deed())
    await trio.sleep(20)  # the next try would be at 31.5
    store.refusal = None
    audit.hurry()
    await wait_all_tasks_blocked()
    assert store.events == [deed()]
    audit.hurry()
    await trio.sleep(60)
    assert len(store.events) == 1


async def test_no_more_than_ten_thousand_wait_and_how_many_were_lost_is_an_entry(
    audit: AuditLog, store: FakeAuditStore
) -> None:
    store.refusal = FULL
    for number in range(MOST_WAITING + 2500):
        audit.record(deed(number))
        if number % 1000 == 0:
            await trio.lowlevel.checkpoint()
    await trio.sleep(5)
    store.refusal = None
    await trio.sleep(120)
    lost, *kept = store.events
    assert (lost.action, lost.count, lost.actor_type) == ("audit.lost", 2500, ActorType.SYSTEM)
    assert kept == [deed(number) for number in range(2500, MOST_WAITING + 2500)]


def test_failures_make_room_before_deeds_do() -> None:
    waiting = Waiting()
    for number in range(10):
        waiting.add(deed(number))
    for number in range(10):
        waiting.add(failure(number, path=f"/{number}", count=3))
    for number in range(10, MOST_WAITING):
        waiting.add(deed(number))
    assert len(waiting) == MOST_WAITING + 1, "with the entry about those that were lost"
    lost, *kept = waiting.take(MOST_WAITING + 5, NOW)
    assert (lost.action, lost.count) == ("audit.lost", 30)
    assert kept == [deed(number) for number in range(MOST_WAITING)]
    assert not waiting
    assert waiting.take(5, NOW) == []


def test_what_was_lost_stays_counted_when_it_could_not_be_written_either() -> None:
    waiting = Waiting()
    for number in range(MOST_WAITING + 7):
        waiting.add(deed(number))
    burst = waiting.take(1000, NOW)
    for number in range(1000):
        waiting.add(failure(number, path=f"/{number}"))
    waiting.put_back(burst)  # all failures go, and then what comes first: the seven
    lost, first = waiting.take(2, NOW)
    assert (lost.action, lost.count) == ("audit.lost", 1000 + 7)
    assert first == deed(7)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_waits_is_in_order_and_all_of_it_is_kept_or_counted(seed: int) -> None:
    rng = random.Random(seed)
    waiting, told, got = Waiting(), 0, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmlb.actors.audit.waiting.MOST_WAITING", 12)
        for number in range(400):
            if rng.random() < 0.6:
                event = rng.choice([deed, failure])(number, count=rng.randrange(1, 4))
                waiting.add(event)
                told += event.count
            else:
                burst = waiting.take(rng.randrange(1, 8), NOW)
                if rng.random() < 0.5:
                    waiting.put_back(burst)
                else:
                    got += sum(event.count for event in burst)
            deeds = [e for e in waiting._events if e.action == "endpoint.create"]
            assert deeds == sorted(deeds, key=lambda e: e.at)
            assert len(waiting) <= 13
    got += sum(event.count for event in waiting.take(100, NOW))
    assert got == told


# -- failures by the thousand


async def test_the_first_failure_is_written_at_once_and_the_others_as_one_entry(
    audit: AuditLog, store: FakeAuditStore
) -> None:
    for number in range(500):
        audit.record(failure(number))
        await trio.sleep(0.1)
    assert store.events == [failure(0)]
    await trio.sleep(20)
    assert store.events == [failure(0), failure(499, count=499)]
    assert store.tried_at_s == [0.5, 60.5]
    audit.record(failure(500))
    await trio.sleep(200)
    assert store.events[2:] == [failure(500)], "one that stays alone is one entry"


async def test_failures_that_differ_in_where_and_who_are_told_apart(
    audit: AuditLog, store: FakeAuditStore
) -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"client_address": "203.0.113.10"},
        {"path": "/v1/embeddings"},
        {"api_key_id": "k1"},
        {"actor_name": "ann"},
        {"action": "login.failed"},
    ]
    for number in range(3):
        for kind in kinds:
            audit.record(failure(number, **kind))
    await trio.sleep(70)
    assert store.events == [
        *[failure(0, **kind) for kind in kinds],
        *[failure(2, count=2, **kind) for kind in kinds],
    ]


async def test_deeds_are_never_counted_together(audit: AuditLog, store: FakeAuditStore) -> None:
    for _ in range(5):
        audit.record(deed(1))
    await trio.sleep(1)
    assert store.events == [deed(1)] * 5


@pytest.mark.simulation
async def test_a_flood_of_a_hundred_thousand_failures_is_few_entries_and_all_are_counted(
    audit: AuditLog, store: FakeAuditStore
) -> None:
    """From ever new addresses, so that no two are alike."""
    most = MOST_GROUPS + MOST_PLACES + 1
    for number in range(100_000):
        audit.record(failure(number, client_address=f"10.{number >> 8}.{number & 255}.1"))
        if number % 100 == 0:
            await trio.sleep(0.01)  # 10,000 a second
            assert len(audit._repeats) <= most
            assert len(audit._waiting) <= MOST_WAITING
            assert audit._mailbox.statistics().high_water <= 101
    await trio.sleep(120)
    assert sum(event.count for event in store.events) == 100_000
    assert len(store.events) == most + 1
    others = store.events[-1]
    assert others.count == 100_000 - most
    assert (others.client_address, others.path) == (None, None)


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::{number:x}"])
async def test_one_place_with_ever_new_failures_is_few_entries(
    audit: AuditLog, store: FakeAuditStore, address: str
) -> None:
    for number in range(1000):
        there = address.format(number=number)
        audit.record(failure(number, client_address=there, path=f"/{number}"))
    audit.record(failure(0, client_address="192.0.2.8"))
    await trio.sleep(120)
    assert sum(event.count for event in store.events) == 1001
    assert len(store.events) == MOST_PER_PLACE + 3
    (many,) = [event for event in store.events if event.count > 1]
    assert (many.client_address, many.path) == (address.format(number=999), None)
    assert many.detail == "Of many kinds, too many to tell them apart."


@pytest.mark.simulation
async def test_a_flood_from_one_address_does_not_hide_what_others_do(
    audit: AuditLog, store: FakeAuditStore
) -> None:
    for number in range(100_000):
        audit.record(failure(number))
        if number % 1000 == 0:
            audit.record(deed(number))
            await trio.sleep(0.1)
    await trio.sleep(120)
    assert sum(e.count for e in store.events if e.action == "auth.failed") == 100_000
    assert [e for e in store.events if e.action != "auth.failed"] == [
        deed(number) for number in range(0, 100_000, 1000)
    ]
    assert len(store.events) == 102


@pytest.mark.parametrize("seed", range(30))
def test_every_failure_is_told_or_counted_once(seed: int) -> None:
    rng = random.Random(seed)
    repeats, told, got, now_s = Repeats(), 0, 0, 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmlb.actors.audit.repeats.MOST_GROUPS", 3)
        patch.setattr("llmlb.actors.audit.repeats.MOST_PLACES", 1)
        for number in range(500):
            now_s += rng.choice([0.0, 0.5, 10.0])
            got += sum(event.count for event in repeats.due(now_s))
            first = repeats.take(
                failure(
                    number,
                    path=f"/{rng.randrange(6)}",
                    action=rng.choice(["auth.failed", "login.failed"]),
                ),
                now_s,
            )
            told, got = told + 1, got + (first is not None)
            assert len(repeats) <= 6
            due_s = repeats.next_due_s
            assert due_s is not None
            assert now_s < due_s <= now_s + 60
    assert got + sum(event.count for event in repeats.rest()) == told
    assert repeats.next_due_s is None


# -- somebody else who writes to the chain


async def test_a_chain_that_was_changed_behind_its_back_is_told_and_goes_on(
    audit: AuditLog, store: FakeAuditStore, told: Told
) -> None:
    audit.record(deed(0))
    await trio.sleep(1)
    store.entries += chained(store.head, [deed(66, actor_name="mallory")])
    store.head = store.entries[-1].link
    with structlog.testing.capture_logs() as logs:
        audit.record(deed(1))
        await trio.sleep(5)
    assert [event.action for event in store.events] == [
        "endpoint.create",
        "endpoint.create",
        "audit.tampered",
        "endpoint.create",
    ]
    reason = (
        "The chain ended with entry 1, and ends with entry 2 now: somebody else has written to it."
    )
    assert told.broken == [reason]
    assert store.events[2].detail == reason
    assert [e["event"] for e in logs if e["log_level"] == "error"] == [
        "the audit log was tampered with"
    ]
    assert store.tried_at_s == [0.5, 1.5, 2.5]


async def test_a_chain_that_is_changed_again_and_again_is_not_hurried_after(
    audit: AuditLog, store: FakeAuditStore, told: Told
) -> None:
    audit.record(deed(0))
    for number in range(40):
        store.head = Link(1000 + number, "a" * 64)
        await trio.sleep(1)
    assert 3 < len(told.broken) < 8


async def test_a_chain_made_anew_is_found_by_who_knows_what_it_wrote(
    audit: AuditLog, store: FakeAuditStore, told: Told
) -> None:
    audit.record(deed(0))
    await trio.sleep(1)
    store.entries = list(chained(GENESIS, [deed(0, actor_name="mallory")]))
    store.head = store.entries[-1].link
    found = await audit.verify()
    assert (found.valid, found.first_bad) == (False, 1)
    assert told.broken == ["Entry 1 is not the one that is known."]


# -- checks


async def test_the_chain_is_checked_at_the_start_and_every_day(
    nursery: trio.Nursery, store: FakeAuditStore, told: Told
) -> None:
    store.entries = list(chained(GENESIS, [deed(n) for n in range(250)]))
    store.head = store.entries[-1].link
    log = told.log(store.head)
    await nursery.start(log.run)
    await trio.sleep(CHECK_EVERY_S - 60)
    assert store.checks == 3
    assert told.broken == []
    store.entries[70] = next(chained(GENESIS, [deed()]))
    await trio.sleep(120)
    assert len(told.broken) == 1
    assert "stands where none was written" in told.broken[0]


async def test_a_check_that_cannot_read_is_told_to_who_asked_and_said(
    audit: AuditLog, store: FakeAuditStore, told: Told
) -> None:
    await trio.sleep(1)
    store.check_refusal = FULL
    with structlog.testing.capture_logs() as logs, pytest.raises(StoreUnavailable):
        await audit.verify()
    assert [entry["event"] for entry in logs] == ["the audit log could not be checked"]
    assert told.broken == []
    store.check_refusal = None
    assert (await audit.verify()).valid


async def test_who_asks_gets_a_check_that_began_after_and_several_share_one(
    audit: AuditLog, store: FakeAuditStore
) -> None:
    await trio.sleep(1)
    store.takes_s, store.checks = 1.0, 0
    answered_at_s: list[float] = []

    async def ask(after_s: float) -> None:
        await trio.sleep(after_s)
        assert (await audit.verify()).valid
        answered_at_s.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for after_s in (0.0, 0.5, 0.6):
            nursery.start_soon(ask, after_s)
    assert answered_at_s == pytest.approx([2.01, 3.02, 3.02])
    assert store.checks == 2


async def test_a_caller_who_leaves_during_a_check_leaves_it_alone(
    audit: AuditLog, store: FakeAuditStore
) -> None:
    await trio.sleep(1)
    store.takes_s = 10
    with trio.move_on_after(1) as scope:
        await audit.verify()
    assert scope.cancelled_caught
    await trio.sleep(20)
    store.takes_s = 0
    assert (await audit.verify()).valid


async def test_a_check_holds_up_no_write(audit: AuditLog, store: FakeAuditStore) -> None:
    audit.record(deed())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(audit.verify)
        await trio.sleep(1)
    assert store.events == [deed()]


# -- retention


async def test_old_entries_are_pruned_at_the_start_and_every_hour_until_none_is_left(
    nursery: trio.Nursery, store: FakeAuditStore, told: Told
) -> None:
    store.to_prune = 2500
    await nursery.start(told.log().run)
    await trio.sleep(PRUNE_EVERY_S - 1)
    assert (
        store.pruned
        == [
            (NOW + timedelta(days=-90, seconds=0), 5000),
        ]
        * 4
    )
    await trio.sleep(2)
    assert len(store.pruned) == 5
    older_than, _ = store.pruned[-1]
    assert older_than is not None
    assert older_than > NOW - timedelta(days=90)


async def test_without_days_age_plays_no_part(
    nursery: trio.Nursery, store: FakeAuditStore, told: Told
) -> None:
    await nursery.start(told.log(days=0).run)
    await trio.sleep(1)
    assert store.pruned == [(None, 5000)]


async def test_a_store_that_refuses_to_prune_is_asked_again_in_an_hour(
    audit: AuditLog, store: FakeAuditStore
) -> None:
    store.refusal = FULL
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(PRUNE_EVERY_S * 2.5)
    assert len(store.pruned) == 3
    assert {entry["event"] for entry in logs} == {"old audit entries could not be deleted"}


# -- closing


async def closed(
    told: Told, *events: AuditEvent, after_s: float = 0.0
) -> tuple[float, list[dict[str, Any]]]:
    """Tell *events*, close *after_s* later; how long that took, and what was logged."""
    log = told.log()
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            for event in events:
                log.record(event)
            await trio.sleep(after_s)
            closed_at_s = trio.current_time()
            log.close()
        took_s = trio.current_time() - closed_at_s
    with pytest.raises(ActorGone):
        log.record(deed())
    with pytest.raises(ActorGone):
        await log.verify()
    return took_s, [dict(entry) for entry in logs if entry["log_level"] == "error"]


async def test_closing_writes_the_rest_and_what_was_counted_too(
    told: Told, store: FakeAuditStore
) -> None:
    events = [deed(n) for n in range(2500)] + [failure(n) for n in range(50)]
    assert await closed(told, *events) == (0, [])
    assert store.events == [*events[:2501], failure(49, count=49)]


async def test_closing_takes_in_what_was_told_but_not_yet_looked_at(
    told: Told, store: FakeAuditStore
) -> None:
    log = told.log()
    for number in range(3):
        log.record(deed(number))
    log.close()
    await log.run()
    assert len(store.events) == 3


async def test_closing_waits_for_the_write_under_way_and_writes_nothing_twice(
    told: Told, store: FakeAuditStore
) -> None:
    store.takes_s = 2.0
    assert await closed(told, deed(), after_s=1.0) == (1.5, [])
    assert store.events == [deed()]


async def test_a_write_that_fails_while_closing_is_tried_once_more(
    told: Told, store: FakeAuditStore
) -> None:
    store.takes_s, store.refusal = 1.0, FULL
    took_s, errors = await closed(told, deed(), deed(1), after_s=1.0)
    assert took_s == 1.5
    assert [(e["event"], e["events"]) for e in errors] == [("audit events were lost", 2)]
    assert "its disk is full" in errors[0]["reason"]


async def test_a_chain_that_was_changed_last_is_told_in_the_last_entries(
    told: Told, store: FakeAuditStore
) -> None:
    store.head = Link(5, "a" * 64)
    assert [e["event"] for e in (await closed(told, deed()))[1]] == [
        "the audit log was tampered with"
    ]
    assert [event.action for event in store.events] == ["audit.tampered", "endpoint.create"]


@pytest.mark.parametrize("after_s", [0.0, 1.0], ids=["with the last write", "with one under way"])
async def test_a_store_that_hangs_at_the_end_does_not_hang_the_house(
    told: Told, store: FakeAuditStore, after_s: float
) -> None:
    store.takes_s = FOR_EVER_S
    took_s, errors = await closed(told, deed(), deed(1), failure(), failure(1), after_s=after_s)
    assert took_s == CLOSING_WRITE_LIMIT_S
    ((event, lost, reason),) = [(e["event"], e["events"], e["reason"]) for e in errors]
    assert (event, reason) == ("audit events were lost", "no answer within 5 s")
    assert lost >= 3


async def test_a_check_under_way_does_not_hold_up_the_end(
    told: Told, store: FakeAuditStore
) -> None:
    store.takes_s = FOR_EVER_S
    assert await closed(told, after_s=1.0) == (0, [])


# -- the whole


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_happens_every_deed_is_written_once_in_a_chain_that_is_whole(
    told: Told, store: FakeAuditStore, seed: int
) -> None:
    """Refusals, slow writes, checks, and impatient callers, in any order."""
    rng = random.Random(seed)
    deeds, failures = 0, 0
    log = told.log()

    async def impatient_check(patience_s: float) -> None:
        with trio.move_on_after(patience_s), suppress(StoreUnavailable):
            assert (await log.verify()).valid

    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        async with trio.open_nursery() as callers:
            for _ in range(120):
                match rng.randrange(8):
                    case 0:
                        store.refusal = FULL if rng.random() < 0.6 else None
                        store.check_refusal = store.refusal
                    case 1:
                        store.takes_s = rng.choice([0.0, 0.01, 0.7, 2.0])
                    case 2:
                        callers.start_soon(impatient_check, rng.random())
                    case 3:
                        log.hurry()
                    case 4 | 5:
                        log.record(deed(deeds))
                        deeds += 1
                    case _:
                        log.record(failure(failures, path=rng.choice("ab")))
                        failures += 1
                await trio.sleep(rng.choice([0.0, 0.0, 0.05, 0.6, 3.0, 40.0]))
        store.refusal, store.takes_s = None, 0.0
        log.close()
    assert [e for e in store.events if e.action == "endpoint.create"] == [
        deed(number) for number in range(deeds)
    ]
    assert sum(e.count for e in store.events if e.action == "auth.failed") == failures
    assert {e.action for e in store.events} <= {"endpoint.create", "auth.failed"}
    check = ChainCheck()
    check.take(Chunk(GENESIS, store.head, [entry.written() for entry in store.entries]))
    assert check.result().valid
    assert told.broken == []
