"""What becomes of the exchanges that outlast the drain: an error, in the words of their route."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from llmlb.accounting import Totals
from llmlb.types import Api
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import CHAT, Scene
from tests.fakes.openai import chat, completion, says, wire
from tests.fakes.upstream import Answer, Handler, hangs, json_answer, refused, replies, sse_answer

MESSAGE = json.dumps(
    {
        "model": "tiny",
        "max_tokens": 5,
        "stream": True,
        "messages": [{"role": "user", "content": "Hi"}],
    }
).encode()
RESPONSE = json.dumps({"model": "tiny", "input": "Hi", "stream": True}).encode()
DELTA = b'data: {"type":"response.output_text.delta","delta":"Hi"}\n\n'


async def cut_after(scene: Scene, after_s: float, **request: Any) -> FakeDownstream:
    """What the client of *request* got by the time the balancer had ended."""
    reply = FakeDownstream()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: scene.ask(downstream=reply, **request))
        await scene.settle()
        nursery.start_soon(scene.house.drain)
        await trio.sleep(after_s)
        scene.exchange.cut_off.now()
    assert trio.current_time() == pytest.approx(after_s), "at once"
    await scene.settle()
    assert not scene.leases
    assert not scene.open_requests
    return reply


def nothing_against(totals: Totals) -> bool:
    return (totals.failed_requests, totals.cancelled_requests) == (0, 1)


@pytest.mark.parametrize(
    ("api", "body", "said", "error"),
    [
        (CHAT, chat(stream=True), sse_answer(says("A"), 60.0), b'data: {"error": {'),
        (Api.RESPONSES, RESPONSE, sse_answer(DELTA, 60.0), b"event: error\ndata: {"),
        (Api.MESSAGES, MESSAGE, sse_answer(says("A"), 60.0), b"event: error\ndata: {"),
    ],
)
async def test_a_stream_ends_with_an_error_of_its_own_dialect_and_without_done(
    scene: Scene, api: Api, body: bytes, said: Answer, error: bytes
) -> None:
    await scene.endpoint("a")
    scene.on("a", said, CHAT if api is Api.MESSAGES else api)

    reply = await cut_after(scene, 30, api=api, body=body)

    assert reply.status == 200
    assert reply.events[-1].startswith(error)
    assert b"shutting down" in reply.events[-1]
    assert b"[DONE]" not in reply.body
    assert not reply.aborted
    assert nothing_against(scene.totals("a"))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("said", [hangs, replies(json_answer(completion()), after_s=60)])
async def test_what_has_said_nothing_yet_is_503(scene: Scene, stream: bool, said: Handler) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", said)

    reply = await cut_after(scene, 30, body=chat(stream=stream))

    assert (reply.status, reply.error["code"]) == (503, "shutting_down")
    assert reply.headers["retry-after"] == "5"
    assert nothing_against(scene.totals("a"))
    assert not scene.requests("b"), "nothing new begins"


async def test_a_large_plain_answer_is_cut_off_visibly(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", Answer(200, {}, [b"x" * 9_000_000, 60.0, b"end"]))

    reply = await cut_after(scene, 30)

    assert reply.status == 200
    assert reply.aborted


async def test_one_that_waits_to_try_elsewhere_is_503(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b", slots=1)
    scene.on("a", replies(refused(), after_s=5))
    scene.on("b", sse_answer(says("B"), 60.0))

    async with trio.open_nursery() as nursery:
        replies_ = [FakeDownstream() for _ in range(2)]
        nursery.start_soon(scene.ask, None, replies_[0])  # on a, then in line for b
        await scene.settle()
        nursery.start_soon(scene.stream, replies_[1])  # on b
        await trio.sleep(10)
        assert scene.waiting == {"tiny": 1}
        nursery.start_soon(scene.house.drain)
        await trio.sleep(20)
        scene.exchange.cut_off.now()

    assert (replies_[0].status, replies_[0].error["code"]) == (503, "shutting_down")
    assert replies_[1].last_error["code"] == "shutting_down"
    assert wire(says("B"), done=False) in replies_[1].body
    assert trio.current_time() == pytest.approx(30)


async def test_whoever_comes_after_the_cut_is_503_at_once(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.exchange.cut_off.now()
    scene.exchange.cut_off.now()

    assert (await scene.ask()).error["code"] == "shutting_down"
    assert not scene.requests("a")
