"""An endpoint that fails before anything was sent: the next one is tried, each one once."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.types import Engine, Status
from tests.fakes.house import COMPLETIONS, EMBEDDINGS, Scene, url
from tests.fakes.openai import chat, completion, finish, role, says, wire
from tests.fakes.upstream import (
    Answer,
    Handler,
    disconnected,
    hangs,
    json_answer,
    refused,
    replies,
    sse_answer,
)

JSON = {"content-type": "application/json"}

Failure = Answer | Handler | BaseException


def error_answer(status: int, message: str = "no", **headers: str) -> Answer:
    return json_answer({"error": {"message": message}}, status, **headers)


ANY: dict[str, Failure] = {
    "refused": refused(),
    "disconnected": disconnected(),
    "not HTTP": UpstreamFault(FaultKind.BAD_ANSWER, "The answer is not valid HTTP."),
    "500": error_answer(500),
    "502": Answer(502, {"content-type": "text/html"}, [b"<html>Bad Gateway</html>"]),
    "503 loading": error_answer(503, "Loading model"),
    "504": Answer(504),
    "501": error_answer(501, "This server does not support embeddings"),
    "429": error_answer(429, retry_after="7"),
    "404": error_answer(404, "model not found"),
    "405": Answer(405),
    "401": error_answer(401, "bad key"),
    "403": error_answer(403, "bad key"),
    "408": Answer(408),
    "a redirect": Answer(302, {"location": "http://elsewhere"}),
    "an error body that breaks off": Answer(500, JSON, [b'{"err', disconnected()]),
    "an empty body": Answer(200, JSON),
    "a blank body": Answer(200, JSON, [b" \n"]),
    "204": Answer(204),
    "half an answer": Answer(200, JSON, [b'{"choices": [', disconnected()]),
    "it never answers": hangs,
}

PLAIN: dict[str, Failure] = {
    **ANY,
    "an error object in a 200": json_answer({"error": {"message": "no slot"}}),
    "an error text in a 200": json_answer({"error": "no slot"}),
    "truncated JSON": Answer(200, JSON, [b'{"choices": [{"mess']),
    "HTML": Answer(200, {"content-type": "text/html"}, [b"<html>Hello</html>"]),
    "no choices": json_answer({"id": "c-1"}),
    "empty choices": json_answer({"choices": []}),
    "null choices": json_answer({"choices": None}),
    "a list": json_answer([completion()]),
    "null": json_answer(None),
    "a stream": sse_answer(says("Hi"), finish()),
    "not UTF-8": Answer(200, JSON, [b'{"choices": ["\xff"]}']),
    "too deep": Answer(200, JSON, [b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}"]),
    "it never ends": Answer(200, JSON, [b"{", 10_000.0]),
    "compressed": Answer(
        200, {**JSON, "content-encoding": "gzip"}, json_answer(completion()).chunks
    ),
}

STREAMED: dict[str, Failure] = {
    **ANY,
    "JSON instead of a stream": json_answer(completion()),
    "an error object in a 200": json_answer({"error": {"message": "no slot"}}),
    "no content type": Answer(200, {}, [wire(says("Hi"), finish())]),
    "compressed": Answer(
        200,
        {"content-type": "text/event-stream", "content-encoding": "gzip"},
        [wire(says("Hi"), finish())],
    ),
    "it begins with an error object": sse_answer({"error": {"message": "no slot"}}),
    "it begins with an error text": sse_answer({"error": "no slot"}),
    "it begins with an error event": sse_answer(b'event: error\ndata: {"message": "no"}\n\n'),
    "it begins with a bare error event": sse_answer(b"event: error\n\n"),
    "it begins with an error line": sse_answer(b'error: {"code": 500, "message": "no"}\n\n'),
    "it fails after the role": sse_answer(role(), {"error": {"message": "no slot"}}),
    "it breaks after the role": sse_answer(role(), disconnected()),
    "it ends after the role": sse_answer(role(), done=False),
    "it is done after the role": sse_answer(role()),
    "it is done at once": sse_answer(),
    "it is done at once, and stays": sse_answer(b"data: [DONE]\n\n", 10_000, done=False),
    "an empty stream": sse_answer(done=False),
    "comments only": sse_answer(b": hello\n\n", done=False),
    "it stalls after the role": sse_answer(role(), 10_000, says("late")),
    "it stalls after its headers": sse_answer(10_000, says("late")),
}


@pytest.mark.parametrize("name", PLAIN)
async def test_the_next_endpoint_answers_a_plain_request(scene: Scene, name: str) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", PLAIN[name])
    scene.on("b", json_answer(completion("from b")))

    reply = await scene.ask()
    await scene.settle()

    assert reply.status == 200
    assert reply.json == completion("from b")
    assert reply.headers["x-llmlb-endpoint"] == "b"
    assert reply.headers["x-llmlb-attempts"] == "2"
    assert [call.endpoint.name for call in scene.requests()] == ["a", "b"]
    assert not scene.open_requests
    assert not scene.leases
    assert scene.totals("a").failed_requests == scene.totals("b").successful_requests == 1
    assert scene.latency_ms("a") in (None, float("inf")), "a failure is no measurement"


@pytest.mark.parametrize("name", STREAMED)
async def test_the_next_endpoint_answers_a_streamed_request(scene: Scene, name: str) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", STREAMED[name])
    scene.on("b", sse_answer(role(), says("from b"), finish()))

    reply = await scene.stream()
    await scene.settle()

    assert reply.status == 200
    assert reply.body == wire(role(), says("from b"), finish())
    assert reply.headers["x-llmlb-attempts"] == "2"
    assert not scene.open_requests
    assert not scene.leases
    assert scene.totals("a").failed_requests == scene.totals("b").successful_requests == 1


async def test_embeddings_without_data_are_none(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", json_answer({"choices": [{}], "data": []}), EMBEDDINGS)
    scene.on("b", json_answer({"data": [{"embedding": [1.0]}]}), EMBEDDINGS)

    reply = await scene.ask(b'{"model":"tiny","input":"x"}', api=EMBEDDINGS)

    assert reply.headers["x-llmlb-endpoint"] == "b"


async def test_each_endpoint_is_asked_once(scene: Scene) -> None:
    for name in "abcd":
        await scene.endpoint(name)
        scene.on(name, error_answer(503, f"{name} is loading"))

    reply = await scene.ask()
    await scene.settle()

    assert reply.status == 502
    assert sorted(call.endpoint.name for call in scene.requests()) == ["a", "b", "c", "d"]
    assert reply.headers["x-llmlb-attempts"] == "4"
    assert not scene.leases


async def test_attempts_start_from_nothing(scene: Scene) -> None:
    """What one attempt has withheld, counted or begun is not the next one's."""
    for name in "abc":
        await scene.endpoint(name)
    usage = {"prompt_tokens": 1000}
    scene.on("a", sse_answer({**role(), "usage": usage, "from": "a"}, error_answer_event()))
    scene.on("b", error_answer(503))
    scene.on("c", sse_answer({**role(), "from": "c"}, says("Hi"), finish()))

    reply = await scene.stream()
    await scene.settle()

    assert reply.body == wire({**role(), "from": "c"}, says("Hi"), finish())
    assert scene.totals("c").input_tokens == 0
    assert scene.totals("a").input_tokens == 1000


def error_answer_event() -> bytes:
    return b'data: {"error": {"message": "no slot"}}\n\n'


async def test_the_next_endpoint_gets_the_very_same_request(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", refused())
    scene.on("b", sse_answer(says("Hi"), finish()))

    await scene.stream(seed=7)

    first, second = scene.requests()
    assert first.body == second.body
    assert first.headers == second.headers


async def test_a_failed_endpoint_is_left_before_the_next_is_asked(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", sse_answer(role(), 1.0, disconnected()))

    async def handle(call: object) -> Answer:
        [first, _] = scene.requests()
        assert first.closed
        await scene.settle()
        assert scene.leases == {"id-b": 1}
        return sse_answer(says("Hi"), finish())

    scene.on("b", handle)

    assert (await scene.stream()).status == 200


# -- what a failure tells of the endpoint


async def test_a_404_has_the_models_read_again(scene: Scene) -> None:
    await scene.endpoint("a", "tiny", "other")
    await scene.endpoint("b")
    scene.on("a", error_answer(404, "model 'tiny' not found"))
    scene.on("b", json_answer(completion()))
    scene.lists("a", "other")

    assert (await scene.ask()).status == 200
    await trio.sleep(2)

    assert [model.id for model in scene.known("a").models] == ["other"]
    assert scene.known("a").status is Status.ONLINE
    await scene.ask()
    assert len(scene.requests("a")) == 1


@pytest.mark.parametrize("failure", [refused(), disconnected(), sse_answer(done=False)])
async def test_a_broken_endpoint_is_probed_soon(scene: Scene, failure: Failure) -> None:
    await scene.endpoint("a", health_check_interval_s=3000)
    await scene.endpoint("b", health_check_interval_s=3000)
    scene.on("a", failure)
    scene.on("b", sse_answer(says("Hi"), finish()))
    asked_before = len(scene.upstream.seen("/v1/models", url("a")))

    await scene.stream()
    await trio.sleep(2)

    assert len(scene.upstream.seen("/v1/models", url("a"))) > asked_before
    assert scene.status_of("a") is Status.ONLINE, "it lives"


async def test_a_dead_endpoint_is_found_out_by_its_first_request(scene: Scene) -> None:
    await scene.endpoint("a", health_check_interval_s=3000)
    await scene.endpoint("b")
    scene.on("b", json_answer(completion()))
    scene.upstream.down(url("a"))

    await scene.ask()
    await trio.sleep(2)
    assert scene.status_of("a") is Status.ERROR
    for _ in range(3):
        await scene.ask()
    await scene.settle()

    assert len(scene.requests("a")) == 1
    assert scene.totals("b").successful_requests == 4


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_our_fault_and_not_the_clients(scene: Scene, status: int) -> None:
    await scene.endpoint("a", api_key="sk-endpoint-secret")
    scene.on("a", error_answer(status, "Incorrect API key provided: sk-endpoint-secret."))

    reply = await scene.ask()
    await scene.settle()

    assert reply.status == 502
    assert reply.error["type"] == reply.error["code"] == "upstream_error"
    assert "key" in reply.error["message"]
    assert b"sk-endpoint-secret" not in reply.body
    assert scene.status_of("a") is Status.ERROR
    assert scene.known("a").last_error == f"It refuses our key for inference (HTTP {status})."
    await scene.ask()
    assert len(scene.requests("a")) == 1, "it is not asked again before a probe says so"


async def test_another_endpoint_helps_where_our_key_is_refused(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", error_answer(401))
    scene.on("b", json_answer(completion()))

    assert (await scene.ask()).status == 200


@pytest.mark.parametrize("field", ["api_key", "extra_headers"])
async def test_secrets_that_an_endpoint_quotes_are_not_shown(
    scene: Scene, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "hush-hush"
    extra = (("x-pass", secret), ("x-empty", ""))
    fields: dict[str, Any] = {field: secret if field == "api_key" else extra}
    await scene.endpoint("a", **fields)

    for status in (400, 401, 500):
        scene.on("a", error_answer(status, f"got {secret}!"))
        reply = await scene.ask()
        await scene.probed(scene.known("a"))
        assert secret.encode() not in reply.body
    logged = capsys.readouterr().out
    assert "***" in logged
    assert secret not in logged


# -- requests that are at fault themselves


@pytest.mark.parametrize("status", [400, 402, 409, 413, 415, 422, 451])
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_endpoints_word_on_the_request_is_passed_on(
    scene: Scene, status: int, streamed: bool
) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    said = {"message": "max_tokens is too large", "type": "bad", "param": "max_tokens", "code": 7}
    for name in "ab":
        scene.on(name, json_answer({"error": said}, status))

    reply = await scene.ask(chat(stream=streamed))
    await scene.settle()

    assert reply.status == status
    assert reply.error == {**said, "code": "7"}
    assert len(scene.requests()) == 1, "the next one would say the same"
    [totals] = [t for t in (scene.totals("a"), scene.totals("b")) if t.total_requests]
    assert totals.failed_requests == 1
    assert scene.latency_ms("a") is scene.latency_ms("b") is None
    assert scene.status_of("a") is scene.status_of("b") is Status.ONLINE


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": "too long"}', "too long"),
        (b'{"error": {"message": "too long"}}', "too long"),
        (b'{"detail": "too long"}', "too long"),
        (b'{"message": "too long", "object": "error"}', "too long"),
        (b"too long", "too long"),
        (b'"too long"', "too long"),
        (
            b'{"detail": [{"loc": ["body", "n"], "msg": "too long"}]}',
            '[{"loc": ["body", "n"], "msg": "too long"}]',
        ),
        (b"", "The endpoint answered with status 400."),
        (b"null", "The endpoint answered with status 400."),
        (b"<html>too long</html>", "The endpoint answered with status 400."),
        (b'{"error": {"message": {"text": "too long"}}}', '{"text": "too long"}'),
        (b'{"error": {"type": "bad"}}', '{"type": "bad"}'),
        (b'{"error": {"message": "half a pair: \\ud800"}}', "half a pair: ?"),
    ],
)
async def test_any_error_becomes_an_openai_error(scene: Scene, body: bytes, message: str) -> None:
    await scene.endpoint("a")
    scene.on("a", Answer(400, {}, [body]))

    reply = await scene.ask()

    assert reply.status == 400
    assert reply.error["message"] == message
    assert reply.error["type"] in ("invalid_request_error", "bad")
    assert reply.error["code"] is None


async def test_a_long_error_is_cut(scene: Scene) -> None:
    await scene.endpoint("a")
    endless = [b'{"error": {"message": "' + b"x" * 10_000] + [b"y" * 10_000] * 100
    scene.on("a", Answer(400, {}, endless))

    reply = await scene.ask()

    assert len(reply.error["message"]) == 2000
    assert len(scene.requests()[0].sent) < 10


async def test_the_engines_faults_of_the_request_are_400(scene: Scene) -> None:
    """llama.cpp answers 500 to some bodies that it cannot read."""
    scene.upstream.get(url("a"), "/v1/models", {"data": [{"id": "tiny", "owned_by": "llamacpp"}]})
    await scene.register("a")
    assert scene.known("a").engine is Engine.LLAMACPP
    await scene.endpoint("b")
    scene.on(
        "a",
        json_answer(
            {"error": {"code": 500, "message": "Failed to parse tools: x", "type": "server_error"}},
            500,
        ),
    )

    reply = await scene.ask()

    assert reply.status == 400
    assert reply.error == {
        "message": "Failed to parse tools: x",
        "type": "invalid_request_error",
        "param": None,
        "code": "500",
    }
    assert len(scene.requests()) == 1


async def test_the_same_500_on_two_endpoints_is_the_requests_doing(scene: Scene) -> None:
    for name in "abcd":
        await scene.endpoint(name)
        scene.on(name, error_answer(500, "segmentation fault"))

    reply = await scene.ask()
    await scene.settle()

    assert reply.status == 502
    assert "segmentation fault" in reply.error["message"]
    assert len(scene.requests()) == 2
    assert all(scene.status_of(name) is Status.ONLINE for name in "abcd")


@pytest.mark.parametrize(
    "failure", [disconnected(), Answer(200, JSON), json_answer({"error": "crashed"})]
)
async def test_the_same_crash_on_two_endpoints_is_the_requests_doing(
    scene: Scene, failure: Failure
) -> None:
    for name in "abcd":
        await scene.endpoint(name)
        scene.on(name, failure)

    assert (await scene.ask()).status == 502
    assert len(scene.requests()) == 2


async def test_two_different_failures_are_no_sign_of_poison(scene: Scene) -> None:
    failures: dict[str, Failure] = {
        "a": error_answer(500),
        "b": disconnected(),
        "c": refused(),
        "d": error_answer(503),
        "e": Answer(200, JSON),
        "f": refused(),
        "g": error_answer(503),
        "h": json_answer(completion()),
    }
    for name, failure in failures.items():
        await scene.endpoint(name)
        scene.on(name, failure)

    reply = await scene.ask(api=COMPLETIONS)
    assert reply.status == 404
    reply = await scene.ask()

    assert reply.headers["x-llmlb-endpoint"] == "h"
    assert reply.headers["x-llmlb-attempts"] == "8"


# -- rate limits


@pytest.mark.parametrize(
    ("told", "retry_after"),
    [
        (("7", "3.2", "30"), "4"),
        (("7", None, "Wed, 21 Oct 2026 07:28:00 GMT"), "7"),
        (("0", "-5", "9"), "1"),
        (("soon", None, None), None),
        (("nan", "inf", "9"), "9"),
        (("1e300", None, None), None),
    ],
)
async def test_if_all_say_429_the_client_is_told_when_the_first_is_free(
    scene: Scene, told: tuple[str | None, ...], retry_after: str | None
) -> None:
    for name, value in zip("abc", told, strict=True):
        await scene.endpoint(name)
        scene.on(name, error_answer(429, **({"retry_after": value} if value else {})))

    reply = await scene.ask()

    assert reply.status == 429
    assert (reply.error["type"], reply.error["code"]) == (
        "rate_limit_error",
        "upstream_rate_limited",
    )
    assert reply.headers.get("retry-after") == retry_after
    assert len(scene.requests()) == 3


async def test_one_that_is_not_limited_answers(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", error_answer(429))
    scene.on("b", json_answer(completion()))

    assert (await scene.ask()).headers["x-llmlb-endpoint"] == "b"


async def test_a_429_among_other_failures_is_not_the_whole_story(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", error_answer(429))
    scene.on("b", refused())

    assert (await scene.ask()).status == 502


async def test_a_refusal_is_no_measurement_however_quick(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", replies(json_answer(completion()), after_s=3))
    await scene.ask()
    scene.on("a", error_answer(400))

    await scene.ask()
    await scene.settle()

    assert scene.latency_ms("a") == pytest.approx(3000)
    assert scene.totals("a").failed_requests == 1


async def test_two_endpoints_that_fail_in_different_ways_leave_the_third_its_chance(
    scene: Scene,
) -> None:
    for name in "abc":
        await scene.endpoint(name)
    scene.on("a", json_answer({"error": {"message": "out of memory"}}, 500))
    scene.on("b", json_answer({"error": {"message": "worker died"}}, 500))
    scene.on("c", json_answer(completion("fine")))
    answer = await scene.ask()
    assert (answer.status, answer.headers["x-llmlb-attempts"]) == (200, "3")


# -- how long, and what SDKs are told


@pytest.mark.parametrize("settings", [{"retry_timeout_s": 50.0}])
async def test_after_its_time_no_other_endpoint_is_tried(scene: Scene) -> None:
    for name in "abc":
        await scene.endpoint(name, inference_timeout_s=30.0)
        scene.on(name, hangs)

    reply = await scene.ask()

    assert trio.current_time() == pytest.approx(60)
    assert (reply.status, reply.headers["x-llmlb-attempts"]) == (504, "2")


async def test_sdks_are_told_not_to_try_again_what_was_tried_elsewhere(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", refused())
    assert "x-should-retry" not in (await scene.ask()).headers, "once is not enough to be sure"

    await scene.endpoint("b")
    scene.on("b", refused())
    reply = await scene.ask()

    assert (reply.status, reply.headers["x-llmlb-attempts"]) == (502, "2")
    assert reply.headers["x-should-retry"] == "false"
