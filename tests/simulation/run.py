"""One run of one seed: trouble and requests in rounds, and what must be true all the while."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio
import trio.testing

from llmlb.store.opening import open_store
from tests.fakes.house import run_inline
from tests.simulation import invariants
from tests.simulation.client import Client
from tests.simulation.faults import befall, befall_disk, recover
from tests.simulation.invariants import Violation
from tests.simulation.parts import Wish
from tests.simulation.people import meddle, register, restart, turn_clock
from tests.simulation.repeatable import collect, repeatable
from tests.simulation.script import Script
from tests.simulation.trace import Trace
from tests.simulation.watch import high_water
from tests.simulation.world import SimWorld, world_of

ROUND_S = 120.0
"""So long troubles and requests last, before all is let come to rest and looked at."""

START_S = 20.0
"""By then the first survey of every endpoint is over."""

LOOK_EVERY_S = 0.5
"""On average, between two looks at what must be true at any time."""

CLOSING_S = 5.0
"""On top of the limits of line, attempts and stream: closing takes its own time."""

JITTER = 1.1
"""Of probe intervals, at most."""

UNDER_WAY_S = 10.0
"""A probe that was under way when all became well may take so long to fail."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one run."""

    seed: int
    hours: float
    digest: str
    n_events: int
    virtual_s: float
    n_requests: int
    n_delivered: int
    failure: str | None
    """The invariant that was violated and how, or what else went wrong."""
    last: tuple[str, ...]
    """The newest events, oldest first; only of a run that failed."""


def run(seed: int, hours: float, *, also: Callable[[str], None] | None = None) -> Result:
    """Run *seed* for at least *hours* of virtual time, in whole rounds.

    In a process with fixed hashes the same arguments have the same result, always.
    """
    script, trace = Script(seed), Trace(also=also)
    one = _Run(script, trace, until_s=hours * 3600)
    failure: str | None = None
    with tempfile.TemporaryDirectory() as directory, repeatable(f"{seed}/scheduler"):
        try:
            trio.run(one.main, Path(directory), clock=trio.testing.MockClock(autojump_threshold=0))
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - all of them are results
            failure = _explained(error)
        finally:
            structlog.reset_defaults()
            collect()
    return Result(
        seed,
        hours,
        trace.digest,
        trace.n_events,
        one.now_s,
        one.n_requests,
        one.n_delivered,
        failure,
        tuple(trace.last) if failure else (),
    )


def _explained(error: BaseException) -> str:
    for leaf in _leaves(error):
        if isinstance(leaf, Violation):
            return str(leaf)
    return "".join(traceback.format_exception(error))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


class _Run:
    """Plays a script."""

    def __init__(self, script: Script, trace: Trace, *, until_s: float) -> None:
        self._script, self._trace, self._until_s = script, trace, until_s
        self._last_number: dict[str, int] = {}
        self.now_s = 0.0
        self.n_requests = self.n_delivered = 0

    async def main(self, directory: Path) -> None:
        async with world_of(self._script, self._trace, directory) as world:
            try:
                async with trio.open_nursery() as nursery:
                    for name in world.endpoints:
                        await register(world, name)
                    nursery.start_soon(self._watch, world)
                    await trio.sleep_until(START_S)
                    while True:
                        await self._round(world)
                        if trio.current_time() >= self._until_s:
                            break
                    nursery.cancel_scope.cancel()
            finally:
                self.now_s = trio.current_time()
                self.n_requests = world.ledger.n_requests
                self.n_delivered = world.ledger.n_delivered
        if self._script.persistent:
            settings = world.settings
            store = await open_store(
                settings.database, data_dir=directory, run_in_thread=run_inline
            )
            invariants.statistics_add_up(await store.statistics.totals(), world.ledger.sums)
            await store.close()

    async def _round(self, world: SimWorld) -> None:
        """Trouble and requests, then peace, then rest."""
        from_s = trio.current_time()
        peace_s = from_s + ROUND_S
        script, trace = world.script, world.trace
        async with trio.open_nursery() as nursery:
            nursery.start_soon(befall, world.endpoints, script.events(from_s, peace_s), trace)
            nursery.start_soon(befall_disk, world.disk, script.disk_events(from_s, peace_s), trace)
            nursery.start_soon(meddle, world, script.operator_events(from_s, peace_s))
            nursery.start_soon(turn_clock, world, script.jumps(from_s, peace_s))
            restart_at_s = script.restarts_at(from_s, peace_s)
            if restart_at_s is not None:
                nursery.start_soon(restart, world, restart_at_s)
            for wish in script.wishes(from_s, peace_s):
                await trio.sleep_until(wish.at_s)
                nursery.start_soon(self._serve, world, wish)
        await trio.sleep_until(peace_s)
        dead = script.chance(f"peace at {peace_s}").choice([*world.endpoints.values(), None])
        if dead is not None:
            dead.kill()
        longest_s = max(make.interval_s for make in script.endpoints)
        await trio.sleep(2 * longest_s * JITTER + UNDER_WAY_S)
        await trio.testing.wait_all_tasks_blocked()
        await self._look_at_rest(world)
        if dead is not None:
            recover(dead)
            await trio.sleep(2 * longest_s * JITTER + UNDER_WAY_S)
        world.network.forget()
        collect()

    async def _serve(self, world: SimWorld, wish: Wish) -> None:
        account = await Client(world, wish).run()
        invariants.text_is_whole_and_in_order(account)
        invariants.not_both_failed_and_delivered(account)
        invariants.every_lease_is_accounted_for(account)
        invariants.everybody_who_stays_is_answered(account)
        world.ledger.close(account)

    @property
    def _total_s(self) -> float:
        """What a request may take: the line, an attempt on each endpoint, and the stream."""
        limits = self._script.limits
        attempts_s = sum(
            max(limits.first_token_timeout_s, make.inference_timeout_s)
            for make in self._script.endpoints
        )
        return limits.queue_timeout_s + attempts_s + limits.stream_timeout_s + CLOSING_S

    async def _watch(self, world: SimWorld) -> None:
        """Look again and again, each time when nothing is left to do at that instant."""
        chance = world.script.chance("looks")
        while True:
            await trio.sleep(chance.uniform(0, 2 * LOOK_EVERY_S))
            await trio.testing.wait_all_tasks_blocked()
            self._look(world)

    def _look(self, world: SimWorld) -> None:
        ledger, now_s = world.ledger, trio.current_time()
        if not world.standing.is_set():
            return
        if world.lifespan.ended.is_set():
            raise Violation("nothing_broke_inside", f"the house fell: {world.app.crash!r}")
        admission = world.house.admission.statistics()
        accounts = ledger.accounts.values()
        grants = [grant for account in accounts for grant in account.grants]
        known = world.house.registry.catalog.endpoints
        invariants.nothing_broke_inside(ledger.broken)
        invariants.no_lease_is_doubled(grants, {i: e.capacity for i, e in known.items()})
        invariants.no_lease_is_lost(grants, admission.in_flight)
        invariants.no_endpoint_is_overrun(ledger.calls, world.capacities)
        invariants.line_is_bounded(ledger.asking, world.script.limits.queue_max)
        self._last_number = invariants.first_come_first_served(ledger.granted, self._last_number)
        ledger.granted.clear()
        invariants.every_request_ends(accounts, now_s, self._total_s)
        held_bytes = world.app.body_budget.held_bytes
        if not world.n_orders:  # they have bodies, too
            invariants.bodies_are_given_back(held_bytes, accounts, now_s, self._total_s)
        invariants.nothing_goes_on_for_the_gone(accounts, ledger.calls, now_s)

    async def _look_at_rest(self, world: SimWorld) -> None:
        house, ledger = world.house, world.ledger
        self._look(world)
        admission = house.admission.statistics()
        invariants.everything_is_given_back(admission.in_flight, admission.waiting, ledger.calls)
        known = house.registry.catalog.endpoints.values()
        invariants.status_has_converged(
            {endpoint.name: endpoint.status for endpoint in known},
            {name: endpoint.condition.reachable for name, endpoint in world.endpoints.items()},
        )
        bound = 4 * ledger.most_at_once + 8 * len(world.endpoints) + 16
        invariants.mailboxes_are_bounded(high_water(world.house), bound)
        if not await house.journal.flush():
            raise Violation("statistics_add_up", "the journal could not be written.")
        invariants.statistics_add_up(await house.store.statistics.totals(), ledger.sums)
