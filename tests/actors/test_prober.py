"""When endpoints are probed, what is asked of them, and that none delays another."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import trio

from llmlb.actors.mailbox import ActorGone
from llmlb.actors.prober import (
    CHECK_LIMIT_S,
    DEVICE_LIMIT_S,
    SECOND_LOOK_S,
    START_SPREAD_S,
    SURVEY_LIMIT_S,
)
from llmlb.errors import ProbeFailed
from llmlb.types import DeviceReport, Engine, Model, Survey
from tests.actors.conftest import A_ID
from tests.actors.probed_world import (
    FOR_EVER_S,
    GPU,
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


# -- the usual course


async def test_a_new_endpoint_is_probed_surveyed_and_asked_for_its_device_at_once(
    world: ProbedWorld,
) -> None:
    world.prober.watch(new())
    await trio.sleep(1)
    questions = ("check", "survey", "device", "in_memory")
    assert world.asked == [(question, "a", 0) for question in questions]
    assert world.told == [
        ("probed", "a", None),
        ("synced", "a", Survey(Engine.VLLM, (Model("m"),), 64)),
        ("described", "a", GPU),
    ]


async def test_a_healthy_endpoint_is_only_checked_and_at_intervals_with_jitter(
    world: ProbedWorld,
) -> None:
    world.prober.watch(new(interval_s=10))
    await trio.sleep(890)
    gaps = gaps_s(world.asked_at_s("check"))
    assert len(gaps) > 80
    assert all(9 <= gap <= 11 for gap in gaps)
    assert min(gaps) < 9.2
    assert max(gaps) > 10.8
    assert len(world.asked_at_s("survey")) == 1
    assert len(world.asked_at_s("device")) == 1
    assert set(world.told_of("probed")) == {None}
    assert len(world.told_of("probed")) == len(gaps) + 1


async def test_each_endpoint_keeps_its_own_interval(world: ProbedWorld) -> None:
    world.prober.watch(new("often", 10))
    world.prober.watch(new("seldom", 300))
    await trio.sleep(700)
    assert 62 <= len(world.asked_at_s("check", "often")) <= 78
    assert len(world.asked_at_s("check", "seldom")) == 3


async def test_models_are_read_anew_after_the_resync_interval(nursery: trio.Nursery) -> None:
    world = ProbedWorld(resync_interval_s=100)
    await nursery.start(world.prober.run)
    world.prober.watch(new(interval_s=10))
    await trio.sleep(1000)
    surveys = world.asked_at_s("survey")
    assert len(surveys) in (9, 10)
    assert all(100 <= gap <= 111 for gap in gaps_s(surveys))


async def test_a_changed_list_of_models_is_read_at_once(world: ProbedWorld) -> None:
    world.prober.watch(new(interval_s=10))
    await trio.sleep(15)
    world.server("a").models = (Model("m"), Model("n"))
    await trio.sleep(10)
    assert len(world.asked_at_s("survey")) == 2
    assert world.told_of("synced")[-1] == Survey(Engine.VLLM, (Model("m"), Model("n")), 64)
    await trio.sleep(100)
    assert len(world.asked_at_s("survey")) == 2


async def test_a_survey_is_told_what_the_one_before_it_found(world: ProbedWorld) -> None:
    """So that a busy endpoint, which leaves questions open, does not change its engine."""
    models = (Model("m", max_tokens=4096),)
    world.server("a").models = models
    world.prober.watch(new())
    await trio.sleep(1)
    await world.prober.probe_now(A_ID)
    first, second = world.surveyed
    assert (first.engine, first.models) == (None, ())
    assert (second.engine, second.models, second.engine_concurrency) == (Engine.VLLM, models, 64)


# -- failures


async def test_after_the_first_failure_a_second_look_comes_soon_then_the_usual_interval(
    world: ProbedWorld,
) -> None:
    world.prober.watch(new())
    await trio.sleep(1)
    world.server("a").down = NoAnswer("It does not answer.")
    await trio.sleep(100)
    first, second, third = gaps_s(world.asked_at_s("check"))[:3]
    assert first / 30 == JITTER
    assert second / SECOND_LOOK_S == JITTER
    assert third / 30 == JITTER
    assert world.told_of("probed")[1:4] == ["It does not answer."] * 3


async def test_the_second_look_is_no_later_than_the_usual_interval(world: ProbedWorld) -> None:
    world.server("a").down = NoAnswer("dead")
    world.prober.watch(new(interval_s=2))
    await trio.sleep(20)
    assert all(gap / 2 == JITTER for gap in gaps_s(world.asked_at_s("check")))


async def test_recovery_brings_a_survey(world: ProbedWorld) -> None:
    world.prober.watch(new())
    await trio.sleep(1)
    world.server("a").down = NoAnswer("dead")
    await trio.sleep(100)
    assert len(world.asked_at_s("survey")) == 1
    world.server("a").down = None
    await trio.sleep(40)
    assert len(world.asked_at_s("survey")) == 2
    assert [what for what, _, _ in world.told[-2:]] == ["probed", "synced"]
    await trio.sleep(100)
    assert len(world.asked_at_s("survey")) == 2


async def test_a_failed_survey_is_a_failed_probe_and_is_tried_again(world: ProbedWorld) -> None:
    world.server("a").survey_fails = ProbeFailed("No list of models.")
    world.prober.watch(new())
    await trio.sleep(40)
    assert world.told_of("probed")[:2] == ["No list of models."] * 2
    assert world.told_of("synced") == []
    world.server("a").survey_fails = None
    await trio.sleep(40)
    assert world.told_of("probed")[-1] is None
    assert len(world.told_of("synced")) == 1


@pytest.mark.parametrize(
    ("where", "limit_s", "said"),
    [
        ("check", CHECK_LIMIT_S, "It did not answer within 10 s."),
        ("survey", SURVEY_LIMIT_S, "It did not finish telling of its models within 60 s."),
    ],
)
async def test_an_endpoint_that_never_ends_is_cut_off_and_delays_nobody(
    world: ProbedWorld, where: str, limit_s: float, said: str
) -> None:
    setattr(world.server("hangs"), f"{where}_takes_s", FOR_EVER_S)
    world.prober.watch(new("hangs"))
    world.prober.watch(new("lively"))
    await trio.sleep(limit_s - 1)
    assert world.told_of("probed", "hangs") == []
    await trio.sleep(2)
    assert world.told_of("probed", "hangs") == [said]
    await trio.sleep(900)
    assert len(world.told_of("probed", "hangs")) > 5
    assert set(world.told_of("probed", "hangs")) == {said}
    assert all(gap / 30 == JITTER for gap in gaps_s(world.asked_at_s("check", "lively")))


async def test_a_silent_endpoint_delays_nobody(world: ProbedWorld) -> None:
    silent = world.server("silent")
    silent.check_takes_s, silent.down = 5, NoAnswer("It did not answer within 5 s.")
    for name in ("silent", "x", "y", "z"):
        world.prober.watch(new(name))
    await trio.sleep(600)
    for name in "xyz":
        assert all(gap / 30 == JITTER for gap in gaps_s(world.asked_at_s("check", name)))
    assert len(world.told_of("probed", "silent")) > 15


async def test_a_fault_of_the_surveyor_itself_is_not_swallowed() -> None:
    world = ProbedWorld()
    world.raises = ZeroDivisionError()
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(world.prober.run)
            world.prober.watch(new())
    with pytest.raises(ActorGone):
        await world.prober.probe_now(A_ID)


# -- the device


async def test_an_endpoint_that_was_down_at_registration_is_asked_for_its_device_later_and_once(
    world: ProbedWorld,
) -> None:
    world.server("a").down = NoAnswer("dead")
    world.prober.watch(new())
    await trio.sleep(100)
    assert world.asked_at_s("device") == []
    world.server("a").down = None
    await trio.sleep(40)
    assert world.told_of("described") == [GPU]
    world.server("a").down = NoAnswer("dead")
    await trio.sleep(100)
    world.server("a").down = None
    await trio.sleep(1000)
    assert len(world.asked_at_s("device")) == 1


async def test_one_that_does_not_tell_of_its_device_is_not_asked_again(world: ProbedWorld) -> None:
    world.server("a").device = DeviceReport(note="/v0/system: 404")
    world.prober.watch(new())
    await trio.sleep(1000)
    assert world.told_of("described") == [DeviceReport(note="/v0/system: 404")]


@pytest.mark.parametrize("report", [GPU, DeviceReport(note="It does not tell.")])
async def test_what_an_earlier_run_learned_of_the_device_is_not_asked_again(
    world: ProbedWorld, report: DeviceReport
) -> None:
    world.prober.watch(replace(known(), device_info=report.info, device_note=report.note))
    await trio.sleep(1000)
    assert world.asked_at_s("device") == []
    assert len(world.asked_at_s("check")) > 20


async def test_a_device_question_that_never_ends_is_cut_off_with_a_note(world: ProbedWorld) -> None:
    world.server("a").device_takes_s = FOR_EVER_S
    world.prober.watch(new(interval_s=30))
    await trio.sleep(DEVICE_LIMIT_S + 1)
    assert world.told_of("described") == [DeviceReport(note="It did not tell within 20 s.")]
    await trio.sleep(100)
    assert len(world.asked_at_s("device")) == 1
    assert len(world.asked_at_s("check")) >= 4


# -- what it has in memory


async def test_it_tells_what_is_in_memory_when_that_has_changed(world: ProbedWorld) -> None:
    server = world.server("a")
    world.prober.watch(new(interval_s=10))
    await trio.sleep(25)
    assert world.told_of("loaded") == []
    for memory in (frozenset({"m"}), frozenset({"m"}), frozenset[str](), None):
        server.memory = memory
        await trio.sleep(12)
    assert world.told_of("loaded") == [{"m"}, frozenset(), None]


async def test_one_that_never_tells_is_cut_off_and_its_answer_is_none(world: ProbedWorld) -> None:
    server = world.server("a")
    server.memory = frozenset({"m"})
    world.prober.watch(new(interval_s=10))
    await trio.sleep(1)
    server.memory_takes_s = FOR_EVER_S
    await trio.sleep(100)
    assert world.told_of("loaded") == [{"m"}, None]
    assert len(world.asked_at_s("check")) >= 4


async def test_one_that_is_down_is_not_asked_for_it(world: ProbedWorld) -> None:
    world.server("a").down = NoAnswer("No answer.")
    world.prober.watch(new(interval_s=10))
    await trio.sleep(100)
    assert world.asked_at_s("in_memory") == []


# -- many at once


async def test_a_hundred_endpoints_known_at_the_start_do_not_fire_together(
    world: ProbedWorld,
) -> None:
    for n in range(100):
        world.prober.watch(known(f"e{n}"), at_once=False)
    await trio.sleep(400)
    firsts = [world.asked_at_s("check", f"e{n}")[0] for n in range(100)]
    assert max(firsts) <= START_SPREAD_S
    for since_s in (0, 300):
        tenths = Counter(int(at_s * 10) for what, _, at_s in world.asked if at_s >= since_s)
        assert max(tenths.values()) <= 15 * 3, "three questions each"


async def test_one_that_is_new_does_not_wait_for_the_spread(world: ProbedWorld) -> None:
    for n in range(100):
        world.prober.watch(known(f"e{n}"), at_once=False)
    world.prober.watch(new("new"))
    await trio.sleep(1)
    assert world.asked_at_s("check", "new")[0] == 0
