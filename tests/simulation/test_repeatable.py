"""What a run may not depend on, and what it relies on inside Trio."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio._core._run
from trio.testing import MockClock

from tests.simulation.repeatable import Moved, check, repeatable


def in_which_order() -> list[int]:
    """In which order Trio runs tasks that are all runnable, ten times over."""
    order: list[int] = []

    async def step(number: int) -> None:
        for _ in range(10):
            order.append(number)
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(step, number)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return order


def test_the_same_seed_runs_tasks_in_the_same_order_and_another_one_does_not() -> None:
    orders = []
    for seed in ("1", "1", "2"):
        with repeatable(seed):
            orders.append(in_which_order())
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_everything_is_as_it_was_afterwards() -> None:
    scheduler: Any = trio._core._run
    before = scheduler._r.getstate(), scheduler._ALLOW_DETERMINISTIC_SCHEDULING

    def broken_off() -> None:
        with repeatable("1"):
            assert scheduler._ALLOW_DETERMINISTIC_SCHEDULING is True
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken_off()
    after = scheduler._r.getstate(), scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    assert after == before


@pytest.mark.parametrize(
    "wrong",
    [
        SimpleNamespace(_ALLOW_DETERMINISTIC_SCHEDULING=False),
        SimpleNamespace(_r=random, _ALLOW_DETERMINISTIC_SCHEDULING=False),
        SimpleNamespace(_r=random.Random()),
    ],
)
def test_whatever_moves_is_missed_at_once(wrong: Any) -> None:
    check(SimpleNamespace(_r=random.Random(), _ALLOW_DETERMINISTIC_SCHEDULING=False))
    with pytest.raises(Moved):
        check(wrong)
    check()  # where it really is


def test_trio_still_reads_its_generator_and_its_flag_where_they_are_set() -> None:
    """A name that is only left over would be there, and change nothing."""

    class Counting(random.Random):
        shuffled = 0

        def shuffle(self, x: Any) -> None:
            Counting.shuffled += 1

    scheduler: Any = trio._core._run
    before, scheduler._r = scheduler._r, Counting()
    try:
        with repeatable("1"):
            in_which_order()
    finally:
        scheduler._r = before
    assert Counting.shuffled >= 10
