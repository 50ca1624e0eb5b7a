"""Streams: passed on as they come, from the first content to the end."""

from __future__ import annotations

import pytest

from llmlb.accounting import Totals
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import COMPLETIONS, Scene
from tests.fakes.openai import (
    DONE,
    chat,
    chunk,
    completion,
    counted,
    event,
    finish,
    role,
    says,
    usage_alone,
    wire,
)
from tests.fakes.upstream import Answer, disconnected, json_answer, sse_answer

SSE = {"content-type": "text/event-stream"}


async def test_a_stream_is_passed_on_byte_by_byte(scene: Scene) -> None:
    await scene.endpoint("a")
    body = (
        b": a comment\n\n"
        b'data:{"choices":[{"index":0,"delta":{"role":"assistant"}}]}\r\n\r\n'
        b'event: x\ndata: {"choices":[{"index":0,\ndata: "delta":{"content":"\xc3\xa9"}}]}\n\n'
        b"id: 7\nretry: 10\n: another\n\n"
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n"
    )
    # One byte at a time: no split may make a difference.
    scene.on("a", Answer(200, SSE, [body[i : i + 1] for i in range(len(body))]))

    reply = await scene.stream()

    assert reply.status == 200
    assert reply.body == body


async def test_tokens_are_passed_on_when_they_come(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(role(), 2.0, says("A"), 1.0, says("B"), 0.5, finish()))

    reply = await scene.stream()

    assert [round(t - reply.times[0], 3) for t in reply.times] == [0, 1.0, 1.5, 1.5]
    assert reply.pieces == [
        event(role()) + event(says("A")),
        event(says("B")),
        event(finish()),
        DONE,
    ]


async def test_a_completion_is_streamed_alike(scene: Scene) -> None:
    await scene.endpoint("a")
    texts = [{"choices": [{"index": 0, "text": text}]} for text in ("", " 3", " 4")]
    end = {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}
    scene.on("a", sse_answer(*texts, end), COMPLETIONS)

    reply = await scene.ask(b'{"model":"tiny","prompt":"1, 2,","stream":true}', api=COMPLETIONS)

    assert reply.body == wire(*texts, end)


@pytest.mark.parametrize("content_type", ["text/event-stream; charset=utf-8", "Text/Event-Stream"])
async def test_a_stream_is_known_by_its_content_type(scene: Scene, content_type: str) -> None:
    await scene.endpoint("a")
    answer = sse_answer(says("Hi"), finish())
    scene.on("a", Answer(200, {"content-type": content_type}, answer.chunks))

    assert (await scene.stream()).status == 200


# -- usage


async def test_usage_is_asked_for_and_kept_from_a_client_that_did_not_ask(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), finish(), usage_alone(11, 5)))

    reply = await scene.stream()
    await scene.settle()

    [call] = scene.requests()
    assert call.json == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert reply.body == wire(says("Hi"), finish())
    assert (scene.totals("a").input_tokens, scene.totals("a").output_tokens) == (11, 5)


@pytest.mark.parametrize("shape", ["one read", "byte by byte"])
async def test_usage_is_hidden_whatever_the_reads(scene: Scene, shape: str) -> None:
    await scene.endpoint("a")
    body = wire(says("Hi"), finish(), usage_alone())
    reads = [body] if shape == "one read" else [body[i : i + 1] for i in range(len(body))]
    scene.on("a", Answer(200, SSE, reads))

    reply = await scene.stream()

    assert reply.body == wire(says("Hi"), finish())


async def test_a_client_that_asked_for_usage_gets_it(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), finish(), usage_alone(11, 5)))

    reply = await scene.stream(stream_options={"include_usage": True, "x": 1})
    await scene.settle()

    assert scene.requests()[0].body == chat(
        stream=True, stream_options={"include_usage": True, "x": 1}
    )
    assert reply.body == wire(says("Hi"), finish(), usage_alone(11, 5))
    assert scene.totals("a").total_tokens == 16


@pytest.mark.parametrize("options", [{}, {"include_usage": False, "chunk_include_usage": True}])
async def test_usage_is_added_to_the_clients_own_options(
    scene: Scene, options: dict[str, bool]
) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), finish(), usage_alone()))

    reply = await scene.stream(stream_options=options)

    assert scene.requests()[0].json["stream_options"] == {**options, "include_usage": True}
    assert reply.body == wire(says("Hi"), finish())


async def test_usage_in_a_chunk_with_choices_is_never_hidden(scene: Scene) -> None:
    await scene.endpoint("a")
    last = chunk(finish="stop", usage=counted(2, 1))
    scene.on("a", sse_answer(says("Hi"), last))

    reply = await scene.stream()
    await scene.settle()

    assert reply.body == wire(says("Hi"), last)
    assert scene.totals("a").total_tokens == 3


async def test_a_chunk_without_choices_and_usage_is_never_hidden(scene: Scene) -> None:
    await scene.endpoint("a")
    filters = {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    scene.on("a", sse_answer(filters, says("Hi"), finish(), {"choices": [], "usage": None}))

    reply = await scene.stream()

    assert reply.body == wire(filters, says("Hi"), finish(), {"choices": [], "usage": None})


async def test_usage_without_choices_in_it_is_recorded(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), finish(), {"usage": counted(2, 1)}))

    await scene.stream()
    await scene.settle()

    assert scene.totals("a").total_tokens == 3


async def test_a_plain_request_is_not_asked_for_usage(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))

    await scene.ask(chat(stream=False))

    assert scene.requests()[0].body == chat(stream=False)


def no_such_option(message: str, **fields: object) -> Answer:
    return json_answer({"error": {"message": message, **fields}}, status=400)


REFUSALS = [
    no_such_option("stream_options: extra fields not permitted"),
    no_such_option("Unrecognized request argument supplied: include_usage"),
    no_such_option("Unknown parameter.", param="stream_options"),
    json_answer({"detail": [{"loc": ["body", "stream_options"], "msg": "extra"}]}, status=422),
]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_an_endpoint_that_refuses_to_count_is_asked_once_more_without(
    scene: Scene, refusal: Answer
) -> None:
    await scene.endpoint("a")

    async def handle(call: object) -> Answer:
        asked = b"stream_options" in (scene.requests()[-1].body or b"")
        return refusal if asked else sse_answer(says("Hi"), finish())

    scene.on("a", handle)

    first, second = await scene.stream(), await scene.stream()
    await scene.settle()

    assert first.body == second.body == wire(says("Hi"), finish())
    assert first.headers["x-llmlb-attempts"] == "1"
    counted_calls = [b"stream_options" in (call.body or b"") for call in scene.requests()]
    assert counted_calls == [True, False, False], "it is remembered"
    totals = scene.totals("a")
    assert (totals.total_requests, totals.successful_requests) == (2, 2)


async def test_what_another_endpoint_refuses_is_its_own_affair(scene: Scene) -> None:
    await scene.endpoint("a", slots=8)
    await scene.endpoint("b", slots=8)

    async def refuses_to_count(call: object) -> Answer:
        asked = b"stream_options" in (scene.requests("a")[-1].body or b"")
        return REFUSALS[0] if asked else sse_answer(says("Hi"), finish())

    scene.on("a", refuses_to_count)
    scene.on("b", sse_answer(says("Hi"), finish(), usage_alone()))

    for _ in range(6):
        await scene.stream()

    assert all(b"stream_options" in (call.body or b"") for call in scene.requests("b"))


async def test_a_refusal_of_the_clients_own_options_is_the_clients(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", REFUSALS[0])

    reply = await scene.stream(stream_options={"include_usage": True})

    assert reply.status == 400
    assert len(scene.requests()) == 1


async def test_stream_options_of_any_other_kind_are_the_endpoints_to_judge(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", no_such_option("stream_options must be an object"))

    reply = await scene.stream(stream_options="yes")

    assert reply.status == 400
    assert [call.json["stream_options"] for call in scene.requests()] == ["yes"]


async def test_the_usage_of_a_stream_that_failed_is_recorded(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(chunk({"content": "Hi"}, usage=counted(9, 1)), disconnected()))

    await scene.stream()
    await scene.settle()

    totals = scene.totals("a")
    assert (totals.failed_requests, totals.total_tokens) == (1, 10)


async def test_the_usage_of_a_stream_whose_client_left_is_recorded(scene: Scene) -> None:
    await scene.endpoint("a")
    first = chunk({"content": "Hi"}, usage=counted(9, 1))
    scene.on("a", sse_answer(first, chunk({"content": "!"}, usage=counted(9, 2)), finish()))

    await scene.stream(FakeDownstream(leaves_at=2))
    await scene.settle()

    totals = scene.totals("a")
    assert totals == Totals(
        1, cancelled_requests=1, input_tokens=9, output_tokens=2, total_tokens=11
    )
