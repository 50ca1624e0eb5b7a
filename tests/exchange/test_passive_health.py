"""How requests fare before endpoints that fail them, and what is held against an endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from llmlb.actors.admission import CircuitState, EndpointHealth
from llmlb.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, EndpointCooling
from llmlb.types import EndpointId, Status
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import CHAT, Scene, asked_with
from tests.fakes.openai import chat, completion, finish, role, says
from tests.fakes.upstream import (
    Answer,
    Handler,
    SeenCall,
    disconnected,
    hangs,
    in_turn,
    json_answer,
    refused,
    replies,
    sse_answer,
)

CLOSED, OPEN = CircuitState.CLOSED, CircuitState.OPEN

OK = json_answer(completion())

FAILS_FAST = replies(json_answer({"error": {"message": "overloaded"}}, 503), after_s=0.005)

EVEN = {"health_check_interval_s": 3000}
"""So rarely probed that no probe decides anything here."""


def error_answer(status: int, message: str = "no", **headers: str) -> Answer:
    return json_answer({"error": {"message": message}}, status, **headers)


def health(scene: Scene, name: str) -> EndpointHealth:
    seen = scene.house.admission.statistics().health
    return seen.get(EndpointId(f"id-{name}"), EndpointHealth())


async def asked_at_once(scene: Scene, n: int) -> list[FakeDownstream]:
    """What *n* clients get that ask in the same instant."""
    answers: list[FakeDownstream] = []

    async def ask() -> None:
        answers.append(await scene.ask())

    async with trio.open_nursery() as nursery:
        for _ in range(n):
            nursery.start_soon(ask)
    return answers


async def two(scene: Scene, **fields: Any) -> None:
    """A bad endpoint with room for many, and one that answers within a second."""
    await scene.endpoint("bad", slots=8, **EVEN, **fields)
    await scene.endpoint("good", slots=8, **EVEN)
    scene.on("good", replies(OK, after_s=1))


# -- an endpoint that answers 503 in 5 ms does not attract traffic


async def test_three_requests_are_spent_on_a_bad_endpoint_and_then_canaries(scene: Scene) -> None:
    await two(scene)
    scene.on("bad", FAILS_FAST)
    with capture_logs() as logs:
        for _ in range(100):
            assert (await scene.ask()).status == 200

    spent = [call.opened_at for call in scene.requests("bad")]
    assert trio.current_time() == pytest.approx(100, rel=0.01)
    assert len(spent) <= 3 + 7, "in a minute and a half: after 1, 2, 4 … seconds"
    pauses = [b - a for a, b in pairwise(spent[2:])]
    assert pauses == sorted(pauses)
    opened = [entry for entry in logs if entry["event"] == "a circuit has opened"]
    assert len(opened) == len(spent) - 2, "one line for each time it opened"
    assert opened[0]["endpoint"] == "bad"
    assert opened[0]["failures"] == 3


async def test_many_at_once_spend_no_more_than_were_under_way(scene: Scene) -> None:
    await two(scene)
    scene.on("bad", FAILS_FAST)
    answers: list[FakeDownstream] = []

    async def ask() -> None:
        answers.append(await scene.ask())

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
            await trio.sleep(0.02)
    assert [reply.status for reply in answers] == [200] * 50
    spent = [call.opened_at for call in scene.requests("bad")]
    assert len([at_s for at_s in spent if at_s < 0.8]) == 3
    assert len(spent) <= 5, "in seven seconds: three, and a canary after 1 and 2 more"


async def test_it_is_readmitted_when_a_canary_is_answered(scene: Scene) -> None:
    await two(scene)
    scene.on("bad", in_turn(*[error_answer(503)] * 4, OK))
    with capture_logs() as logs:
        for _ in range(20):
            assert (await scene.ask()).status == 200
        await scene.settle()
    assert health(scene, "bad") == EndpointHealth()
    events = [entry["event"] for entry in logs if "circuit" in entry["event"]]
    assert events == ["a circuit has opened"] * 2 + ["a circuit has closed"]
    assert len(scene.requests("bad")) > 5


async def test_a_stream_readmits_its_endpoint_as_soon_as_it_says_something(scene: Scene) -> None:
    await two(scene)
    scene.on("bad", FAILS_FAST)
    for _ in range(3):
        await scene.ask()
    assert health(scene, "bad").state is OPEN
    scene.on("bad", sse_answer(role(), 2.0, says("Hi"), 500.0, finish()))
    await trio.sleep(2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stream)
        await trio.sleep(1)
        assert health(scene, "bad").state is CircuitState.HALF_OPEN
        await trio.sleep(2)
        assert (health(scene, "bad").state, health(scene, "bad").failures) == (CLOSED, 2)
        nursery.cancel_scope.cancel()


# -- what counts, and what does not


@pytest.mark.parametrize(
    "failure",
    [
        refused(),
        disconnected(),
        error_answer(500),
        error_answer(503),
        error_answer(429),
        error_answer(429, retry_after="0"),
        error_answer(408),
        error_answer(401),
        Answer(200, {"content-type": "application/json"}),
        json_answer({"error": "no slot"}),
        sse_answer(done=False),
        sse_answer(role(), disconnected()),
        hangs,
    ],
)
async def test_what_an_endpoint_really_failed_counts(
    scene: Scene, failure: Answer | Handler | BaseException
) -> None:
    await scene.endpoint("a", **EVEN, inference_timeout_s=10.0)
    scene.on("a", failure)
    for n in (1, 2, 3):
        await scene.stream()
        await scene.settle()
        assert health(scene, "a").failures == n
        await scene.probed(scene.known("a"))  # whatever its status was made
    assert health(scene, "a").state is OPEN
    assert scene.status_of("a") is Status.ONLINE, "its probes say nothing of it"


@pytest.mark.parametrize("status", [400, 404, 413, 422, 501])
async def test_what_is_the_requests_fault_or_one_models_does_not_count(
    scene: Scene, status: int
) -> None:
    await scene.endpoint("a", **EVEN)
    scene.on("a", error_answer(status))
    for _ in range(5):
        assert (await scene.ask()).status in (400, 404, 413, 422, 502)
    await scene.settle()
    assert health(scene, "a") == EndpointHealth()


async def test_a_stream_that_breaks_off_in_the_middle_counts(scene: Scene) -> None:
    await scene.endpoint("a", **EVEN)
    for ending in (disconnected(), 1e6, {"error": {"message": "out of memory"}}):
        scene.on("a", sse_answer(says("Hi"), ending, done=False))
        await scene.stream()
    await scene.settle()
    assert health(scene, "a").state is OPEN


async def _leaves(scene: Scene) -> None:
    with trio.move_on_after(1):
        await scene.ask()


async def _gives_little_time(scene: Scene) -> None:
    reply = await scene.ask(headers={"x-llmlb-timeout-s": "1"})
    assert reply.status == 504


async def _does_not_read(scene: Scene) -> None:
    scene.on("a", sse_answer(says("Hi"), finish()))
    await scene.stream(FakeDownstream(stuck_at=1))


@pytest.mark.parametrize("client", [_leaves, _gives_little_time, _does_not_read])
async def test_a_client_that_leaves_or_is_slow_counts_for_nothing(
    scene: Scene, client: Callable[[Scene], Awaitable[None]]
) -> None:
    await scene.endpoint("a", **EVEN)
    scene.on("a", hangs)
    for _ in range(4):
        await client(scene)
    await scene.settle()
    assert health(scene, "a") == EndpointHealth()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_poison_request_counts_against_no_circuit(scene: Scene, streamed: bool) -> None:
    for name in "abc":
        await scene.endpoint(name, **EVEN)
        scene.on(name, error_answer(500, "segmentation fault"))
    with capture_logs() as logs:
        for _ in range(10):
            assert (await scene.ask(chat(stream=streamed))).status == 502
        await scene.settle()
    assert len(scene.requests()) == 20
    assert all(health(scene, name) == EndpointHealth() for name in "abc")
    assert not [entry for entry in logs if "circuit" in entry["event"]]


async def test_a_failure_that_another_endpoint_does_not_share_counts(scene: Scene) -> None:
    await two(scene)
    scene.on("bad", error_answer(500, "out of memory"))
    for _ in range(3):
        assert (await scene.ask()).status == 200
    await scene.settle()
    assert health(scene, "bad").state is OPEN
    assert health(scene, "good") == EndpointHealth()


async def test_of_three_failures_only_the_two_that_are_alike_are_the_requests(
    scene: Scene,
) -> None:
    for name, message in zip("abc", ("crashed", "out of memory", "crashed"), strict=True):
        await scene.endpoint(name, **EVEN)
        scene.on(name, error_answer(500, message))
    assert (await scene.ask()).status == 502
    await scene.settle()
    assert [health(scene, name).failures for name in "abc"] == [0, 1, 0]


# -- there is always one


async def test_the_only_endpoint_answers_the_moment_it_is_back(scene: Scene) -> None:
    await scene.endpoint("a", slots=4, **EVEN)
    scene.on("a", FAILS_FAST)
    for _ in range(30):
        assert (await scene.ask()).status == 502
    assert health(scene, "a").state is OPEN
    scene.on("a", OK)
    assert (await scene.ask()).status == 200


async def test_if_all_fail_the_first_that_is_back_answers_at_once(scene: Scene) -> None:
    for name in "ab":
        await scene.endpoint(name, slots=4, **EVEN)
        scene.on(name, FAILS_FAST)
    for _ in range(10):
        assert (await scene.ask()).status == 502
    assert (health(scene, "a").state, health(scene, "b").state) == (OPEN, OPEN)
    scene.on("b", OK)
    for _ in range(10):
        reply = await scene.ask()
        assert (reply.status, reply.headers["x-llmlb-endpoint"]) == (200, "b")


async def test_a_chosen_endpoint_is_asked_whatever_its_circuit(scene: Scene) -> None:
    await two(scene)
    scene.on("bad", FAILS_FAST)
    for _ in range(5):
        await scene.ask()
    asked = len(scene.requests("bad"))
    assert health(scene, "bad").state is OPEN
    scene.on("bad", OK)
    reply = FakeDownstream()
    await scene.exchange.serve(CHAT, asked_with(chat()), reply, only=scene.known("bad").id)
    assert reply.status == 200
    assert len(scene.requests("bad")) == asked + 1


# -- an endpoint that says when to come back


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_keeps_requests_away_for_so_long(scene: Scene, status: int) -> None:
    await two(scene)
    scene.on("bad", error_answer(status, retry_after="20"))
    for _ in range(19):
        assert (await scene.ask()).status == 200
    assert len(scene.requests("bad")) == 1
    assert health(scene, "bad").cools_s == pytest.approx(1)
    assert health(scene, "bad").failures == (status == 503)
    await trio.sleep(1.1)
    await scene.ask()
    assert len(scene.requests("bad")) == 2


async def test_a_retry_after_of_another_failure_is_not_heeded(scene: Scene) -> None:
    await scene.endpoint("a", **EVEN)
    scene.on("a", error_answer(500, retry_after="20"))
    await scene.ask()
    await scene.settle()
    assert health(scene, "a") == EndpointHealth(failures=1)


@pytest.mark.parametrize(
    ("date", "until", "cools_s"),
    [
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:45 GMT", 45),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wednesday, 21-Oct-15 07:28:45 GMT", 45),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed Oct 21 07:28:45 2015", 45),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 09:28:00 GMT", 300),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2016 07:28:00 GMT", 0),
        ("", "Wed, 21 Oct 2015 07:28:45 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Oct 2015 07:28:45 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "soon", 0),
    ],
)
async def test_a_date_counts_from_the_endpoints_own_clock(
    scene: Scene, date: str, until: str, cools_s: float
) -> None:
    await scene.endpoint("a", **EVEN)
    scene.on("a", error_answer(429, retry_after=until, date=date))
    await scene.ask()
    await scene.settle()
    assert health(scene, "a").cools_s == cools_s


async def test_if_all_cool_the_client_is_told_at_once_when_the_first_has(scene: Scene) -> None:
    for name, seconds in zip("abc", ("30", "12.2", "86400"), strict=True):
        await scene.endpoint(name, **EVEN)
        scene.on(name, error_answer(429, retry_after=seconds))
    assert (await scene.ask()).headers["retry-after"] == "13"
    await trio.sleep(2)
    reply = await scene.ask()
    assert (reply.status, reply.error["code"]) == (429, "upstream_rate_limited")
    assert reply.headers["retry-after"] == "11"
    assert (len(scene.requests()), trio.current_time()) == (3, 2)
    scene.on("b", OK)
    await trio.sleep(10.3)
    assert (await scene.ask()).status == 200


async def test_one_that_cools_already_may_be_free_before_the_one_that_says_429(
    scene: Scene,
) -> None:
    for name in "ab":
        await scene.endpoint(name, **EVEN)
        scene.on(name, error_answer(429, retry_after="8"))
    scene.on("b", OK)
    for _ in range(4):
        await scene.ask()
    assert len(scene.requests("a")) == 1
    scene.on("b", error_answer(429, retry_after="50"))
    reply = await scene.ask()
    assert (reply.status, reply.headers["retry-after"]) == (429, "8")


@pytest.mark.parametrize("settings", [{"model_fallbacks": {"tiny": ["small"]}}])
async def test_if_all_cool_a_fallback_is_asked(scene: Scene) -> None:
    await scene.endpoint("a", **EVEN)
    await scene.endpoint("b", "small", **EVEN)
    scene.on("a", error_answer(429, retry_after="30"))
    scene.on("b", OK)
    for _ in range(2):
        reply = await scene.ask()
        assert (reply.status, reply.headers["x-llmlb-endpoint"]) == (200, "b")
    assert len(scene.requests("a")) == 1


# -- how many are tried again at once


async def test_beyond_the_budget_they_wait_and_nobody_loses_an_answer(scene: Scene) -> None:
    """Ten requests are under way when their endpoint fails them all in the same instant."""
    await scene.endpoint("a", slots=10, **EVEN)
    await scene.endpoint("b", slots=10, **EVEN)
    fails = trio.Event()

    async def fail(call: SeenCall) -> Answer:
        await fails.wait()
        return error_answer(503, "gone")

    scene.on("a", fail)
    scene.on("b", replies(OK, after_s=5))
    answers: list[FakeDownstream] = []

    async def ask() -> None:
        answers.append(await scene.ask())

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
            await scene.settle()
        under_way = len(scene.requests("a"))
        before = len(scene.requests("b"))
        fails.set()
        await trio.sleep(1)
        assert len(scene.requests("b")) - before == 3
    assert under_way > 3
    assert [reply.status for reply in answers] == [200] * 10
    assert trio.current_time() == pytest.approx(5 * -(-under_way // 3), abs=0.1)
    assert scene.house.admission.statistics().retrying == 0


@pytest.mark.parametrize("settings", [{"queue_timeout_s": 12.0}])
async def test_who_waits_too_long_for_its_next_try_gets_the_failure_that_there_was(
    scene: Scene,
) -> None:
    await scene.endpoint("a", slots=10, **EVEN)
    await scene.endpoint("b", slots=10, **EVEN)
    scene.on("a", FAILS_FAST)
    scene.on("b", FAILS_FAST)
    for _ in range(2):
        await scene.ask()  # so that both have been measured, and no circuit is open
    scene.on("b", replies(OK, after_s=100))
    answers = await asked_at_once(scene, 8)
    failed = [reply for reply in answers if reply.status != 200]
    assert {reply.status for reply in failed} == {502}
    assert all("overloaded" in reply.error["message"] for reply in failed)


async def test_a_retry_whose_answer_has_begun_does_not_keep_others_from_theirs(
    scene: Scene,
) -> None:
    await two(scene)
    scene.on("good", sse_answer(says("Hi"), 600.0, finish()))
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            scene.on("bad", FAILS_FAST)
            nursery.start_soon(scene.stream)
            await trio.sleep(5)
        assert len([call for call in scene.open_requests if call.endpoint.name == "good"]) == 6
        assert scene.house.admission.statistics().retrying == 0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("settings", [{"model_fallbacks": {"tiny": ["small"]}}])
async def test_the_budget_holds_for_fallbacks_too(scene: Scene) -> None:
    await scene.endpoint("a", slots=10, **EVEN)
    await scene.endpoint("b", "small", slots=10, **EVEN)
    scene.on("a", FAILS_FAST)
    scene.on("b", replies(OK, after_s=5))
    answers = await asked_at_once(scene, 10)
    assert [reply.status for reply in answers] == [200] * 10
    assert trio.current_time() == pytest.approx(4 * 5, abs=0.1), "three at a time"


# -- whoever follows the events is told


async def test_a_circuit_that_opens_is_tried_and_closes_is_told(scene: Scene) -> None:
    await two(scene)
    scene.on("bad", FAILS_FAST)
    await scene.settle()
    circuits = frozenset({CircuitOpened, CircuitHalfOpened, CircuitClosed})
    with await scene.house.feed.subscribe(kinds=circuits) as news:
        for _ in range(3):
            await scene.ask()
        scene.on("bad", OK)
        await trio.sleep(2)
        await scene.ask()
        await scene.settle()
        told = [one.event for one in (await news.next()).events]

    bad = EndpointId("id-bad")
    assert told[1:] == [CircuitHalfOpened(bad, "bad"), CircuitClosed(bad, "bad")]
    opened = told[0]
    assert isinstance(opened, CircuitOpened)
    assert (opened.endpoint_id, opened.name, opened.failures) == (bad, "bad", 3)
    assert opened.for_s == pytest.approx(1, rel=0.2)


async def test_an_endpoint_that_asks_to_be_left_alone_is_told_in_our_words(scene: Scene) -> None:
    await two(scene)
    scene.on("bad", error_answer(429, "slow down with 'my secret question'", retry_after="30"))
    await scene.settle()
    with await scene.house.feed.subscribe(kinds=frozenset({EndpointCooling})) as news:
        await scene.ask()
        await scene.settle()
        told = [one.event for one in (await news.next()).events]

    reason = "It answered 429, and said when to come back."
    assert told == [EndpointCooling(EndpointId("id-bad"), "bad", reason, 30.0)]
