"""That the exchange core holds keys to their limits, for every dialect, and counts what was had."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from llmlb.accounts import KeyLimits
from llmlb.http.intake.form import Form
from llmlb.types import Api
from tests.fakes.accounts import bearer, key, moved_in, secret_of, user
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import CHAT, EMBEDDINGS, PATHS, Scene, asked_with
from tests.fakes.openai import chat, completion, counted, finish, role, says, usage_alone
from tests.fakes.openai import typed_event as event
from tests.fakes.upstream import Answer, disconnected, hangs, json_answer, refused, sse_answer

SSE = {"content-type": "text/event-stream"}
MESSAGES = Api.MESSAGES


async def limited(
    scene: Scene,
    *,
    requests: int | None = None,
    tokens: int | None = None,
    at_once: int | None = None,
) -> dict[str, str]:
    """The header of a key with these limits."""
    limits = KeyLimits(requests, tokens, at_once)
    await moved_in(scene.house, user(), key(limits=limits), key("free"))
    return bearer("laptop")


def told_limits(reply: FakeDownstream) -> dict[str, str]:
    return {n: text for n, text in reply.headers.items() if n.startswith("x-ratelimit-")}


async def test_a_key_may_ask_so_often_a_minute_and_is_told_when_again(scene: Scene) -> None:
    shows = await limited(scene, requests=2)
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))

    for left in ("1", "0"):
        reply = await scene.ask(headers=shows)
        assert reply.status == 200
        assert told_limits(reply) == {
            "x-ratelimit-limit-requests": "2",
            "x-ratelimit-remaining-requests": left,
            "x-ratelimit-reset-requests": "60s",
        }
        await trio.sleep(20)

    reply = await scene.ask(headers=shows)
    assert (reply.status, reply.error["code"]) == (429, "rate_limit_exceeded")
    assert reply.error["type"] == "rate_limit_error"
    assert reply.headers["retry-after"] == "20"
    assert told_limits(reply)["x-ratelimit-remaining-requests"] == "0"
    assert reply.headers["x-request-id"] == "req-1"
    assert len(scene.requests()) == 2, "and no endpoint hears of it"

    assert (await scene.ask(headers=bearer("free"))).status == 200, "others are not concerned"
    await trio.sleep(20)
    assert (await scene.ask(headers=shows)).status == 200


@pytest.mark.parametrize(
    "api",
    [CHAT, EMBEDDINGS, Api.COMPLETIONS, Api.RESPONSES, Api.RERANK, Api.SPEECH, MESSAGES],
)
async def test_the_refusal_is_told_in_each_dialect(scene: Scene, api: Api) -> None:
    shows = await limited(scene, requests=0)
    reply = await scene.ask(api=api, headers=shows)
    assert reply.status == 429
    assert reply.headers["retry-after"] == "60"
    assert told_limits(reply)["x-ratelimit-limit-requests"] == "0"
    said = json.loads(reply.body)
    if api is MESSAGES:
        assert (said["type"], said["error"]["type"]) == ("error", "rate_limit_error")
        assert said["request_id"] == "req-1"
    else:
        assert said["error"]["code"] == "rate_limit_exceeded"


async def test_whoever_is_refused_is_not_listened_to(scene: Scene) -> None:
    """A body that nobody may send costs neither memory nor time."""
    shows = await limited(scene, requests=0)

    async def read() -> bytes | Form:
        raise AssertionError("the body is read")

    for headers in (shows, {}, bearer("unknown")):
        downstream = FakeDownstream()
        asked = asked_with(b"", headers=headers)
        unread = type(asked)(
            asked.method, asked.path, headers, asked.request_id, asked.whence, read
        )
        await scene.exchange.serve(CHAT, unread, downstream)
        assert downstream.status in (401, 429)


async def test_our_word_on_limits_takes_the_place_of_the_endpoints(scene: Scene) -> None:
    shows = await limited(scene, requests=5)
    await scene.endpoint("a")
    theirs: dict[str, Any] = {
        "x_ratelimit_limit_requests": "9999",
        "x_ratelimit_remaining_requests": "9998",
        "x_ratelimit_limit_tokens": "77",
    }
    scene.on("a", json_answer(completion(), **theirs))

    mine = told_limits(await scene.ask(headers=shows))
    assert mine["x-ratelimit-limit-requests"] == "5"
    assert mine["x-ratelimit-remaining-requests"] == "4"
    assert mine["x-ratelimit-limit-tokens"] == "77", "of which we have nothing to say"

    free = told_limits(await scene.ask(headers=bearer("free")))
    assert free["x-ratelimit-limit-requests"] == "9999"


async def test_errors_of_endpoints_tell_of_the_keys_limits_too(scene: Scene) -> None:
    shows = await limited(scene, requests=5)
    await scene.endpoint("a")
    scene.on("a", refused())
    reply = await scene.ask(headers=shows)
    assert reply.status in (502, 503)
    assert told_limits(reply)["x-ratelimit-remaining-requests"] == "4"


async def test_failover_is_one_request_of_the_key(scene: Scene) -> None:
    shows = await limited(scene, requests=1)
    for name in "ab":
        await scene.endpoint(name)
    scene.on("a", refused())
    scene.on("b", json_answer(completion()))
    reply = await scene.ask(headers=shows)
    assert reply.status == 200
    assert told_limits(reply)["x-ratelimit-remaining-requests"] == "0"


async def test_what_is_asked_in_vain_counts_as_well(scene: Scene) -> None:
    shows = await limited(scene, requests=1)
    assert (await scene.ask(b"{", headers=shows)).status == 400
    assert (await scene.ask(headers=shows)).status == 429


# -- at once


async def test_a_stream_holds_its_place_as_long_as_it_runs(
    scene: Scene, nursery: trio.Nursery
) -> None:
    shows = await limited(scene, at_once=1)
    await scene.endpoint("a", slots=9)
    scene.on("a", sse_answer(says("A"), 10.0, finish()))

    streamed = FakeDownstream()

    async def stream() -> None:
        await scene.ask(chat(stream=True), streamed, headers=shows)

    nursery.start_soon(stream)
    await trio.sleep(5)
    assert streamed.begun
    reply = await scene.ask(headers=shows)
    assert (reply.status, reply.error["code"]) == (429, "rate_limit_exceeded")
    assert reply.headers["retry-after"] == "1"
    assert (await scene.ask(chat(stream=True), headers=bearer("free"))).status == 200
    await trio.sleep(30)
    assert streamed.whole
    assert (await scene.ask(chat(stream=True), headers=shows)).status == 200


async def test_whoever_waits_in_line_holds_a_place_too(scene: Scene, nursery: trio.Nursery) -> None:
    shows = await limited(scene, at_once=2)
    await scene.endpoint("a", slots=1)
    scene.on("a", hangs)

    async def ask() -> None:
        await scene.ask(headers=shows)

    for _ in range(2):
        nursery.start_soon(ask)
        await scene.settle()
    assert scene.waiting == {"tiny": 1}
    assert (await scene.ask(headers=shows)).status == 429
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["leaves", "is cancelled", "breaks", "fails inside"])
async def test_the_place_is_given_back_however_it_ends(scene: Scene, how: str) -> None:
    shows = await limited(scene, at_once=1)
    await scene.endpoint("a", slots=9)
    broken = sse_answer(says("A"), disconnected(), done=False)
    scene.on("a", broken if how == "breaks" else sse_answer(says("A"), 5.0, says("B"), finish()))
    client = {
        "leaves": FakeDownstream(leaves_at=1),
        "fails inside": FakeDownstream(fails_with=ZeroDivisionError()),
    }.get(how, FakeDownstream())
    with trio.move_on_after(3 if how == "is cancelled" else 1000):
        await scene.ask(chat(stream=True), client, headers=shows)
    scene.on("a", sse_answer(says("A"), finish()))
    assert (await scene.ask(chat(stream=True), headers=shows)).status == 200


# -- tokens


async def left(scene: Scene, shows: dict[str, str]) -> int:
    """The tokens that the key has left, which to ask costs none."""
    scene.on("a", json_answer(completion()))
    reply = await scene.ask(headers=shows)
    return int(reply.headers["x-ratelimit-remaining-tokens"])


async def test_a_plain_answer_costs_what_it_says(scene: Scene) -> None:
    shows = await limited(scene, tokens=100)
    await scene.endpoint("a")
    scene.on("a", json_answer(completion(usage=counted(40, 2))))
    reply = await scene.ask(headers=shows)
    assert reply.headers["x-ratelimit-remaining-tokens"] == "100", "nobody has counted them yet"
    assert await left(scene, shows) == 58


async def test_what_says_nothing_of_its_cost_is_free_unless_it_streams(scene: Scene) -> None:
    shows = await limited(scene, tokens=100)
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))
    await scene.ask(headers=shows)
    assert await left(scene, shows) == 100


async def test_when_the_tokens_are_spent_the_next_one_waits(scene: Scene) -> None:
    shows = await limited(scene, tokens=10)
    await scene.endpoint("a")
    scene.on("a", json_answer(completion(usage=counted(400, 2))))
    assert (await scene.ask(headers=shows)).status == 200
    reply = await scene.ask(headers=shows)
    assert (reply.status, reply.headers["retry-after"]) == (429, "60")
    assert "10 tokens per minute" in reply.error["message"]
    await trio.sleep(60)
    assert (await scene.ask(headers=shows)).status == 200


async def test_a_stream_costs_what_it_says_at_its_end_though_the_client_did_not_ask(
    scene: Scene,
) -> None:
    shows = await limited(scene, tokens=100)
    await scene.endpoint("a")
    scene.on("a", sse_answer(role(), says("A"), says("B"), finish(), usage_alone(40, 2)))
    await scene.ask(chat(stream=True), headers=shows)
    assert await left(scene, shows) == 58


async def test_a_stream_that_says_nothing_costs_a_token_an_event(scene: Scene) -> None:
    shows = await limited(scene, tokens=100)
    await scene.endpoint("a")
    scene.on("a", sse_answer(*[says("A")] * 20, finish()))
    await scene.ask(chat(stream=True), headers=shows)
    assert 100 - await left(scene, shows) in range(20, 24)


@pytest.mark.parametrize("how", ["leaves", "is cancelled", "breaks"])
async def test_whoever_leaves_a_stream_early_has_had_what_came(scene: Scene, how: str) -> None:
    """Else a client that hangs up before the usage is told would have everything for free."""
    shows = await limited(scene, tokens=100)
    await scene.endpoint("a")
    pieces: list[object] = [piece for _ in range(30) for piece in (says("A"), 1.0)]
    end: list[object] = [disconnected()] if how == "breaks" else [*pieces, usage_alone(1, 1)]
    scene.on("a", sse_answer(*pieces, *end, done=False))
    client = FakeDownstream(leaves_at=30) if how == "leaves" else FakeDownstream()
    with trio.move_on_after(30.5 if how == "is cancelled" else 1000):
        await scene.ask(chat(stream=True), client, headers=shows)
    assert 100 - await left(scene, shows) in range(29, 34)


async def test_what_went_in_counts_beside_what_came_until_the_client_left(scene: Scene) -> None:
    """Some engines tell it at the beginning, and the rest at an end that is never reached."""
    await limited(scene, tokens=1000)
    shows = {"x-api-key": secret_of("laptop")}
    started = event("message_start", message={"usage": {"input_tokens": 500, "output_tokens": 1}})
    block = event("content_block_start", index=0, content_block={"type": "text"})
    delta = event("content_block_delta", index=0, delta={"text": "A"})
    scene.on("a", json_answer({"error": "no"}, 400), MESSAGES)
    await scene.endpoint("a")
    pieces = [piece for _ in range(50) for piece in (delta, 1.0)]
    scene.on("a", Answer(200, SSE, [started, block, *pieces]), MESSAGES)
    with trio.move_on_after(20.5):
        await scene.ask(message(stream=True), api=MESSAGES, headers=shows)
    scene.on(
        "a", json_answer({**ANSWER, "usage": {"input_tokens": 0, "output_tokens": 0}}), MESSAGES
    )
    reply = await scene.ask(message(), api=MESSAGES, headers=shows)
    assert reply.status == 200
    assert 1000 - int(reply.headers["x-ratelimit-remaining-tokens"]) in range(520, 526)
    assert shows


ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "tiny",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
}


def message(**fields: Any) -> bytes:
    said = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": "tiny", "max_tokens": 9, "messages": said, **fields}).encode()


async def test_attempts_that_fail_before_anything_came_cost_nothing(scene: Scene) -> None:
    shows = await limited(scene, tokens=100)
    for name in "ab":
        await scene.endpoint(name)
    scene.on("a", refused())
    scene.on("b", json_answer(completion(usage=counted(1, 1))))
    assert (await scene.ask(headers=shows)).status == 200
    scene.on("b", json_answer(completion()))
    assert await left(scene, shows) == 98


async def test_stored_responses_are_asked_for_within_the_limits(scene: Scene) -> None:
    shows = await limited(scene, requests=1)
    downstream = FakeDownstream()
    for status in (404, 429):
        downstream = FakeDownstream()
        asked = asked_with(b"", f"{PATHS[Api.RESPONSES]}/resp_x", method="GET", headers=shows)
        await scene.exchange.serve_stored("resp_x", asked, downstream)
        assert downstream.status == status
    assert downstream.headers["retry-after"] == "60"
