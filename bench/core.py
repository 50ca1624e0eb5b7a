"""What one request costs between the two connections: the core, without any socket or wire.

`python -m bench.core` serves requests in process, from an endpoint and to clients that cost
nothing, with keys, history, statistics and metrics on, and prints µs of CPU: as a whole, and step
by step. What the database takes is told apart, for in the balancer it runs in a thread. With
`--growth`: for 1 to 1,000 endpoints and models; with `--profile`: where the time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from statistics import median

import trio

from bench.rig import Rig, fleet, rig
from bench.steps import lease_us, steps_of

AT_ONCE, EACH, ROUNDS = 32, 60, 7


class Passes(trio.abc.Instrument):
    """Counts how often the scheduler gives a task its turn."""

    turns = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        self.turns += 1


async def load(it: Rig, each: int = EACH) -> None:
    """So many requests one after the other, of 32 clients at once."""

    async def client() -> None:
        for _ in range(each):
            await it.serve()

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(client)


async def whole(it: Rig, each: int = EACH) -> tuple[float, float, float]:
    """µs of a request, µs of the database beside it, and turns of the scheduler."""
    await load(it, each)  # until everything is warm
    core_us, database_us, n = [], [], AT_ONCE * each
    for _ in range(ROUNDS):
        began_s, database_s = time.thread_time(), it.inline.took_s
        await load(it, each)
        await it.house.journal.flush()
        await it.house.history.flush()
        in_database_s = it.inline.took_s - database_s
        core_us.append((time.thread_time() - began_s - in_database_s) / n * 1e6)
        database_us.append(in_database_s / n * 1e6)
    passes = Passes()
    trio.lowlevel.add_instrument(passes)
    await load(it, each)
    trio.lowlevel.remove_instrument(passes)
    return median(core_us), median(database_us), passes.turns / n


def tell(text: str) -> None:
    """Write *text* for whoever runs this."""
    print(text, flush=True)  # noqa: T201 - a command's answer


async def costs() -> None:
    """One request, and each of its steps."""
    async with rig(fleet(2, 2, offering=2)) as it:
        core_us, database_us, turns = await whole(it)
        tell(f"{core_us:8.1f} µs  a request, with a keyed client and 2 endpoints")
        tell(f"{database_us:8.1f} µs  the database, beside it")
        tell(f"{turns:8.1f}     turns of the scheduler")
        for name, us in (await steps_of(it)).items():
            tell(f"{us:8.1f} µs  {name}")


async def growth() -> None:
    """One request, in ever larger fleets."""
    for n_endpoints, n_models, offering in (
        (1, 1, 1),
        (10, 10, 1),
        (100, 100, 1),
        (1000, 1000, 1),
        (1, 1000, 1),
        (1000, 1, 1000),
    ):
        async with rig(fleet(n_endpoints, n_models, offering=offering)) as it:
            core_us, _, _ = await whole(it, 20)
            admission_us = await lease_us(it)
        tell(
            f"{core_us:8.1f} µs a request, {admission_us:6.1f} its lease: {n_endpoints} endpoints, "
            f"{n_models} models, {offering} with the one that is asked for"
        )


async def profile() -> None:
    """The functions in which most of the time goes."""
    async with rig(fleet(2, 2, offering=2)) as it:
        await load(it)
        profiler = cProfile.Profile()
        profiler.enable()
        await load(it, 4 * EACH)
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(70)


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--growth", action="store_true", help="larger and larger fleets")
    what.add_argument("--profile", action="store_true", help="where the time goes")
    chosen = parser.parse_args()
    trio.run(growth if chosen.growth else profile if chosen.profile else costs)


if __name__ == "__main__":
    main()
