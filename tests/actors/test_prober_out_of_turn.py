"""Probes out of turn: hurried, asked for in person, and endpoints that come, change and go."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.mailbox import ActorGone
from llmlb.actors.prober import CHECK_LIMIT_S, HURRY_SPACING_S, ProbeReport
from llmlb.errors import NotFound, ProbeFailed
from llmlb.types import Endpoint, EndpointId, Engine, Model, Survey
from tests.actors.conftest import A_ID
from tests.actors.probed_world import (
    FOR_EVER_S,
    JITTER,
    NoAnswer,
    ProbedWorld,
    gaps_s,
    known,
    new,
)


@pytest.fixture
async def world(nursery: trio.Nursery) -> ProbedWorld:
    world = ProbedWorld()
    await nursery.start(world.prober.run)
    return world


# -- hurry


async def test_hurry_probes_out_of_turn_and_surveys_only_if_asked_to(world: ProbedWorld) -> None:
    world.prober.watch(new())
    await trio.sleep(10)
    world.prober.hurry(A_ID)
    await trio.sleep(10)
    assert world.asked_at_s("check") == [0, 10]
    assert world.asked_at_s("survey") == [0]
    world.prober.hurry(A_ID, resync=True)
    await trio.sleep(10)
    assert world.asked_at_s("check") == [0, 10, 20]
    assert world.asked_at_s("survey") == [0, 20]


async def test_hurried_probes_keep_their_distance(world: ProbedWorld) -> None:
    world.prober.watch(new())
    await trio.sleep(0.2)
    for _ in range(100):
        world.prober.hurry(A_ID)
        await trio.sleep(0.05)
    await trio.sleep(3)
    times_s = world.asked_at_s("check")
    assert len(times_s) in (6, 7)
    assert all(gap >= HURRY_SPACING_S for gap in gaps_s(times_s))


async def test_a_hurry_during_a_probe_brings_one_more(world: ProbedWorld) -> None:
    world.server("a").check_takes_s = 3
    world.prober.watch(new())
    await trio.sleep(1)
    world.prober.hurry(A_ID)
    world.prober.hurry(A_ID)
    await trio.sleep(20)
    assert world.asked_at_s("check") == [0, 3]


async def test_a_hurry_does_not_put_off_the_usual_turn(world: ProbedWorld) -> None:
    world.prober.watch(new(interval_s=0.5))
    await trio.sleep(0.3)
    world.prober.hurry(A_ID)
    await trio.sleep(10)
    assert all(gap / 0.5 == JITTER for gap in gaps_s(world.asked_at_s("check")))


async def test_hurrying_what_is_not_watched_is_nothing(world: ProbedWorld) -> None:
    world.prober.hurry(EndpointId("id-unknown"), resync=True)
    await trio.sleep(10)
    assert world.asked == []


async def test_a_known_endpoint_can_be_hurried_before_its_first_turn(world: ProbedWorld) -> None:
    world.prober.watch(known())
    world.prober.hurry(A_ID)
    await trio.sleep(0.001)
    assert world.asked_at_s("check") == [0]


# -- asked in person


async def test_a_probe_asked_for_is_made_at_once_and_reports_what_it_found(
    world: ProbedWorld,
) -> None:
    world.server("a").models = (Model("stays"), Model("grows"), Model("goes"))
    world.prober.watch(new())
    await trio.sleep(2)
    world.server("a").check_takes_s = 0.25
    world.server("a").survey_takes_s = 4
    models = (Model("stays"), Model("grows", max_tokens=4096), Model("comes"))
    world.server("a").models = models
    report = await world.prober.probe_now(A_ID)
    assert report == ProbeReport(None, 250.0, models, added=1, removed=1, updated=1)
    assert trio.current_time() == 6.25
    assert world.told[-1] == ("synced", "a", Survey(Engine.VLLM, models, 64))


async def test_a_probe_asked_for_surveys_though_nothing_has_changed(world: ProbedWorld) -> None:
    world.prober.watch(new())
    await trio.sleep(2)
    report = await world.prober.probe_now(A_ID)
    assert (report.failure, report.added, report.removed, report.updated) == (None, 0, 0, 0)
    assert world.asked_at_s("survey") == [0, 2]


@pytest.mark.parametrize(
    ("failure", "answered"),
    [(NoAnswer("Nobody there."), False), (ProbeFailed("It answered 500."), True)],
)
async def test_a_probe_asked_for_reports_a_failure_and_whether_there_was_an_answer(
    world: ProbedWorld, failure: ProbeFailed, answered: bool
) -> None:
    world.server("a").down, world.server("a").check_takes_s = failure, 1.5
    world.prober.watch(new())
    await trio.sleep(2)
    report = await world.prober.probe_now(A_ID)
    assert report == ProbeReport(str(failure), 1500.0, answered=answered)


@pytest.mark.parametrize(("where", "answered"), [("check", False), ("survey", True)])
async def test_a_probe_asked_for_ends_though_the_endpoint_does_not(
    world: ProbedWorld, where: str, answered: bool
) -> None:
    setattr(world.server("a"), f"{where}_takes_s", FOR_EVER_S)
    world.prober.watch(new())
    report = await world.prober.probe_now(A_ID)
    assert report.failure is not None
    assert "within" in report.failure
    assert report.answered is answered


async def test_a_probe_asked_for_during_another_is_a_new_one_for_all_who_ask(
    world: ProbedWorld,
) -> None:
    world.server("a").check_takes_s = 3
    world.prober.watch(new())
    await trio.sleep(1)
    ended_at_s: list[float] = []

    async def ask() -> None:
        assert (await world.prober.probe_now(A_ID)).failure is None
        ended_at_s.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await trio.sleep(1)
        nursery.start_soon(ask)
    assert ended_at_s == [6, 6, 6, 6]
    assert world.asked_at_s("check") == [0, 3]


async def test_whoever_asks_in_person_does_not_wait_for_the_distance_of_a_hurry(
    world: ProbedWorld,
) -> None:
    world.prober.watch(new())
    await trio.sleep(0.1)
    world.prober.hurry(A_ID)
    await trio.sleep(0.1)
    await world.prober.probe_now(A_ID)
    assert trio.current_time() == pytest.approx(0.2)


async def test_a_caller_who_leaves_gets_no_report_and_disturbs_nobody(world: ProbedWorld) -> None:
    world.server("a").check_takes_s = 3
    world.prober.watch(new())
    with trio.move_on_after(1) as patience:
        await world.prober.probe_now(A_ID)
    assert patience.cancelled_caught
    assert (await world.prober.probe_now(A_ID)).failure is None
    assert world.told_of("probed") == [None, None]


async def test_what_is_not_watched_cannot_be_probed(world: ProbedWorld) -> None:
    with pytest.raises(NotFound):
        await world.prober.probe_now(A_ID)
    world.prober.watch(new())
    await trio.sleep(1)
    world.prober.unwatch(A_ID)
    with pytest.raises(NotFound):
        await world.prober.probe_now(A_ID)


# -- watched no more, or otherwise


async def test_an_unwatched_endpoint_is_not_probed_any_more(world: ProbedWorld) -> None:
    world.server("a").check_takes_s = 2
    world.prober.watch(new())
    await trio.sleep(1)
    world.prober.unwatch(A_ID)
    world.prober.unwatch(A_ID)
    await trio.sleep(1000)
    assert world.asked == [("check", "a", 0)]
    assert world.told == [], "the probe under way was broken off"


async def test_one_that_is_unwatched_before_its_first_turn_is_never_probed(
    world: ProbedWorld,
) -> None:
    world.prober.watch(known())
    world.prober.unwatch(A_ID)
    await trio.sleep(100)
    assert world.asked == []


async def test_another_server_at_its_place_is_probed_at_once_and_the_old_one_no_more(
    world: ProbedWorld,
) -> None:
    world.prober.watch(new())
    await trio.sleep(1)
    world.prober.watch(replace(new(), base_url="http://elsewhere:1"))
    await trio.sleep(100)
    assert world.asked_at_s("survey") == [0, 1]
    assert world.asked_at_s("device") == [0, 1]
    assert {e.base_url for e in world.surveyed[1:]} == {"http://elsewhere:1"}
    assert all(gap / 30 == JITTER for gap in gaps_s(world.asked_at_s("check")[1:]))


@pytest.mark.parametrize("what", ["unwatched", "watched anew", "closed"])
async def test_whoever_waits_for_a_probe_that_will_not_come_is_told_so(what: str) -> None:
    world = ProbedWorld()
    world.server("a").check_takes_s = 3
    errors: list[type[Exception]] = []

    async def ask() -> None:
        try:
            await world.prober.probe_now(A_ID)
        except (NotFound, ActorGone) as error:
            errors.append(type(error))

    async with trio.open_nursery() as nursery:
        await nursery.start(world.prober.run)
        world.prober.watch(new())
        await trio.sleep(1)
        nursery.start_soon(ask)  # its probe is under way from 3 to 6
        await trio.sleep(3)
        nursery.start_soon(ask)  # its probe would come next
        await wait_all_tasks_blocked()
        if what == "unwatched":
            world.prober.unwatch(A_ID)
        elif what == "watched anew":
            world.prober.watch(known())
        else:
            world.prober.close()
        await wait_all_tasks_blocked()
        assert errors == [ActorGone if what == "closed" else NotFound] * 2
        world.prober.close()


async def test_a_closed_prober_asks_nobody_any_more() -> None:
    world = ProbedWorld()
    world.server("b").check_takes_s = FOR_EVER_S
    async with trio.open_nursery() as nursery:
        await nursery.start(world.prober.run)
        world.prober.watch(new("a"))
        world.prober.watch(new("b"))
        await trio.sleep(1)
        world.prober.close()
    assert trio.current_time() == 1
    with pytest.raises(ActorGone):
        world.prober.watch(new())


async def test_a_listener_that_is_gone_ends_the_probing_quietly(world: ProbedWorld) -> None:
    def gone(endpoint: Endpoint, failure: str | None) -> None:
        raise ActorGone

    world.probed = gone  # type: ignore[method-assign]  # as when the house closes
    world.prober.watch(new())
    await trio.sleep(100)
    assert world.asked_at_s("check") == [0]


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_is_told_each_watched_endpoint_goes_on_being_probed(
    world: ProbedWorld, seed: int
) -> None:
    """Random watching, unwatching, hurrying, asking and leaving, with moody servers."""
    rng = random.Random(seed)
    watched: dict[str, Endpoint] = {}

    async def ask(name: str, patience_s: float) -> None:
        with trio.move_on_after(patience_s):
            try:
                report = await world.prober.probe_now(EndpointId(f"id-{name}"))
            except NotFound:
                return
            assert report.round_trip_ms >= 0

    async with trio.open_nursery() as callers:
        for _ in range(80):
            name = rng.choice("abc")
            match rng.randrange(6):
                case 0:
                    watched[name] = rng.choice([new, known])(name, 10)
                    world.prober.watch(watched[name])
                case 1:
                    watched.pop(name, None)
                    world.prober.unwatch(EndpointId(f"id-{name}"))
                case 2:
                    world.prober.hurry(EndpointId(f"id-{name}"), resync=rng.random() < 0.5)
                case 3:
                    world.server(name).check_takes_s = rng.choice([0.0, 0.5, 5.0, FOR_EVER_S])
                    world.server(name).down = rng.choice([None, None, NoAnswer("dead")])
                case _:
                    callers.start_soon(ask, name, rng.random() * 8)
            await trio.sleep(rng.choice([0.0, 0.0, 0.3, 2.0]))
    world.servers.clear()
    await trio.sleep(CHECK_LIMIT_S + 12)  # whatever was tried last has ended
    world.asked.clear()
    await trio.sleep(34)
    assert {name for _, name, _ in world.asked} == set(watched)
    for name in watched:
        assert len(world.asked_at_s("check", name)) in (3, 4)
