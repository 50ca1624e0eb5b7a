"""How long an endpoint may take, and that a slow client is not a slow endpoint."""

from __future__ import annotations

import pytest
import trio

from llmlb.http.downstream import FAREWELL_LIMIT_S
from llmlb.http.upstream.faults import UpstreamFault
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import Scene
from tests.fakes.openai import chat, completion, event, finish, role, says, wire
from tests.fakes.upstream import (
    Answer,
    disconnected,
    hangs,
    json_answer,
    refused,
    replies,
    sse_answer,
)

MIB = 1024 * 1024


async def took(scene: Scene, body: bytes, downstream: FakeDownstream | None = None) -> float:
    started_s = trio.current_time()
    await scene.ask(body, downstream)
    return trio.current_time() - started_s


# -- plain


async def test_a_plain_answer_has_the_inference_timeout_to_its_end(scene: Scene) -> None:
    await scene.endpoint("a", inference_timeout_s=40.0)
    parts: list[bytes | float] = [b'{"choices"', 19.0, b":[", 20.0, b"{}]}"]
    scene.on("a", Answer(200, {}, parts))
    assert (await scene.ask()).status == 200

    scene.on("a", Answer(200, {}, [*parts, 2.0]))
    reply = FakeDownstream()
    assert await took(scene, chat(), reply) == pytest.approx(40)
    assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")
    assert "40 s" in reply.error["message"]


async def test_the_headers_are_part_of_that(scene: Scene) -> None:
    await scene.endpoint("a", inference_timeout_s=40.0)
    scene.on("a", replies(Answer(200, {}, [30.0, b"{}"]), after_s=20))

    assert await took(scene, chat()) == pytest.approx(40)


async def test_an_endpoint_that_is_slow_to_say_no_has_no_more_time(scene: Scene) -> None:
    await scene.endpoint("a", inference_timeout_s=40.0)
    scene.on("a", Answer(400, {}, [b"{", 1000.0]))

    assert await took(scene, chat()) == pytest.approx(40)


async def test_each_endpoint_has_its_own_time(scene: Scene) -> None:
    await scene.endpoint("a", inference_timeout_s=40.0)
    await scene.endpoint("b", inference_timeout_s=50.0)
    scene.on("a", hangs)
    scene.on("b", replies(json_answer(completion()), after_s=45))
    reply = FakeDownstream()

    assert await took(scene, chat(), reply) == pytest.approx(85)
    assert reply.status == 200


# -- streamed


@pytest.mark.parametrize(("inference_timeout_s", "limit_s"), [(40.0, 300), (400.0, 400)])
@pytest.mark.parametrize("silence", ["no head", "head", "role"])
async def test_the_first_token_has_the_larger_of_300_s_and_the_inference_timeout(
    scene: Scene, inference_timeout_s: float, limit_s: float, silence: str
) -> None:
    await scene.endpoint("a", inference_timeout_s=inference_timeout_s)
    if silence == "no head":
        scene.on("a", hangs)
    else:
        said = [role()] if silence == "role" else []
        ticks = [x for _ in range(100) for x in (10.0, b": still here\n\n")]
        scene.on("a", sse_answer(*said, *ticks))
    reply = FakeDownstream()

    assert await took(scene, chat(stream=True), reply) == pytest.approx(limit_s)
    assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")
    assert f"{limit_s} s" in reply.error["message"]


async def test_a_slow_prefill_is_not_cut(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(role(), 299.0, says("Hi"), finish()))

    assert (await scene.stream()).body == wire(role(), says("Hi"), finish())


async def test_between_tokens_there_may_be_120_s(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", sse_answer(says("A"), 119.0, says("B"), 119.0, says("C"), 121.0, finish()))
    reply = FakeDownstream()

    assert await took(scene, chat(stream=True), reply) == pytest.approx(2 * 119 + 120)
    await scene.settle()

    assert [e + b"\n\n" for e in reply.events[:-1]] == [event(says(t)) for t in "ABC"]
    assert (reply.last_error["type"], reply.last_error["code"]) == (
        "timeout_error",
        "upstream_timeout",
    )
    assert scene.totals("a").failed_requests == 1
    assert not scene.requests("b")
    assert not scene.open_requests


async def test_a_comment_is_no_token(scene: Scene) -> None:
    """An endpoint that only says that it is there may not hold its slot with that."""
    await scene.endpoint("a")
    ticks = [x for _ in range(50) for x in (10.0, b": thinking\n\n")]
    scene.on("a", sse_answer(says("A"), *ticks, says("B"), finish()))
    reply = FakeDownstream()

    assert await took(scene, chat(stream=True), reply) == pytest.approx(120)
    assert reply.last_error["code"] == "upstream_timeout"


async def test_a_stream_ends_after_an_hour(scene: Scene) -> None:
    await scene.endpoint("a")
    ticks = [x for _ in range(50) for x in (100.0, says("x"))]
    scene.on("a", sse_answer(*ticks, finish()))
    reply = FakeDownstream()

    assert await took(scene, chat(stream=True), reply) == pytest.approx(3600)
    assert reply.last_error["code"] == "upstream_timeout"


async def test_the_hour_counts_before_the_first_token_too(scene: Scene) -> None:
    await scene.endpoint("a", inference_timeout_s=7200.0)
    scene.on("a", hangs)
    reply = FakeDownstream()

    assert await took(scene, chat(stream=True), reply) == pytest.approx(3600)
    assert "3600 s" in reply.error["message"]


# -- slow clients


async def test_a_slow_client_does_not_use_up_the_time_between_tokens(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("A"), 1.0, says("B"), 1.0, finish()))
    reply = FakeDownstream(turn_s=200)

    await scene.stream(reply)
    await scene.settle()

    assert reply.body == wire(says("A"), says("B"), finish())
    assert scene.totals("a").successful_requests == 1
    assert scene.latency_ms("a") == pytest.approx(2000)


async def test_a_slow_client_does_not_use_up_the_time_to_the_first_token(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(299.0, says("A"), finish()))
    reply = FakeDownstream(turn_s=60)

    await scene.stream(reply)

    assert reply.body == wire(says("A"), finish())


async def test_a_slow_client_of_a_plain_answer_is_not_a_slow_endpoint(scene: Scene) -> None:
    await scene.endpoint("a", inference_timeout_s=40.0)
    scene.on("a", replies(json_answer(completion()), after_s=30))
    reply = FakeDownstream(turn_s=100)

    await scene.ask(None, reply)
    await scene.settle()

    assert reply.json == completion()
    assert not reply.aborted
    assert scene.totals("a").successful_requests == 1
    assert scene.latency_ms("a") == pytest.approx(30_000)


async def test_a_slow_client_of_a_large_answer_is_not_a_slow_endpoint(scene: Scene) -> None:
    await scene.endpoint("a", inference_timeout_s=40.0)
    scene.on("a", Answer(200, {}, [10.0, *[b"x" * MIB] * 20, 25.0, b"end"]))
    reply = FakeDownstream(turn_s=30)

    await scene.ask(None, reply)
    await scene.settle()

    assert reply.body.endswith(b"end")
    assert scene.latency_ms("a") == pytest.approx(35_000)


async def test_the_endpoints_own_time_still_counts_in_a_large_answer(scene: Scene) -> None:
    await scene.endpoint("a", inference_timeout_s=40.0)
    scene.on("a", Answer(200, {}, [10.0, *[b"x" * MIB] * 20, 31.0, b"end"]))
    reply = FakeDownstream(turn_s=30)

    await scene.ask(None, reply)
    await scene.settle()

    assert reply.aborted
    assert scene.totals("a").failed_requests == 1


@pytest.mark.parametrize("turn", [0, 1, 2])
async def test_a_client_that_stops_reading_gives_its_slot_back_in_the_end(
    scene: Scene, turn: int
) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", sse_answer(says("A"), 1.0, says("B"), 1.0, finish()))
    reply = FakeDownstream(stuck_at=turn)

    assert await took(scene, chat(stream=True), reply) == pytest.approx(3600)
    await scene.settle()

    assert reply.aborted
    assert not scene.leases
    assert not scene.open_requests
    totals = scene.totals("a")
    assert (totals.failed_requests, totals.cancelled_requests) == (0, 1), "not the endpoint's fault"


async def test_a_client_that_never_takes_a_plain_answer_gives_its_slot_back_too(
    scene: Scene,
) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", json_answer(completion()))

    assert await took(scene, chat(), FakeDownstream(stuck_at=1)) == pytest.approx(3600)
    await scene.settle()

    assert not scene.leases
    assert scene.totals("a").cancelled_requests == 1


async def test_while_a_client_does_not_read_nothing_more_is_read_upstream(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(*[says("x")] * 1000, finish()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stream, FakeDownstream(stuck_at=3))
        await trio.sleep(60)
        assert len(scene.requests()[0].sent) == 3
        nursery.cancel_scope.cancel()


async def test_an_error_for_a_client_that_does_not_read_holds_up_no_endpoint(
    scene: Scene,
) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", sse_answer(says("A"), disconnected()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stream, FakeDownstream(stuck_at=2))
        await trio.sleep(1)
        assert not scene.leases
        assert not scene.open_requests
        scene.on("a", json_answer(completion()))
        assert (await scene.ask()).status == 200
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "stuck_at"), [(sse_answer(says("A"), disconnected()), 2), (refused(), 1)]
)
async def test_a_client_that_does_not_read_its_error_is_cut_off(
    scene: Scene, answer: Answer | UpstreamFault, stuck_at: int
) -> None:
    await scene.endpoint("a")
    scene.on("a", answer)
    reply = FakeDownstream(stuck_at=stuck_at)

    assert await took(scene, chat(stream=True), reply) == pytest.approx(FAREWELL_LIMIT_S)

    assert reply.aborted
