"""Headers are allow-listed both ways: what goes up, what comes down, what we add."""

from __future__ import annotations

import pytest
import trio

from llmlb.http.response_policy import OF_API
from tests.fakes.accounts import key, moved_in, secret_of, user
from tests.fakes.house import Scene
from tests.fakes.openai import DONE, completion, event, finish, says
from tests.fakes.upstream import Answer, json_answer, refused, replies, sse_answer

FROM_CLIENT = {
    "content-type": "application/json; charset=utf-8",
    "accept": "text/event-stream",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "vendor=1",
    "x-llmlb-instance": "another",
    "authorization": "Bearer sk-client",
    "proxy-authorization": "Basic abc",
    "cookie": "session=1",
    "x-api-key": "sk-client",
    "api-key": "sk-client",
    "openai-organization": "org-1",
    "host": "balancer.lan",
    "origin": "http://evil.example",
    "user-agent": "python",
    "connection": "keep-alive, x-secret",
    "x-secret": "s",
    "x-forwarded-for": "10.0.0.1",
    "content-length": "7",
    "transfer-encoding": "chunked",
    "accept-encoding": "gzip",
}


async def test_of_the_clients_headers_an_endpoint_sees_only_the_allowed(scene: Scene) -> None:
    await moved_in(scene.house, user(), key())
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))

    await scene.ask(headers={**FROM_CLIENT, "x-api-key": secret_of("laptop")}, request_id="req-7")

    [call] = scene.requests()
    assert call.headers == {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "traceparent": FROM_CLIENT["traceparent"],
        "tracestate": "vendor=1",
        "x-llmlb-instance": "another",
        "x-request-id": "req-7",
    }


FROM_ENDPOINT = {
    "content-type": "application/json; charset=utf-8",
    "x-ratelimit-remaining-requests": "12",
    "x-ratelimit-reset-tokens": "6m0s",
    "retry-after": "3",
    "set-cookie": "a=b",
    "server": "uvicorn",
    "x-powered-by": "Express",
    "authorization": "Bearer sk-endpoint",
    "x-api-key": "sk-endpoint",
    "www-authenticate": "Basic",
    "access-control-allow-origin": "*",
    "x-request-id": "theirs",
    "x-llmlb-endpoint": "forged",
    "x-llmlb-model": "forged",
    "x-llmlb-attempts": "99",
    "content-length": "5",
    "content-encoding": "identity",
    "connection": "close",
    "transfer-encoding": "chunked",
    "location": "http://a.lan",
}


@pytest.mark.parametrize("streamed", [False, True])
async def test_of_an_endpoints_headers_a_client_sees_only_the_allowed(
    scene: Scene, streamed: bool
) -> None:
    await scene.endpoint("a", api_key="sk-endpoint")
    plain = json_answer(completion())
    stream = sse_answer(says("Hi"), finish())
    headers = dict(FROM_ENDPOINT)
    if streamed:
        headers["content-type"] = "text/event-stream; charset=utf-8"
    scene.on("a", Answer(200, headers, (stream if streamed else plain).chunks))

    reply = await (scene.stream() if streamed else scene.ask())

    assert reply.status == 200
    given = dict(reply.headers)
    if not streamed:
        assert given.pop("content-length") == str(len(reply.body))
    assert given == {
        "content-type": headers["content-type"],
        "x-ratelimit-remaining-requests": "12",
        "x-ratelimit-reset-tokens": "6m0s",
        "retry-after": "3",
        "x-request-id": "req-1",
        "x-llmlb-endpoint": "a",
        "x-llmlb-model": "tiny",
        "x-llmlb-attempts": "1",
        "x-llmlb-queue-ms": "0",
        **dict(OF_API),
    }
    assert "sk-endpoint" not in str(reply.heads)


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", ""])
async def test_what_was_read_as_json_goes_up_as_json(scene: Scene, content_type: str) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))
    await scene.ask(headers={"content-type": content_type} if content_type else {})
    [call] = scene.requests()
    assert call.headers["content-type"] == "application/json"


@pytest.mark.parametrize("headers", [{}, {"content-type": "text/html"}])
async def test_what_was_read_as_json_comes_down_as_json(
    scene: Scene, headers: dict[str, str]
) -> None:
    await scene.endpoint("a")
    scene.on("a", Answer(200, headers, json_answer(completion()).chunks))
    reply = await scene.ask()
    assert reply.json == completion()
    assert reply.headers["content-type"] == "application/json"


async def test_a_client_that_had_to_wait_is_told_so(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", replies(json_answer(completion()), after_s=1.5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask)
        await scene.settle()
        reply = await scene.ask()

    assert reply.headers["x-llmlb-queue-ms"] == "1500"
    assert reply.headers["x-queue-status"] == "queued"
    assert reply.headers["x-queue-wait-ms"] == "1500"


async def test_the_endpoint_and_the_attempts_are_told(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", refused())
    scene.on("b", json_answer(completion()))

    reply = await scene.ask()

    assert reply.headers["x-llmlb-endpoint"] == "b"
    assert reply.headers["x-llmlb-attempts"] == "2"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("GPU box (attic)", "GPU box (attic)"),
        ("Küche", "K%C3%BCche"),
        ("100%", "100%25"),
        ("a\r\nset-cookie: x", "a%0D%0Aset-cookie: x"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
    ],
)
async def test_any_name_of_an_endpoint_fits_into_a_header(
    scene: Scene, name: str, told: str
) -> None:
    await scene.endpoint(name)
    scene.on(name, json_answer(completion()))

    reply = await scene.ask()

    assert reply.headers["x-llmlb-endpoint"] == told
    assert all(value.isprintable() and value.isascii() for value in reply.headers.values())


async def test_an_error_tells_of_the_attempts_too(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", refused())

    reply = await scene.ask(request_id="req-9")

    assert reply.status == 502
    assert dict(reply.headers) == {
        "content-type": "application/json",
        "content-length": str(len(reply.body)),
        "x-request-id": "req-9",
        "x-llmlb-queue-ms": "0",
        "x-llmlb-attempts": "1",
        **dict(OF_API),
    }


async def test_a_stream_has_no_length(scene: Scene) -> None:
    await scene.endpoint("a")
    body = event(says("Hi")) + event(finish()) + DONE
    headers = {"content-type": "text/event-stream", "content-length": str(len(body))}
    scene.on("a", Answer(200, headers, [body]))

    reply = await scene.stream()

    assert reply.body == body
    assert "content-length" not in reply.headers


async def test_a_refusal_says_whose_it_is(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer({"error": {"message": "too long"}}, 400))

    reply = await scene.ask()

    assert reply.status == 400
    assert (reply.headers["x-llmlb-endpoint"], reply.headers["x-llmlb-model"]) == ("a", "tiny")
