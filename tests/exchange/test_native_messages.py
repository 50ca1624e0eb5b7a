"""/v1/messages passed on to endpoints that speak it, and translated for those that do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from llmlb.types import Api
from tests.fakes.house import CHAT, Scene
from tests.fakes.openai import completion
from tests.fakes.upstream import Answer, json_answer, refused

MESSAGES, COUNT = Api.MESSAGES, Api.COUNT_TOKENS

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "tiny",
    "content": [{"type": "text", "text": "native"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 4},
}

EVENTS: tuple[dict[str, Any], ...] = (
    {"type": "message_start", "message": {"usage": {"input_tokens": 3}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
    {"type": "content_block_delta", "index": 0, "delta": {"text": "hi"}},
    {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 4}},
    {"type": "message_stop"},
)
STREAM = b"".join(
    b"event: %b\ndata: %b\n\n" % (told["type"].encode(), json.dumps(told).encode())
    for told in EVENTS
)


def asks(content: Any = "hello", **fields: Any) -> bytes:
    message = {"role": "user", "content": content}
    return json.dumps({"model": "tiny", "max_tokens": 9, "messages": [message], **fields}).encode()


async def native(scene: Scene, name: str, *models: str, **fields: Any) -> None:
    scene.on(name, json_answer(MESSAGE), MESSAGES)
    scene.on(name, json_answer({"input_tokens": 7}), COUNT)
    await scene.endpoint(name, *models, **fields)


async def translated(scene: Scene, name: str) -> None:
    await scene.endpoint(name)
    scene.on(name, json_answer(completion("translated")))


async def test_a_message_goes_as_it_is_to_an_endpoint_that_speaks_it(scene: Scene) -> None:
    await native(scene, "a")
    body = asks([{"type": "document", "source": {"type": "text", "data": "x"}}], top_k=1)
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "x-1", "x-api-key": "secret"}

    reply = await scene.ask(body, api=MESSAGES, headers=headers)

    assert reply.json == MESSAGE
    [call] = scene.requests()
    assert (call.path, call.body) == ("/v1/messages", body)
    assert call.headers["anthropic-version"] == "2023-06-01"
    assert call.headers["anthropic-beta"] == "x-1"
    assert "secret" not in str(call.headers)
    await scene.settle()
    assert scene.totals("a").total_tokens == 7


async def test_a_stream_is_passed_on_byte_by_byte(scene: Scene) -> None:
    await native(scene, "a")
    scene.on("a", Answer(200, {"content-type": "text/event-stream"}, [STREAM]), MESSAGES)
    reply = await scene.ask(asks(stream=True), api=MESSAGES)
    assert reply.body == STREAM
    await scene.settle()
    assert scene.totals("a").total_tokens == 7


async def test_a_stream_that_breaks_ends_with_anthropics_error(scene: Scene) -> None:
    await native(scene, "a")
    broken = STREAM[: STREAM.index(b"event: message_delta")]
    scene.on("a", Answer(200, {"content-type": "text/event-stream"}, [broken]), MESSAGES)
    reply = await scene.ask(asks(stream=True), api=MESSAGES)
    kind, data = reply.events[-1].split(b"\n")
    assert kind == b"event: error"
    assert json.loads(data.removeprefix(b"data: "))["error"]["type"] == "api_error"


@pytest.mark.parametrize("first", ["native", "translated"])
async def test_failover_goes_from_one_kind_of_endpoint_to_the_other(
    scene: Scene, first: str
) -> None:
    if first == "native":
        await native(scene, "a")
        await translated(scene, "b")
        scene.on("a", refused(), MESSAGES)
    else:
        await translated(scene, "a")
        await native(scene, "b")
        scene.on("a", refused())

    replies = [await scene.ask(asks(), api=MESSAGES) for _ in range(3)]

    text = "translated" if first == "native" else "native"
    assert {reply.json["content"][0]["text"] for reply in replies} == {text}
    assert {reply.json["type"] for reply in replies} == {"message"}


async def test_what_cannot_be_translated_goes_only_where_it_need_not_be(scene: Scene) -> None:
    await translated(scene, "a")
    await native(scene, "b")
    body = asks([{"type": "unheard_of", "x": 1}])

    for _ in range(3):
        reply = await scene.ask(body, api=MESSAGES)
        assert reply.json == MESSAGE
    assert not scene.requests("a")


async def test_what_cannot_be_translated_is_refused_where_nobody_speaks_it(scene: Scene) -> None:
    await translated(scene, "a")
    reply = await scene.ask(asks([{"type": "unheard_of", "x": 1}]), api=MESSAGES)
    assert reply.status == 400
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert not scene.requests()


@pytest.mark.parametrize("settings", [{"model_aliases": {"fast": ("tiny",)}}])
async def test_a_native_message_is_renamed_both_ways(scene: Scene) -> None:
    await native(scene, "a")
    reply = await scene.ask(asks(model="fast"), api=MESSAGES)
    assert reply.json == {**MESSAGE, "model": "fast"}
    assert scene.requests()[0].json["model"] == "tiny"


async def test_notes_are_told_only_of_a_translation(scene: Scene) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    await native(scene, "a")
    reply = await scene.ask(asks(thinking=thinking), api=MESSAGES)
    assert "x-llmlb-notes" not in reply.headers


# -- counting tokens


def count(**fields: Any) -> bytes:
    messages = [{"role": "user", "content": "hello"}]
    return json.dumps({"model": "tiny", "messages": messages, **fields}).encode()


async def test_tokens_are_counted_where_an_endpoint_can(scene: Scene) -> None:
    await translated(scene, "a")
    await native(scene, "b")
    for _ in range(3):
        reply = await scene.ask(count(), api=COUNT)
        assert (reply.json, reply.headers["x-llmlb-endpoint"]) == ({"input_tokens": 7}, "b")
    await scene.settle()
    assert scene.latency_ms("b") is None, "it says nothing of how fast inference is"
    assert scene.totals("b").total_requests == 0


async def test_where_nobody_can_count_it_is_said(scene: Scene) -> None:
    await translated(scene, "a")
    reply = await scene.ask(count(), api=COUNT)
    assert reply.status == 400
    assert "counts tokens" in reply.json["error"]["message"]


async def test_an_unknown_model_is_404(scene: Scene) -> None:
    await native(scene, "a")
    reply = await scene.ask(count(model="unknown"), api=COUNT)
    assert (reply.status, reply.json["error"]["type"]) == (404, "not_found_error")


async def test_a_question_about_nothing_is_400(scene: Scene) -> None:
    reply = await scene.ask(b"{}", api=COUNT)
    assert (reply.status, reply.json["error"]["type"]) == (400, "invalid_request_error")


async def test_an_endpoint_that_lost_the_route_is_surveyed_again(scene: Scene) -> None:
    await native(scene, "a")
    await translated(scene, "b")
    scene.on("a", Answer(404), MESSAGES)
    scene.on("a", json_answer(completion("translated")), CHAT)

    for _ in range(2):
        reply = await scene.ask(asks(), api=MESSAGES)
        assert reply.json["content"][0]["text"] == "translated"
    await trio.sleep(60)
    assert Api.MESSAGES not in scene.known("a").native_apis
