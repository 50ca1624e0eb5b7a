from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import trio

from llmlb.demo.stopping import DemoFailed
from llmlb.demo.talk import EndpointRow, Talk, text_of

Answer = Callable[[httpx.Request], httpx.Response]


def talk_to(answer: Answer) -> Talk:
    transport = httpx.MockTransport(answer)
    return Talk(httpx.AsyncClient(base_url="http://balancer", transport=transport))


def chunk(text: object) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}"


async def test_health_200_means_up() -> None:
    assert await talk_to(lambda request: httpx.Response(200)).is_up()
    assert not await talk_to(lambda request: httpx.Response(503)).is_up()


async def test_nobody_listening_yet_means_not_up() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    assert not await talk_to(refuse).is_up()


async def test_an_endpoint_is_registered_with_name_and_url() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json={"id": "1"})

    await talk_to(answer).register("a", "http://127.0.0.1:1")
    assert (seen[0].method, seen[0].url.path) == ("POST", "/api/endpoints")
    assert json.loads(seen[0].content) == {"name": "a", "base_url": "http://127.0.0.1:1"}


async def test_endpoints_are_read_and_what_is_missing_is_none() -> None:
    item = {"name": "a", "base_url": "u", "status": "online", "latency_ms": 2.5, "other": 1}
    rows = await talk_to(lambda r: httpx.Response(200, json={"endpoints": [item]})).endpoints()
    assert rows == [EndpointRow("a", "u", "online", None, 2.5, None, None)]


async def test_models_are_read_by_id() -> None:
    body = {"object": "list", "data": [{"id": "x"}, {"id": "y"}]}
    assert await talk_to(lambda r: httpx.Response(200, json=body)).model_ids() == ["x", "y"]


@pytest.mark.parametrize("body", [[], {}, {"endpoints": [1]}, {"endpoints": None}, {"data": [{}]}])
async def test_an_answer_of_another_shape_is_a_failure_that_names_the_route(body: object) -> None:
    talk = talk_to(lambda request: httpx.Response(200, json=body))
    with pytest.raises(DemoFailed, match="GET /api/endpoints gave an unexpected answer"):
        await talk.endpoints()
    with pytest.raises(DemoFailed, match="GET /v1/models gave an unexpected answer"):
        await talk.model_ids()


async def test_an_error_status_is_a_failure_that_shows_the_answer() -> None:
    talk = talk_to(lambda request: httpx.Response(409, text="the name is taken"))
    with pytest.raises(DemoFailed, match="POST /api/endpoints was answered 409: the name is taken"):
        await talk.register("a", "u")


async def test_an_answer_that_is_not_json_is_a_failure() -> None:
    with pytest.raises(DemoFailed, match="GET /v1/models did not answer with JSON"):
        await talk_to(lambda request: httpx.Response(200, text="<html>")).model_ids()


async def test_a_lost_connection_is_a_failure() -> None:
    def lose(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset")

    with pytest.raises(DemoFailed, match=r"GET /v1/models failed: ReadError"):
        await talk_to(lose).model_ids()
    with pytest.raises(DemoFailed, match=r"POST /v1/chat/completions failed: ReadError"):
        await talk_to(lose).stream_chat("m", "hi", max_tokens=1, on_text=lambda text: None)


def streaming(*lines: str, status: int = 200) -> Answer:
    async def body() -> AsyncIterator[bytes]:
        for line in lines:
            await trio.lowlevel.checkpoint()
            yield f"{line}\n\n".encode()

    headers = {"x-llmlb-endpoint": "llama-b"}
    return lambda request: httpx.Response(status, content=body(), headers=headers)


async def test_a_completion_is_handed_over_piece_by_piece() -> None:
    shown: list[str] = []
    lines = [": hello", chunk("he"), chunk(""), chunk("llo"), "data: [DONE]"]
    answer = await talk_to(streaming(*lines)).stream_chat(
        "m", "hi", max_tokens=4, on_text=shown.append
    )
    assert shown == ["he", "llo"]
    assert (answer.endpoint, answer.pieces, answer.finished) == ("llama-b", 2, True)


async def test_a_stream_that_ends_early_is_not_finished() -> None:
    answer = await talk_to(streaming(chunk("he"))).stream_chat(
        "m", "hi", max_tokens=4, on_text=lambda text: None
    )
    assert not answer.finished


async def test_a_refused_completion_shows_why() -> None:
    talk = talk_to(streaming('{"error": "no such model"}', status=404))
    with pytest.raises(DemoFailed, match=r"was answered 404: .*no such model"):
        await talk.stream_chat("m", "hi", max_tokens=4, on_text=lambda text: None)


@pytest.mark.parametrize(
    "line",
    [
        "",
        ": comment",
        "event: x",
        "data: [DONE]",
        "data: {half",
        "data: 7",
        "data: {}",
        'data: {"choices": []}',
        'data: {"choices": [{"delta": {}}]}',
        'data: {"choices": [{"delta": null}]}',
        chunk(None),
        chunk(5),
    ],
)
def test_lines_without_text_carry_none(line: str) -> None:
    assert text_of(line) == ""


def test_an_error_event_is_a_failure() -> None:
    with pytest.raises(DemoFailed, match=r"the stream broke off: .*gone"):
        text_of('data: {"error": {"message": "gone"}}')
