"""When a stream has ended well, and that nothing is invented at its end."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import COMPLETIONS, Scene
from tests.fakes.openai import DONE, chunk, event, finish, says, usage_alone, wire
from tests.fakes.upstream import disconnected, sse_answer


async def test_done_ends_a_stream_whatever_the_finish_reasons(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi")))

    reply = await scene.stream()
    await scene.settle()

    assert reply.body == wire(says("Hi"))
    assert scene.totals("a").successful_requests == 1


async def test_an_end_after_the_finish_reason_is_success_and_nothing_is_added(
    scene: Scene,
) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), finish("length"), done=False))

    reply = await scene.stream()
    await scene.settle()

    assert reply.body == wire(says("Hi"), finish("length"), done=False)
    assert scene.totals("a").successful_requests == 1


async def test_an_end_before_the_finish_reason_is_a_failure(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), done=False))

    reply = await scene.stream()
    await scene.settle()

    assert reply.last_error["code"] == "upstream_error"
    assert scene.totals("a").failed_requests == 1


async def test_a_connection_that_breaks_after_the_finish_reason_has_ended(scene: Scene) -> None:
    await scene.endpoint("a")
    half = b'data: {"choices": [], "usa'
    scene.on("a", sse_answer(says("Hi"), finish(), half, disconnected(), done=False))

    reply = await scene.stream()

    assert reply.body == wire(says("Hi"), finish(), done=False), "half an event is none"
    assert not reply.aborted
    await scene.settle()
    assert scene.totals("a").successful_requests == 1


@pytest.mark.parametrize("finished", [[0], [1], [0, 0], []])
async def test_every_choice_has_to_finish(scene: Scene, finished: list[int]) -> None:
    await scene.endpoint("a")
    ends = [finish(index=index) for index in finished]
    scene.on("a", sse_answer(says("A"), says("B", index=1), *ends, done=False))

    reply = await scene.stream(n=2)

    assert reply.last_error["code"] == "upstream_error"


@pytest.mark.parametrize("ends", [[finish(index=1), finish()], None])
async def test_all_choices_may_finish_in_any_order(scene: Scene, ends: Any) -> None:
    await scene.endpoint("a")
    together = chunk(finish="stop")
    together["choices"].append({"index": 1, "delta": {}, "finish_reason": "length"})
    ends = [together] if ends is None else ends
    scene.on("a", sse_answer(says("A"), says("B", index=1), *ends, done=False))

    reply = await scene.stream(n=2)

    assert reply.body == wire(says("A"), says("B", index=1), *ends, done=False)


@pytest.mark.parametrize(
    ("prompt", "n", "choices"),
    [
        (["a", "b"], 1, 2),
        (["a", "b"], 2, 4),
        ([[1, 2], [3]], None, 2),
        ([1, 2, 3], 1, 1),
        ("a", 3, 3),
    ],
)
async def test_each_prompt_of_a_completion_has_its_choices(
    scene: Scene, prompt: Any, n: int | None, choices: int
) -> None:
    await scene.endpoint("a")
    ends = [{"choices": [{"index": i, "finish_reason": "stop"}]} for i in range(choices)]
    body = json.dumps({"model": "tiny", "stream": True, "prompt": prompt, "n": n}).encode()

    scene.on("a", sse_answer(*ends, done=False), COMPLETIONS)
    assert (await scene.ask(body, api=COMPLETIONS)).body == wire(*ends, done=False)

    if choices > 1:
        scene.on("a", sse_answer(*ends[:-1], done=False), COMPLETIONS)
        assert (await scene.ask(body, api=COMPLETIONS)).last_error


@pytest.mark.parametrize("n", [None, 0, -1, "2", 1.5, True])
async def test_an_n_that_is_none_counts_as_one(scene: Scene, n: Any) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("A"), finish(), done=False))

    assert (await scene.stream(n=n)).body == wire(says("A"), finish(), done=False)


async def test_a_choice_without_index_is_known_by_its_place(scene: Scene) -> None:
    await scene.endpoint("a")
    last = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    scene.on("a", sse_answer(says("A"), last, done=False))

    assert (await scene.stream()).body == wire(says("A"), last, done=False)


@pytest.mark.parametrize("reads", [1, 2])
async def test_what_follows_done_is_left_unread(scene: Scene, reads: int) -> None:
    await scene.endpoint("a")
    more = b": bye\n\n" + event(says("more")) + b"data: half an event"
    end = [DONE + more] if reads == 1 else [DONE, more]
    scene.on("a", sse_answer(says("Hi"), finish(), *end, done=False))

    reply = await scene.stream()

    assert reply.body == wire(says("Hi"), finish())


async def test_the_bytes_after_the_last_blank_line_are_passed_on(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), finish(), b"data: [DONE]\n", done=False))

    reply = await scene.stream()

    assert reply.body == wire(says("Hi"), finish(), b"data: [DONE]\n", done=False)


@pytest.mark.parametrize("usage", [True, False])
async def test_usage_may_be_the_last_there_is(scene: Scene, usage: bool) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), finish(), usage_alone(), done=False))

    reply = await scene.stream(stream_options={"include_usage": usage})
    await scene.settle()

    shown = [usage_alone()] if usage else []
    assert reply.body == wire(says("Hi"), finish(), *shown, done=False)
    assert scene.totals("a").total_tokens == 10


# -- between [DONE] and the end of the body


async def test_after_done_the_endpoint_has_a_second_to_end_its_body(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), finish(), DONE, 0.9, done=False))

    await scene.stream()

    [call] = scene.requests()
    assert call.read_to_end, "so that its connection can be used again"


async def test_an_endpoint_that_never_ends_its_body_is_closed(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), finish(), DONE, 3600, done=False))

    reply = await scene.stream()
    await scene.settle()

    [call] = scene.requests()
    assert not call.read_to_end
    assert trio.current_time() < 5
    assert reply.body == wire(says("Hi"), finish())
    assert scene.totals("a").successful_requests == 1


@pytest.mark.parametrize("after_s", [0, 0.5])
async def test_a_connection_that_breaks_after_done_breaks_nothing(
    scene: Scene, after_s: float
) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), finish(), DONE, after_s, disconnected(), done=False))

    reply = await scene.stream()
    await scene.settle()

    assert reply.body == wire(says("Hi"), finish())
    assert scene.totals("a").successful_requests == 1


async def test_a_client_that_leaves_after_done_has_been_served(scene: Scene) -> None:
    """SDKs close their side as soon as they have read `[DONE]`."""
    await scene.endpoint("a")
    scene.on("a", sse_answer(2.0, says("Hi"), finish(), DONE, 0.8, done=False))
    downstream = FakeDownstream()

    with trio.CancelScope() as connection:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.stream, downstream)
            await trio.sleep(2.1)
            assert downstream.body.endswith(DONE)
            connection.cancel()
    await scene.settle()

    totals = scene.totals("a")
    assert (totals.successful_requests, totals.cancelled_requests) == (1, 0)
    assert totals.total_duration_ms == pytest.approx(2000, abs=1)
    assert scene.latency_ms("a") == pytest.approx(2000, abs=1)
    assert not scene.leases


async def test_the_second_after_done_is_no_part_of_the_latency(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(2.0, says("Hi"), finish(), DONE, 30, done=False))

    await scene.stream()
    await scene.settle()

    assert scene.latency_ms("a") == pytest.approx(2000, abs=1)


async def test_the_total_time_limit_does_not_cut_what_is_complete(scene: Scene) -> None:
    await scene.endpoint("a", inference_timeout_s=7200.0)
    ticks = [x for _ in range(35) for x in (100.0, says("x"))]
    scene.on("a", sse_answer(*ticks, 99.5, finish(), DONE, 30, done=False))

    reply = await scene.stream()
    await scene.settle()

    assert reply.body.endswith(event(finish()) + DONE)
    assert scene.totals("a").successful_requests == 1
