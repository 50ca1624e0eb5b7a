"""/v1/responses and /v1/rerank through the same core as all other routes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmlb.accounting import Totals
from llmlb.types import Api
from tests.fakes.house import Scene
from tests.fakes.openai import typed_event as event
from tests.fakes.upstream import Answer, disconnected, json_answer

RESPONSES, RERANK = Api.RESPONSES, Api.RERANK

WHOLE = {
    "object": "response",
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}],
    "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
}


def asks(**fields: Any) -> bytes:
    return json.dumps({"model": "tiny", "input": "hello", **fields}).encode()


BEGUN = [
    event("response.created", response={"status": "in_progress"}),
    event("response.output_item.added", item={}),
    event("response.output_text.delta", delta="hi"),
]
END = event("response.completed", response=WHOLE)


def streams(*pieces: Any) -> Answer:
    return Answer(200, {"content-type": "text/event-stream"}, list(pieces))


async def test_a_plain_response_is_passed_on_and_counted(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(WHOLE), RESPONSES)
    answer = await scene.ask(asks(), api=RESPONSES)
    assert (answer.status, answer.json) == (200, WHOLE)
    await scene.settle()
    assert scene.totals("a").total_tokens == 7
    assert scene.standing("a", api=RESPONSES) is not None


async def test_a_streamed_response_is_passed_on_event_by_event(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", streams(*BEGUN, END), RESPONSES)
    answer = await scene.ask(asks(stream=True), api=RESPONSES)
    assert answer.body == b"".join([*BEGUN, END])
    assert scene.requests("a")[0].body == asks(stream=True)
    await scene.settle()
    took_ms = scene.totals("a").total_duration_ms
    assert scene.totals("a") == Totals(1, 1, 0, 0, 5, 2, 7, took_ms, timed_output_tokens=2)


async def test_events_that_repeat_long_instructions_and_a_long_output_are_passed_on_whole(
    scene: Scene,
) -> None:
    await scene.endpoint("a")
    long = "x" * 300_000
    created = event("response.created", response={"status": "in_progress", "instructions": long})
    end = event("response.completed", response={**WHOLE, "instructions": long})
    cut = [end[:1000], end[1000:200_000], end[200_000:]]
    scene.on("a", streams(created, *BEGUN[1:], *cut), RESPONSES)
    answer = await scene.ask(asks(stream=True), api=RESPONSES)
    assert answer.body == b"".join([created, *BEGUN[1:], end])
    await scene.settle()
    assert scene.totals("a").total_tokens == 7


@pytest.mark.parametrize("status", ["queued", "incomplete"])
async def test_an_answer_without_output_yet_or_ever_is_passed_on(scene: Scene, status: str) -> None:
    await scene.endpoint("a")
    answered = {"id": "resp_1", "object": "response", "status": status, "output": []}
    scene.on("a", json_answer(answered), RESPONSES)
    answer = await scene.ask(asks(), api=RESPONSES)
    assert (answer.status, answer.json) == (200, answered)


async def test_a_plain_response_that_failed_is_the_next_endpoints(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    failed = {"status": "failed", "output": [], "error": {"message": "no memory"}}
    scene.on("a", json_answer(failed), RESPONSES)
    scene.on("b", json_answer(WHOLE), RESPONSES)
    answer = await scene.ask(asks(), api=RESPONSES)
    assert (answer.status, answer.json) == (200, WHOLE)
    assert answer.headers["x-llmlb-attempts"] == "2"


async def test_one_that_fails_before_it_says_anything_is_the_next_endpoints(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    failed = event("response.failed", response={"error": {"message": "no memory"}})
    scene.on("a", streams(BEGUN[0], failed), RESPONSES)
    scene.on("b", streams(*BEGUN, END), RESPONSES)
    answer = await scene.ask(asks(stream=True), api=RESPONSES)
    assert answer.body == b"".join([*BEGUN, END])
    assert answer.headers["x-llmlb-attempts"] == "2"


async def test_one_that_breaks_later_ends_with_an_error_in_its_own_dialect(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", streams(*BEGUN, disconnected()), RESPONSES)
    answer = await scene.ask(asks(stream=True), api=RESPONSES)
    *passed_on, last = answer.body.rstrip().split(b"\n\n")
    assert b"\n\n".join(passed_on) + b"\n\n" == b"".join(BEGUN)
    kind, data = last.split(b"\n")
    assert kind == b"event: error"
    told = json.loads(data.removeprefix(b"data: "))
    assert (told["type"], told["code"]) == ("error", "upstream_error")


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_route_that_no_endpoint_of_the_model_has_is_said_to_be_missing(
    scene: Scene, status: int
) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer({"error": "no such route"}, status), RESPONSES)
    answer = await scene.ask(asks(), api=RESPONSES)
    assert (answer.status, answer.error["code"]) == (400, "unsupported_capability")
    assert "/v1/responses" in answer.error["message"]


async def test_reranking_is_passed_on(scene: Scene) -> None:
    await scene.endpoint("a")
    ranked = {"results": [{"index": 0, "relevance_score": 0.9}], "usage": {"total_tokens": 3}}
    scene.on("a", json_answer(ranked), RERANK)
    body = json.dumps({"model": "tiny", "query": "q", "documents": ["d"], "stream": True}).encode()
    answer = await scene.ask(body, api=RERANK)
    assert (answer.status, answer.json) == (200, ranked)
    assert scene.requests("a")[0].body == body
