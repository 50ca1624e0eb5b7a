"""A stream that has said nothing yet is kept alive with comments, and can still go elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from llmlb.http.keepalive import COMMENT
from llmlb.http.response_policy import OF_API
from llmlb.types import Api
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import CHAT, Scene
from tests.fakes.openai import chat, completion, finish, role, says, wire
from tests.fakes.upstream import disconnected, hangs, json_answer, refused, replies, sse_answer

pytestmark = pytest.mark.parametrize("settings", [{"stream_keepalive_s": 15.0}])

MESSAGE: dict[str, Any] = {
    "model": "tiny",
    "max_tokens": 5,
    "stream": True,
    "messages": [{"role": "user", "content": "Hi"}],
}


def slow(*said: object, after_s: float = 40.0) -> Any:
    return replies(sse_answer(*said), after_s=after_s)


async def test_comments_come_until_the_first_token(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", slow(role(), 10.0, says("Hi"), 100.0, finish()))

    reply = await scene.stream()

    assert reply.status == 200
    ours = {"content-type": "text/event-stream", "x-request-id": "req-1"}
    assert reply.headers == {**ours, **dict(OF_API)}
    about = b": x-llmlb-endpoint: a\n: x-llmlb-model: tiny\n: x-llmlb-queue-ms: 0\n"
    about += b": x-llmlb-attempts: 1\n\n"
    assert reply.body == COMMENT * 3 + about + wire(role(), says("Hi"), finish())
    assert reply.times[:4] == pytest.approx([15, 30, 45, 50])
    assert {t for t in reply.times if t > 50} == {150}, "none between tokens"
    await scene.settle()
    assert scene.totals("a").successful_requests == 1


async def test_a_stream_that_begins_in_time_has_its_headers_and_no_comment(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", slow(says("Hi"), finish(), after_s=14))

    reply = await scene.stream()

    assert reply.headers["x-llmlb-endpoint"] == "a"
    assert reply.body == wire(says("Hi"), finish())


async def test_they_come_in_the_line_too(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", slow(says("Hi"), finish(), after_s=20))
    second = FakeDownstream()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stream)
        await scene.settle()
        nursery.start_soon(scene.stream, second)

    assert second.body.startswith(COMMENT * 2 + b": x-llmlb-endpoint: a\n")
    assert b": x-queue-wait-ms: 20000\n" in second.body
    assert second.body.endswith(wire(says("Hi"), finish()))


async def test_after_the_head_another_endpoint_still_answers(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", replies(refused(), after_s=20))
    scene.on("b", slow(says("B"), finish(), after_s=20))

    reply = await scene.stream()

    assert reply.body.startswith(COMMENT * 2 + b": x-llmlb-endpoint: b\n")
    assert b": x-llmlb-attempts: 2\n" in reply.body
    assert reply.body.endswith(wire(says("B"), finish()))


@pytest.mark.parametrize(
    ("api", "body", "error"),
    [
        (CHAT, chat(stream=True), b"data: {"),
        (Api.RESPONSES, b'{"model":"tiny","input":"x","stream":true}', b"event: error\ndata: {"),
        (Api.MESSAGES, json.dumps(MESSAGE).encode(), b"event: error\ndata: {"),
    ],
)
async def test_a_later_error_is_an_event_of_the_routes_dialect(
    scene: Scene, api: Api, body: bytes, error: bytes
) -> None:
    await scene.endpoint("a")
    scene.on("a", replies(refused(), after_s=20), CHAT if api is Api.MESSAGES else api)

    reply = await scene.ask(body, api=api)

    assert reply.status == 200
    *comments, last = reply.events
    assert all(line.startswith(b":") for line in b"\n".join(comments).splitlines())
    assert b": x-llmlb-attempts: 1" in b"\n".join(reply.events)
    event = last.partition(b"\n\n")[0]
    assert error in event
    assert b"upstream_unreachable" in event or api is Api.MESSAGES
    assert b"[DONE]" not in reply.body
    assert not reply.aborted


async def test_an_error_after_content_comes_once_and_as_always(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", slow(says("A"), disconnected()))

    reply = await scene.stream()

    assert reply.body.startswith(COMMENT * 2)
    assert reply.last_error["code"] == "upstream_error"


async def test_an_error_before_the_first_comment_keeps_its_status(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", replies(refused(), after_s=14))

    reply = await scene.stream()

    assert (reply.status, reply.error["code"]) == (502, "upstream_unreachable")


async def test_a_plain_answer_gets_none(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", replies(json_answer(completion()), after_s=40))

    assert (await scene.ask()).json == completion()


@pytest.mark.parametrize("turn", [0, 1, 2])
async def test_a_client_that_is_found_gone_by_a_comment_ends_the_call(
    scene: Scene, turn: int
) -> None:
    await scene.endpoint("a")
    scene.on("a", hangs)
    reply = FakeDownstream(leaves_at=turn)

    await scene.stream(reply)
    await scene.settle()

    assert trio.current_time() == pytest.approx(15 if turn < 2 else 30)
    assert not scene.open_requests
    assert not scene.leases
    assert scene.totals("a").cancelled_requests == 1


async def test_a_client_that_reads_no_comment_holds_its_slot_no_longer_than_any(
    scene: Scene,
) -> None:
    await scene.endpoint("a")
    scene.on("a", slow(says("A"), finish()))
    reply = FakeDownstream(stuck_at=1)

    await scene.stream(reply)
    await scene.settle()

    assert trio.current_time() == pytest.approx(3600)
    assert reply.aborted
    assert not scene.leases
