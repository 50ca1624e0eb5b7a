"""A client may give its request less time; the endpoint is not blamed for that."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from llmlb.types import Api
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import Scene
from tests.fakes.openai import chat, completion, finish, says, wire
from tests.fakes.upstream import (
    Answer,
    Handler,
    hangs,
    json_answer,
    refused,
    replies,
    sse_answer,
)


async def within(scene: Scene, seconds: str, **request: Any) -> FakeDownstream:
    return await scene.ask(headers={"x-llmlb-timeout-s": seconds}, **request)


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (False, hangs),
        (False, Answer(200, {}, [b"{", 20.0, b"}"])),
        (True, hangs),
        (True, sse_answer(20.0, says("A"))),
    ],
)
async def test_what_has_said_nothing_by_then_is_504(
    scene: Scene, stream: bool, said: Handler | Answer
) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", said)

    reply = await within(scene, "2.5", body=chat(stream=stream))
    await scene.settle()

    assert trio.current_time() == pytest.approx(2.5)
    assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")
    assert not scene.requests("b"), "there is no time left to try elsewhere"
    totals = scene.totals("a")
    assert (totals.failed_requests, totals.cancelled_requests) == (0, 1)
    assert not scene.open_requests


async def test_a_stream_ends_with_an_error_when_it_is_over(scene: Scene) -> None:
    await scene.endpoint("a")
    ticks = [x for _ in range(9) for x in (says("x"), 1.0)]
    scene.on("a", sse_answer(*ticks, finish()))

    reply = await within(scene, "4.5", body=chat(stream=True))
    await scene.settle()

    assert trio.current_time() == pytest.approx(4.5)
    assert reply.body.startswith(wire(*[says("x")] * 5, done=False))
    assert reply.last_error["code"] == "upstream_timeout"
    assert scene.totals("a").cancelled_requests == 1


async def test_it_counts_in_the_line(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", replies(json_answer(completion()), after_s=30))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask)
        await scene.settle()
        reply = await within(scene, "3")
        assert trio.current_time() == pytest.approx(3)
        nursery.cancel_scope.cancel()

    assert (reply.status, reply.error["code"]) == (504, "queue_timeout")
    assert "within 3 s" in reply.error["message"]


async def test_it_is_one_time_over_all_attempts(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", replies(refused(), after_s=2))
    scene.on("b", hangs)

    reply = await within(scene, "5")

    assert trio.current_time() == pytest.approx(5)
    assert (reply.status, reply.headers["x-llmlb-attempts"]) == (504, "2")


async def test_it_cannot_make_the_time_longer(scene: Scene) -> None:
    await scene.endpoint("a", inference_timeout_s=40.0)
    scene.on("a", hangs)

    reply = await within(scene, "1000")

    assert trio.current_time() == pytest.approx(40)
    assert reply.status == 504


async def test_what_is_answered_in_time_is_not_touched(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", replies(json_answer(completion()), after_s=4))
    assert (await within(scene, "5")).json == completion()


async def test_a_slow_client_has_no_more_of_it(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("A"), 1.0, says("B"), 1.0, finish()))
    reply = FakeDownstream(turn_s=4)

    await within(scene, "10", body=chat(stream=True), downstream=reply)

    assert trio.current_time() == pytest.approx(10)
    assert reply.aborted


@pytest.mark.parametrize("said", ["", "0", "0.0", "-1", "soon", "1e3", "nan", "inf", "1,2", "٣"])
@pytest.mark.parametrize("api", [Api.CHAT_COMPLETIONS, Api.MESSAGES])
async def test_what_is_no_time_is_refused_by_name(scene: Scene, said: str, api: Api) -> None:
    await scene.endpoint("a")

    reply = await within(scene, said, api=api)

    assert reply.status == 400
    assert "x-llmlb-timeout-s" in json.dumps(reply.json)
    assert not scene.requests()
