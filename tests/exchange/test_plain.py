"""Plain answers: passed on byte by byte, once they are known to be answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmlb.accounting import Totals
from llmlb.types import Api
from tests.fakes.house import CHAT, COMPLETIONS, EMBEDDINGS, PATHS, Scene, url
from tests.fakes.openai import chat, completion, counted
from tests.fakes.upstream import Answer, json_answer


def odd(value: object) -> bytes:
    """JSON as somebody else would write it: other spaces, escapes, order."""
    return b"\n " + json.dumps(value, indent=3, sort_keys=True).encode() + b"\r\n"


@pytest.mark.parametrize(
    ("api", "request_body", "answer"),
    [
        (CHAT, chat(), completion("Grüße")),
        (
            COMPLETIONS,
            b'{"model": "tiny", "prompt": "1, 2,"}',
            {"choices": [{"text": " 3", "index": 0, "finish_reason": "length"}]},
        ),
        (
            EMBEDDINGS,
            b'{"model": "tiny", "input": "Hi"}',
            {"data": [{"embedding": [0.25, -1e-7], "index": 0}]},
        ),
    ],
)
async def test_an_answer_is_passed_on_byte_by_byte(
    scene: Scene, api: Api, request_body: bytes, answer: dict[str, Any]
) -> None:
    await scene.endpoint("a")
    body = odd(answer)
    scene.on("a", Answer(200, {"content-type": "application/json"}, [body[:10], body[10:]]), api)

    reply = await scene.ask(request_body, api=api)

    assert (reply.status, reply.body) == (200, body)
    assert reply.headers["content-length"] == str(len(body))
    [call] = scene.requests()
    assert (call.endpoint.base_url, call.method, call.path) == (url("a"), "POST", PATHS[api])


async def test_a_request_reaches_the_endpoint_as_it_came(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))
    body = (
        b' {"messages":[], "x-unknown" : {"deep":[1.50,1e3,null]},"model":"tiny" ,"stream":false,'
        b'"seed": 12345678901234567890, "text":"\\u00e9\xc3\xa9"}\n'
    )

    reply = await scene.ask(body)

    assert reply.status == 200
    assert [call.body for call in scene.requests()] == [body]


async def test_a_stream_of_null_is_no_stream(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))

    reply = await scene.ask(b'{"model":"tiny","stream":null}')

    assert reply.headers["content-type"] == "application/json"
    assert [call.body for call in scene.requests()] == [b'{"model":"tiny","stream":null}']


async def test_embeddings_are_never_streamed(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer({"data": [{"embedding": [1]}]}), EMBEDDINGS)

    reply = await scene.ask(b'{"model":"tiny","input":"x","stream":true}', api=EMBEDDINGS)

    assert reply.status == 200
    assert reply.json == {"data": [{"embedding": [1]}]}


async def test_the_usage_of_a_plain_answer_is_recorded(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion(usage=counted(11, 5))))

    await scene.ask()
    await scene.settle()

    totals = scene.totals("a")
    assert (totals.input_tokens, totals.output_tokens, totals.total_tokens) == (11, 5, 16)
    assert (totals.total_requests, totals.successful_requests) == (1, 1)


@pytest.mark.parametrize(
    "usage",
    [
        "many",
        [],
        7,
        {"prompt_tokens": -1, "completion_tokens": 1.5, "total_tokens": True},
        {"prompt_tokens": 10**30},
        {"prompt_tokens": None},
    ],
)
async def test_a_usage_that_makes_no_sense_is_left_out(scene: Scene, usage: Any) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion(usage=usage)))

    reply = await scene.ask()
    await scene.settle()

    assert reply.status == 200
    totals = scene.totals("a")
    assert totals == Totals(1, 1, total_duration_ms=totals.total_duration_ms)


async def test_an_answer_without_text_is_an_answer(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion("")))

    reply = await scene.ask()

    assert reply.json["choices"][0]["finish_reason"] == "stop"


async def test_a_plain_answer_in_a_201_is_an_answer(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion(), status=201))

    assert (await scene.ask()).status == 200


async def test_a_second_request_uses_the_slot_of_the_first(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", json_answer(completion()))

    for _ in range(3):
        assert (await scene.ask()).status == 200

    await scene.settle()
    assert not scene.leases
    assert scene.totals("a").successful_requests == 3
