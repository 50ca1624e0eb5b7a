"""That accounts change one by one, durably, for everybody at once, whoever loses patience."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import structlog
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.accounts import Accounts, KeyId, Row, Step, UserId
from llmlb.accounts.changes import add_key, add_user, remove_key, remove_user
from llmlb.accounts.credentials import find_key
from llmlb.actors.keyring import CLOSING_WRITE_LIMIT_S, KeyRing
from llmlb.actors.mailbox import ActorGone
from llmlb.errors import Conflict, InvalidRequest, LbError, StoreUnavailable
from tests.actors.conftest import FakeAccountStore
from tests.fakes.accounts import key, secret_of, user

FULL = StoreUnavailable("The database is not available (its disk is full).")
FOR_EVER_S = 1e9


@pytest.fixture
def store() -> FakeAccountStore:
    return FakeAccountStore(user(), key("old"))


@pytest.fixture
async def keyring(nursery: trio.Nursery, store: FakeAccountStore) -> KeyRing:
    keyring = KeyRing(store, store.accounts)
    await nursery.start(keyring.run)
    return keyring


def puts(*rows: Row) -> Callable[[Accounts], Step[str]]:
    """A rule that puts *rows* in, whatever there is."""
    return lambda _: Step("done", put=rows)


async def test_a_change_is_in_the_store_and_in_the_view_when_it_is_answered(
    keyring: KeyRing, store: FakeAccountStore
) -> None:
    store.takes_s = 1.0
    before = keyring.accounts
    assert await keyring.change(partial(add_key, key=key("new"))) == key("new")
    assert trio.current_time() == 1.0
    assert keyring.accounts == store.accounts
    assert keyring.accounts.keys.keys() == {"key-old", "key-new"}
    assert before.keys.keys() == {"key-old"}, "and who holds an earlier view still has it"


async def test_nobody_sees_a_change_before_it_is_safe(
    nursery: trio.Nursery, keyring: KeyRing, store: FakeAccountStore
) -> None:
    store.takes_s = 5.0
    nursery.start_soon(keyring.change, partial(remove_key, key_id=KeyId("key-old"), owner=None))
    await trio.sleep(4.9)
    assert find_key(keyring.accounts, secret_of("old")) is not None
    await trio.sleep(0.2)
    assert find_key(keyring.accounts, secret_of("old")) is None


async def test_changes_are_written_one_at_a_time_in_the_order_in_which_they_came(
    nursery: trio.Nursery, keyring: KeyRing, store: FakeAccountStore
) -> None:
    store.takes_s = 1.0
    answered: list[tuple[str, float]] = []

    async def add(name: str) -> None:
        await keyring.change(partial(add_key, key=key(name)))
        answered.append((name, trio.current_time()))

    for name in "abc":
        nursery.start_soon(add, name)
        await wait_all_tasks_blocked()
    await trio.sleep(10)
    assert store.begun == [("key-a", 0), ("key-b", 1), ("key-c", 2)]
    assert answered == [("a", 1), ("b", 2), ("c", 3)]


async def test_a_rule_is_judged_by_what_the_changes_before_it_have_made(
    nursery: trio.Nursery, keyring: KeyRing, store: FakeAccountStore
) -> None:
    """Else two could take one name, or two administrators remove each other."""
    store.takes_s = 1.0
    await keyring.change(puts(user("bob")))
    refused: list[str] = []

    async def attempt(rule: Callable[[Accounts], Step[Any]]) -> None:
        try:
            await keyring.change(rule)
        except LbError as refusal:
            refused.append(refusal.error_code())

    rules: list[Callable[[Accounts], Step[Any]]] = [
        partial(add_user, user=replace(user("eve"), username="x")),
        partial(add_user, user=replace(user("vic"), username="x")),
        partial(remove_user, user_id=UserId("user-eve")),
        partial(remove_user, user_id=UserId("user-ann")),
        partial(remove_user, user_id=UserId("user-bob")),
    ]
    for rule in rules:
        nursery.start_soon(attempt, rule)
        await wait_all_tasks_blocked()
    await trio.sleep(10)
    assert refused == ["conflict", "last_admin"]
    assert store.accounts.by_name.keys() == keyring.accounts.by_name.keys() == {"bob"}


async def test_a_rule_that_refuses_raises_in_its_caller_and_writes_nothing(
    keyring: KeyRing, store: FakeAccountStore
) -> None:
    before = keyring.accounts
    with pytest.raises(Conflict, match="'ann' is taken"):
        await keyring.change(partial(add_user, user=replace(user("bob"), username="ann")))
    assert keyring.accounts is before
    assert store.begun == []


async def test_a_step_that_changes_nothing_is_answered_without_a_write(
    keyring: KeyRing, store: FakeAccountStore
) -> None:
    before = keyring.accounts
    assert await keyring.change(lambda _: Step("nothing to do")) == "nothing to do"
    assert keyring.accounts is before
    assert store.begun == []


async def test_what_needs_no_write_waits_for_those_before_it(
    nursery: trio.Nursery, keyring: KeyRing, store: FakeAccountStore
) -> None:
    store.takes_s = 1.0
    nursery.start_soon(keyring.change, puts(key("new")))
    await wait_all_tasks_blocked()
    assert await keyring.change(lambda accounts: Step(len(accounts.keys))) == 2
    assert trio.current_time() == 1.0


async def test_a_refused_write_raises_in_its_caller_and_changes_nothing(
    keyring: KeyRing, store: FakeAccountStore
) -> None:
    store.refusal, before = FULL, keyring.accounts
    with (
        structlog.testing.capture_logs() as logs,
        pytest.raises(StoreUnavailable, match="disk is full"),
    ):
        await keyring.change(puts(key("new")))
    assert keyring.accounts is before
    assert [entry["event"] for entry in logs] == ["a change of accounts was not saved"]

    store.refusal = None
    await keyring.change(puts(key("newer")))
    assert keyring.accounts == store.accounts
    assert keyring.accounts.keys.keys() == {"key-old", "key-newer"}


async def test_a_refused_write_holds_up_none_of_those_that_wait(
    nursery: trio.Nursery, keyring: KeyRing, store: FakeAccountStore
) -> None:
    store.takes_s, store.refusal = 1.0, FULL

    async def in_vain() -> None:
        with pytest.raises(StoreUnavailable):
            await keyring.change(puts(key("lost")))
        store.refusal = None

    nursery.start_soon(in_vain)
    await wait_all_tasks_blocked()
    await keyring.change(puts(key("kept")))
    assert trio.current_time() == 2.0
    assert store.accounts.keys.keys() == {"key-old", "key-kept"}


async def test_whoever_gives_up_during_the_write_leaves_it_alone(
    keyring: KeyRing, store: FakeAccountStore
) -> None:
    store.takes_s = 2.0
    with trio.move_on_after(1) as patience:
        await keyring.change(puts(key("new")))
    assert patience.cancelled_caught
    assert "key-new" not in keyring.accounts.keys
    await trio.sleep(1.5)
    assert keyring.accounts == store.accounts
    assert "key-new" in keyring.accounts.keys


@pytest.mark.parametrize("first_seed", range(0, 300, 50))
async def test_view_and_store_agree_however_callers_are_cancelled(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 50):
        await callers_are_cancelled_at_random(seed)


async def callers_are_cancelled_at_random(seed: int) -> None:
    """Each is told the truth, or not told at all, and what it was told is true at once."""
    rng = random.Random(seed)
    store = Moody(rng)
    keyring = KeyRing(store, store.accounts)
    answered, refused = set[str](), set[str]()

    async def caller(number: int) -> None:
        name = f"key-{number}"
        await trio.sleep(rng.choice((0, 0, 0.5, 1, 2)))
        removes = number >= 8 and rng.random() < 0.5
        with trio.move_on_after(rng.choice((0, 0.5, 1, 1.5, 3, FOR_EVER_S))):
            try:
                if removes:
                    await keyring.change(
                        partial(remove_key, key_id=KeyId(f"key-{number - 8}"), owner=None)
                    )
                    assert f"key-{number - 8}" not in keyring.accounts.keys
                else:
                    await keyring.change(partial(add_key, key=key(str(number))))
                    assert name in keyring.accounts.keys
            except LbError:
                refused.add(name)
            else:
                assert store.accounts == keyring.accounts
                answered.add(name)

    async with trio.open_nursery() as house:
        await house.start(keyring.run)
        async with trio.open_nursery() as callers:
            for number in range(14):
                callers.start_soon(caller, number)
        await trio.sleep(100)
        assert keyring.accounts == store.accounts
        assert not answered & refused
        keyring.close()


class Moody(FakeAccountStore):
    """Takes its time, and refuses, as it likes."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(user())
        self._rng = rng

    async def _write(self, what: str, apply: Callable[[], None]) -> None:
        self.takes_s = self._rng.choice((0, 0.5, 1))
        self.refusal = FULL if self._rng.random() < 0.2 else None
        await super()._write(what, apply)


# -- closing


async def test_closing_finishes_what_was_asked_and_then_asks_are_in_vain(
    store: FakeAccountStore,
) -> None:
    keyring, answered = KeyRing(store, store.accounts), list[str]()
    store.takes_s = 1.0

    async def add(name: str) -> None:
        await keyring.change(puts(key(name)))
        answered.append(name)

    async with trio.open_nursery() as house:
        await house.start(keyring.run)
        for name in "abc":
            house.start_soon(add, name)
            await wait_all_tasks_blocked()
        keyring.close()
        keyring.close()
        await wait_all_tasks_blocked()
        with pytest.raises(ActorGone):
            await keyring.change(puts(key("late")))
    assert trio.current_time() == 3.0
    assert answered == ["a", "b", "c"]
    assert keyring.accounts == store.accounts
    assert keyring.accounts.keys.keys() == {"key-old", "key-a", "key-b", "key-c"}
    with pytest.raises(ActorGone):
        await keyring.change(puts(key("later")))
    keyring.close()


async def test_closing_when_nothing_was_asked_takes_no_time(store: FakeAccountStore) -> None:
    keyring = KeyRing(store, store.accounts)
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as house:
            await house.start(keyring.run)
            keyring.close()
    assert trio.current_time() == 0
    assert logs == []


async def test_a_store_that_hangs_is_not_waited_for_for_ever(store: FakeAccountStore) -> None:
    keyring, gone = KeyRing(store, store.accounts), list[str]()
    store.takes_s = FOR_EVER_S

    async def in_vain(name: str) -> None:
        with pytest.raises(ActorGone):
            await keyring.change(puts(key(name)))
        gone.append(name)

    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as house:
            await house.start(keyring.run)
            for name in "ab":
                house.start_soon(in_vain, name)
                await wait_all_tasks_blocked()
            await trio.sleep(10)
            keyring.close()
    assert trio.current_time() == 10 + CLOSING_WRITE_LIMIT_S
    assert sorted(gone) == ["a", "b"]
    assert [entry["event"] for entry in logs] == [
        "the last changes of accounts may not have been saved"
    ]


async def test_whoever_asks_is_told_when_the_house_falls(store: FakeAccountStore) -> None:
    keyring = KeyRing(store, store.accounts)
    store.takes_s = 1.0

    async def in_vain() -> None:
        with pytest.raises(ActorGone):
            await keyring.change(puts(key("a")))

    async with trio.open_nursery() as callers, trio.open_nursery() as house:
        await house.start(keyring.run)
        callers.start_soon(in_vain)
        await wait_all_tasks_blocked()
        house.cancel_scope.cancel()
    assert keyring.accounts.keys.keys() == {"key-old"}


async def test_a_write_that_outlives_the_house_is_left_to_the_next_start(
    store: FakeAccountStore,
) -> None:
    """A thread cannot be cancelled: what it writes is there, though nobody is told."""

    class Shielded(FakeAccountStore):
        async def _write(self, what: str, apply: Callable[[], None]) -> None:
            with trio.CancelScope(shield=True):
                await super()._write(what, apply)

    slow = Shielded(user())
    slow.takes_s = 1.0
    keyring = KeyRing(slow, slow.accounts)

    async def in_vain() -> None:
        with pytest.raises(ActorGone):
            await keyring.change(puts(key("a")))

    async with trio.open_nursery() as callers, trio.open_nursery() as house:
        await house.start(keyring.run)
        callers.start_soon(in_vain)
        await wait_all_tasks_blocked()
        house.cancel_scope.cancel()
    assert trio.current_time() == 1.0
    assert slow.accounts.keys.keys() == {"key-a"}


async def test_a_rule_that_is_broken_ends_the_house(store: FakeAccountStore) -> None:
    """Nothing is known of what there is then, and to go on would be to guess."""
    keyring = KeyRing(store, store.accounts)

    def broken(_: Accounts) -> Step[None]:
        raise ZeroDivisionError

    async def ask() -> None:
        with pytest.raises(ActorGone):
            await keyring.change(broken)

    async def stand() -> None:
        async with trio.open_nursery() as callers:
            callers.start_soon(ask)
            await keyring.run()

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        await stand()


async def test_a_refusal_of_the_store_is_the_callers_own_error(
    keyring: KeyRing, store: FakeAccountStore
) -> None:
    store.refusal = InvalidRequest("no")
    with pytest.raises(InvalidRequest):
        await keyring.change(puts(key("new")))
