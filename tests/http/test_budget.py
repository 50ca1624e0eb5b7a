"""The time of one call: whose it is, and that its end is never too early, and seldom moved."""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager

import pytest
import trio

from llmlb.http.budget import RENEWED_EVERY_S, Budget, Patience
from llmlb.http.cutoff import CutOff

pytestmark = pytest.mark.usefixtures("autojump_clock")

PATIENCE = Patience(whole_s=60, first_token_s=300, token_gap_s=120, stream_s=3600)


async def ages() -> None:
    await trio.sleep(80_000)


class Counted:
    """A scope whose deadline counts how often it is moved."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self.scope, self.moves = scope, 0

    @property
    def deadline(self) -> float:
        return self.scope.deadline

    @deadline.setter
    def deadline(self, at_s: float) -> None:
        self.moves += 1
        self.scope.deadline = at_s


@asynccontextmanager
async def spent(patience: Patience = PATIENCE, *, lasts_s: float) -> AsyncIterator[Budget]:
    """A budget of a stream, within which the block is cancelled after *lasts_s*."""
    budget, started_s = Budget(patience, trio.current_time), trio.current_time()
    with budget.scope(CutOff(), stream=True) as scope:
        yield budget
        await ages()
    assert scope.cancelled_caught
    assert trio.current_time() - started_s == pytest.approx(lasts_s)


@pytest.mark.parametrize(
    ("stream", "own_s", "lasts_s"),
    [(True, 1e9, 300), (False, 1e9, 60), (True, 9, 9), (False, 9, 9)],
)
async def test_until_it_says_anything(stream: bool, own_s: float, lasts_s: float) -> None:
    budget = Budget(Patience(60, 300, 120, 3600, own_s), trio.current_time)
    with budget.scope(CutOff(), stream=stream):
        await ages()
    assert trio.current_time() == pytest.approx(lasts_s)
    assert not budget.clients_turn


@pytest.mark.parametrize("gap_s", [1.0, 5.0, 119.0])
async def test_slow_tokens_have_exactly_the_time_between_two(gap_s: float) -> None:
    async with spent(lasts_s=3 * gap_s + 120) as budget:
        for _ in range(3):
            await trio.sleep(gap_s)
            budget.heard()


async def test_the_time_until_the_first_token_is_over_with_it() -> None:
    async with spent(lasts_s=120) as budget:
        budget.heard()


@pytest.mark.parametrize("n_tokens", [2, 50, 1001])
async def test_quick_tokens_move_it_twice_a_second_and_no_stall_is_seen_early(
    n_tokens: int,
) -> None:
    budget = Budget(PATIENCE, trio.current_time)
    with budget.scope(CutOff(), stream=True) as scope:
        counted = Counted(scope)
        budget._scope = counted  # type: ignore[assignment]
        for _ in range(n_tokens):
            await trio.sleep(0.01)
            budget.heard()
        last_s = trio.current_time()
        await ages()

    assert 120 <= trio.current_time() - last_s <= 120 + RENEWED_EVERY_S + 1e-6
    assert counted.moves <= 2 * (last_s + 1)


async def test_the_end_of_all_is_never_moved() -> None:
    async with spent(Patience(60, 300, 120, 200), lasts_s=200) as budget:
        for _ in range(150):
            await trio.sleep(1.3)
            budget.heard()
            budget.heard()


async def test_once_all_is_said_nothing_is_waited_for() -> None:
    budget = Budget(PATIENCE, trio.current_time)
    with budget.scope(CutOff(), stream=True) as scope:
        budget.ended()
        await ages()
    assert not scope.cancelled_caught


# -- the client's time


async def takes(turn_s: float | None) -> None:
    if turn_s is not None:
        await trio.sleep(turn_s)


async def test_a_client_that_takes_it_at_once_costs_no_look_at_a_clock() -> None:
    def clock() -> float:
        looked.append(1)
        return trio.current_time()

    looked: list[int] = []
    budget = Budget(PATIENCE, clock)
    with budget.scope(CutOff(), stream=True) as scope:
        looked.clear()
        before_s = scope.deadline
        await budget.on_the_clients_time(takes(None))
        assert (looked, scope.deadline, budget.client_s) == ([], before_s, 0)


async def test_what_the_client_takes_is_not_the_endpoints() -> None:
    async with spent(lasts_s=1000 + 120) as budget:
        budget.heard()
        await budget.on_the_clients_time(takes(1000))
        assert budget.client_s == pytest.approx(1000)
        assert not budget.clients_turn


async def test_a_client_that_takes_nothing_has_the_end_of_all() -> None:
    budget = Budget(PATIENCE, trio.current_time)
    with budget.scope(CutOff(), stream=True) as scope:
        budget.heard()
        await budget.on_the_clients_time(takes(1e9))
    assert scope.cancelled_caught
    assert budget.clients_turn
    assert trio.current_time() == pytest.approx(3600)


@pytest.mark.parametrize("waits", [False, True])
async def test_what_it_raises_comes_through(waits: bool) -> None:
    async def breaks() -> None:
        if waits:
            await trio.sleep(1)
        raise KeyError("x")

    budget = Budget(PATIENCE, trio.current_time)
    with budget.scope(CutOff(), stream=True), pytest.raises(KeyError):
        await budget.on_the_clients_time(breaks())


async def test_what_is_awaited_is_cancelled_as_by_await() -> None:
    seen: list[str] = []

    async def taking() -> None:
        with trio.CancelScope(deadline=trio.current_time() + 2) as inner:
            await trio.sleep_forever()
        assert inner.cancelled_caught
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            seen.append("cleaned up")

    budget = Budget(PATIENCE, trio.current_time)
    with trio.move_on_after(5) as outer, budget.scope(CutOff(), stream=True):
        await budget.on_the_clients_time(taking())
    assert outer.cancelled_caught
    assert (seen, trio.current_time()) == (["cleaned up"], 8)


def test_what_is_thrown_into_it_arrives_where_it_waits() -> None:
    @types.coroutine
    def trap() -> Generator[str, str, str]:
        return (yield "trap")

    async def taking() -> None:
        with pytest.raises(KeyError, match="first"):
            await trap()
        assert await trap() == "answer"

    with_scope = Budget(PATIENCE, lambda: 0.0)
    with_scope._scope = trio.CancelScope()
    awaited = with_scope.on_the_clients_time(taking())
    assert awaited.send(None) == "trap"
    assert awaited.throw(KeyError("first")) == "trap"
    with pytest.raises(StopIteration):
        awaited.send("answer")


async def test_the_cut_ends_it_while_the_client_is_waited_for() -> None:
    cut_off, budget = CutOff(), Budget(PATIENCE, trio.current_time)
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            with budget.scope(cut_off, stream=True):
                await budget.on_the_clients_time(takes(1e9))

        nursery.start_soon(call)
        await trio.sleep(7)
        cut_off.now()
    assert trio.current_time() == pytest.approx(7)
