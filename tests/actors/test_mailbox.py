"""Asking and telling, and what happens when either side goes away."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.mailbox import ActorGone, Ask, Mailbox, MailboxStatistics


@dataclass(slots=True, eq=False)
class Take(Ask[int]):
    """Answered with a token, as soon as there is one."""


@dataclass(slots=True, eq=False)
class GiveBack:
    token: int


class Cloakroom:
    """Owns tokens; hands each to one caller at a time, who gives it back."""

    def __init__(self, tokens: int) -> None:
        self.mailbox = Mailbox[Take | GiveBack]()
        self.free = list(range(tokens))
        self._line: list[Take] = []

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self.mailbox.serve(self._handle, task_status=task_status)

    def _handle(self, message: Take | GiveBack) -> None:
        match message:
            case Take():
                self._line.append(message)
            case GiveBack(token):
                assert token not in self.free
                self.free.append(token)
        while self.free and self._line:
            if self._line.pop(0).reply.answer(self.free[-1]):
                self.free.pop()


@pytest.mark.parametrize("seed", range(400))
async def test_no_answer_is_lost_or_given_twice_however_callers_are_cancelled(seed: int) -> None:
    rng = random.Random(seed)
    room = Cloakroom(tokens=rng.randint(1, 3))
    everything = set(room.free)
    held: set[int] = set()

    async def steps(n: int) -> None:
        for _ in range(n):
            await trio.lowlevel.checkpoint()

    async def impatient(before: int, patience: int, keeps: int) -> None:
        await steps(before)
        async with trio.open_nursery() as inner:

            async def lose_patience() -> None:
                await steps(patience)
                inner.cancel_scope.cancel()

            inner.start_soon(lose_patience)
            token = await room.mailbox.ask(Take())
            assert token not in held
            held.add(token)
            try:
                await steps(keeps)
            finally:
                held.discard(token)
                room.mailbox.tell(GiveBack(token))  # also while cancelled

    async with trio.open_nursery() as house:
        await house.start(room.run)
        async with trio.open_nursery() as callers:
            for _ in range(12):
                callers.start_soon(impatient, rng.randrange(5), rng.randrange(7), rng.randrange(4))
        await wait_all_tasks_blocked()
        room.mailbox.close()
    assert set(room.free) == everything
    assert len(room.free) == len(everything)


@pytest.mark.parametrize("first", ["answered", "cancelled"])
async def test_answered_and_cancelled_in_the_same_instant_both_sides_agree(first: str) -> None:
    mailbox, got, asked = Mailbox[Take](), list[int](), list[Take]()
    scope = trio.CancelScope()

    async def caller() -> None:
        with scope:
            got.append(await mailbox.ask(Take()))

    async with trio.open_nursery() as nursery:
        await nursery.start(mailbox.serve, asked.append)
        nursery.start_soon(caller)
        await wait_all_tasks_blocked()
        if first == "cancelled":
            scope.cancel()
        taken = asked[0].reply.answer(7)
        scope.cancel()
        await wait_all_tasks_blocked()
        mailbox.close()
    assert taken is (first == "answered")
    assert got == ([7] if taken else [])


async def test_a_refusal_is_raised_in_the_caller_and_reports_whether_it_was_taken() -> None:
    mailbox, asked = Mailbox[Take](), list[Take]()

    async def caller() -> None:
        with pytest.raises(LookupError, match="no token"):
            await mailbox.ask(Take())

    async with trio.open_nursery() as nursery:
        await nursery.start(mailbox.serve, asked.append)
        nursery.start_soon(caller)
        await wait_all_tasks_blocked()
        reply = asked[0].reply
        first = (reply.wanted, reply.refuse(LookupError("no token")))
        assert first == (True, True)
        later = (reply.wanted, reply.refuse(LookupError("too late")), reply.answer(7))
        assert later == (False, False, False)
        mailbox.close()


async def test_an_ask_in_a_cancelled_scope_is_heard_but_wants_no_answer() -> None:
    mailbox, taken = Mailbox[Take](), list[bool]()

    async with trio.open_nursery() as nursery:
        await nursery.start(mailbox.serve, lambda message: taken.append(message.reply.answer(7)))
        with trio.CancelScope() as scope:
            scope.cancel()
            await mailbox.ask(Take())
        assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        mailbox.close()
    assert taken == [False]


@pytest.mark.parametrize("ending", ["closed", "cancelled", "crashed"])
async def test_parked_callers_and_later_ones_learn_that_the_actor_is_gone(ending: str) -> None:
    mailbox, learned = Mailbox[Take | GiveBack](), list[int]()

    def handle(message: Take | GiveBack) -> None:
        if isinstance(message, GiveBack):
            raise ZeroDivisionError

    async def caller(n: int) -> None:
        with pytest.raises(ActorGone):
            await mailbox.ask(Take())
        learned.append(n)

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        if ending == "crashed":
            with pytest.raises(ZeroDivisionError):
                await mailbox.serve(handle, task_status=task_status)
        else:
            await mailbox.serve(handle, task_status=task_status)

    async with trio.open_nursery() as callers:
        async with trio.open_nursery() as house:
            await house.start(run)
            for n in range(5):
                callers.start_soon(caller, n)
            await wait_all_tasks_blocked()
            if ending == "closed":
                mailbox.close()
            elif ending == "cancelled":
                house.cancel_scope.cancel()
            else:
                mailbox.tell(GiveBack(0))
                mailbox.tell(Take())  # told, but never handled
        await wait_all_tasks_blocked()
        assert sorted(learned) == [0, 1, 2, 3, 4]
    with pytest.raises(ActorGone):
        await mailbox.ask(Take())
    with pytest.raises(ActorGone):
        mailbox.tell(GiveBack(0))


async def test_a_caller_that_asked_before_the_actor_ran_is_answered_when_it_does() -> None:
    room = Cloakroom(tokens=1)
    got: list[int] = []

    async def caller() -> None:
        got.append(await room.mailbox.ask(Take()))
        room.mailbox.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller)
        await wait_all_tasks_blocked()
        assert got == []
        nursery.start_soon(room.run)
    assert got == [0]


async def test_a_burst_is_handled_in_order_and_in_one_go() -> None:
    mailbox, handled = Mailbox[int](), list[int]()
    for n in range(1000):
        mailbox.tell(n)
    seen_by_others: list[int] = []

    async def other() -> None:
        while len(handled) < 1000:
            seen_by_others.append(len(handled))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        nursery.start_soon(mailbox.serve, handled.append)
        await wait_all_tasks_blocked()
        mailbox.close()
    assert handled == list(range(1000))
    assert set(seen_by_others) == {0}


async def test_an_actor_that_tells_itself_for_ever_lets_the_others_run() -> None:
    mailbox = Mailbox[int]()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.serve, lambda n: mailbox.tell(n + 1))
        mailbox.tell(0)
        for _ in range(100):  # another task; it would never get here
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_telling_works_in_a_cancelled_task() -> None:
    mailbox, handled = Mailbox[str](), list[str]()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.serve, handled.append)
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                mailbox.tell("from finally")
        await wait_all_tasks_blocked()
        mailbox.close()
    assert handled == ["from finally"]


async def test_closing_lets_what_was_told_be_handled_and_nothing_more() -> None:
    mailbox, handled = Mailbox[str](), list[str]()
    mailbox.tell("first")
    mailbox.tell("second")
    mailbox.close()
    with pytest.raises(ActorGone):
        mailbox.tell("third")
    await mailbox.serve(handled.append)
    assert handled == ["first", "second"]
    mailbox.close()  # closing twice is harmless


async def test_the_statistics_say_what_waits_and_what_waited_at_most() -> None:
    mailbox = Mailbox[int]()
    assert mailbox.statistics() == MailboxStatistics(waiting=0, high_water=0)
    for n in range(5):
        mailbox.tell(n)
    assert mailbox.statistics() == MailboxStatistics(waiting=5, high_water=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.serve, lambda n: None)
        await wait_all_tasks_blocked()
        for n in range(3):
            mailbox.tell(n)
        await wait_all_tasks_blocked()
        assert mailbox.statistics() == MailboxStatistics(waiting=0, high_water=5)
        mailbox.close()
