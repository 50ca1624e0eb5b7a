"""What a run may not depend on, and what it relies on inside Trio and httpcore."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import httpcore._async.http11
import pytest
import trio
import trio._core._run
from trio.testing import MockClock

from tests.simulation import repeatable as inside
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
    connections: Any = httpcore._async.http11
    before = scheduler._r.getstate(), scheduler._ALLOW_DETERMINISTIC_SCHEDULING, connections.time

    def broken_off() -> None:
        with repeatable("1"):
            assert scheduler._ALLOW_DETERMINISTIC_SCHEDULING is True
            assert connections.time is not before[2]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken_off()
    after = scheduler._r.getstate(), scheduler._ALLOW_DETERMINISTIC_SCHEDULING, connections.time
    assert after == before


async def test_idle_connections_grow_old_in_virtual_time() -> None:
    with repeatable("1"):
        time: Any = inside.CONNECTIONS.time
        before_s = time.monotonic()
        await trio.sleep(60)
        assert time.monotonic() == before_s + 60


RIGHT: dict[str, Any] = {
    "scheduler": SimpleNamespace(_r=random.Random(), _ALLOW_DETERMINISTIC_SCHEDULING=False),
    "connections": SimpleNamespace(time=SimpleNamespace()),
}


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("scheduler", SimpleNamespace(_ALLOW_DETERMINISTIC_SCHEDULING=False)),
        ("scheduler", SimpleNamespace(_r=random, _ALLOW_DETERMINISTIC_SCHEDULING=False)),
        ("scheduler", SimpleNamespace(_r=random.Random())),
        ("connections", SimpleNamespace()),
        ("connections", SimpleNamespace(time=random.random)),
    ],
)
def test_whatever_moves_is_missed_at_once(part: str, wrong: Any) -> None:
    check(**RIGHT)
    with pytest.raises(Moved):
        check(**{**RIGHT, part: wrong})
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
