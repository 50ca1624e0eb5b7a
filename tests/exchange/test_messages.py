"""/v1/messages, answered by endpoints that speak chat completions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmlb.types import Api
from tests.fakes.house import Scene
from tests.fakes.images import PNG_100X100_BASE64
from tests.fakes.openai import completion, finish, role, says, usage_alone
from tests.fakes.upstream import Answer, disconnected, json_answer, sse_answer

MESSAGES = Api.MESSAGES


def asks(content: Any = "hello", **fields: Any) -> bytes:
    message = {"role": "user", "content": content}
    return json.dumps({"model": "tiny", "max_tokens": 9, "messages": [message], **fields}).encode()


def events(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    told = []
    for event in body.decode().split("\n\n")[:-1]:
        kind, data = event.split("\n")
        told.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return told


async def test_a_plain_message_is_a_chat_completion_for_the_endpoint(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion("Guten Tag")))
    answer = await scene.ask(asks(system="Be brief."), api=MESSAGES)
    assert answer.status == 200
    assert answer.json["type"] == "message"
    assert answer.json["content"] == [{"type": "text", "text": "Guten Tag"}]
    assert answer.json["stop_reason"] == "end_turn"
    [call] = scene.requests("a")
    assert call.path == "/v1/chat/completions"
    assert call.json["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
    ]
    await scene.settle()
    assert scene.standing("a", api=MESSAGES) is not None


async def test_a_stream_has_the_whole_sequence_of_events_and_is_counted(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(role(), says("Guten"), says(" Tag"), finish(), usage_alone(3, 2)))
    answer = await scene.ask(asks(stream=True), api=MESSAGES)
    told = events(answer.body)
    kinds = [kind for kind, _ in told if kind != "ping"]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    text = "".join(d["delta"]["text"] for k, d in told if k == "content_block_delta")
    assert text == "Guten Tag"
    await scene.settle()
    assert scene.totals("a").output_tokens == 2


async def test_what_was_translated_is_called_what_it_has_become(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", Answer(200, {"content-type": "text/plain"}, json_answer(completion()).chunks))
    plain = await scene.ask(asks(), api=MESSAGES)
    assert plain.headers["content-type"] == "application/json"
    stream = sse_answer(says("A"), finish())
    scene.on("a", Answer(200, {"content-type": "Text/Event-Stream; a=b"}, stream.chunks))
    streamed = await scene.ask(asks(stream=True), api=MESSAGES)
    assert streamed.headers["content-type"] == "text/event-stream"


async def test_a_stream_that_ends_without_done_is_ended_all_the_same(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(role(), says("x"), finish(), done=False))
    answer = await scene.ask(asks(stream=True), api=MESSAGES)
    assert events(answer.body)[-1][0] == "message_stop"


async def test_a_stream_that_breaks_ends_with_an_error_in_its_own_dialect(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(role(), says("x"), disconnected(), done=False))
    answer = await scene.ask(asks(stream=True), api=MESSAGES)
    kind, data = events(answer.body)[-1]
    assert (kind, data["error"]["type"]) == ("error", "api_error")
    assert "message_stop" not in dict(events(answer.body))


async def test_before_the_first_word_another_endpoint_is_tried(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", sse_answer(role(), disconnected(), done=False))
    scene.on("b", sse_answer(role(), says("x"), finish()))
    answer = await scene.ask(asks(stream=True), api=MESSAGES)
    assert answer.headers["x-llmlb-attempts"] == "2"
    assert [k for k, _ in events(answer.body)].count("message_start") == 1


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{", 400, "invalid_request_error"),
        (b'{"model": "tiny", "messages": []}', 400, "invalid_request_error"),
        (asks(max_tokens=0), 400, "invalid_request_error"),
        (asks(model="nobody"), 404, "not_found_error"),
    ],
)
async def test_errors_are_told_in_its_own_dialect(
    scene: Scene, body: bytes, status: int, kind: str
) -> None:
    await scene.endpoint("a")
    answer = await scene.ask(body, api=MESSAGES)
    assert answer.status == status
    told = json.loads(answer.body)
    assert (told["type"], told["error"]["type"], told["request_id"]) == ("error", kind, "req-1")
    assert scene.requests() == []


async def test_what_is_left_out_is_told(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion("x")))
    thinking = {"type": "enabled", "budget_tokens": 1024}
    answer = await scene.ask(asks(thinking=thinking), api=MESSAGES)
    assert "thinking" in answer.headers["x-llmlb-notes"]


async def test_images_are_checked_like_those_of_a_chat(scene: Scene) -> None:
    scene.upstream.get(
        "http://a.lan:8000",
        "/v1/models",
        {"data": [{"id": "tiny", "architecture": {"input_modalities": ["text"]}}]},
    )
    await scene.register("a")
    source = {"type": "base64", "media_type": "image/png", "data": PNG_100X100_BASE64}
    answer = await scene.ask(asks([{"type": "image", "source": source}]), api=MESSAGES)
    assert answer.status == 400
    assert "image" in json.loads(answer.body)["error"]["message"]


async def test_an_answer_too_large_to_be_translated_is_a_fault(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion("x" * (9 * 1024 * 1024))))
    answer = await scene.ask(asks(), api=MESSAGES)
    assert answer.status == 502
