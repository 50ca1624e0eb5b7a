"""What an endpoint keeps of a response is asked for where it is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from llmlb.types import Api, EndpointId, Mode
from tests.fakes.accounts import bearer, key, moved_in, user
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import Scene, asked_with, url
from tests.fakes.openai import typed_event as event
from tests.fakes.upstream import Answer, hangs, json_answer, refused, replies

RESPONSES = Api.RESPONSES


def response(response_id: str, **fields: Any) -> dict[str, Any]:
    output = [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}]
    whole = {"id": response_id, "object": "response", "status": "completed", "output": output}
    return {**whole, **fields}


def asks(**fields: Any) -> bytes:
    return json.dumps({"model": "tiny", "input": "hello", **fields}).encode()


async def two_endpoints(scene: Scene) -> None:
    """Of which b answers quicker, and a has made resp_a."""
    await scene.endpoint("a", slots=4)
    scene.on("a", replies(json_answer(response("resp_a")), after_s=5), RESPONSES)
    await scene.ask(asks(), api=RESPONSES)
    await scene.endpoint("b", slots=4)
    scene.on("b", replies(json_answer(response("resp_b")), after_s=1), RESPONSES)
    await scene.ask(asks(), api=RESPONSES)
    await scene.settle()


async def about(
    scene: Scene,
    response_id: str,
    method: str = "GET",
    rest: str = "",
    headers: dict[str, str] | None = None,
) -> FakeDownstream:
    downstream = FakeDownstream()
    asked = asked_with(b"", f"/v1/responses/{response_id}{rest}", method=method, headers=headers)
    await scene.exchange.serve_stored(response_id, asked, downstream)
    await scene.settle()
    return downstream


async def test_what_goes_on_from_a_response_goes_to_its_endpoint(scene: Scene) -> None:
    await two_endpoints(scene)
    for _ in range(3):
        reply = await scene.ask(asks(previous_response_id="resp_a"), api=RESPONSES)
        assert reply.headers["x-llmlb-endpoint"] == "a"
    assert len(scene.requests("b")) == 1


async def test_it_never_fails_over(scene: Scene) -> None:
    await two_endpoints(scene)
    scene.on("a", refused(), RESPONSES)

    reply = await scene.ask(asks(previous_response_id="resp_a"), api=RESPONSES)

    assert reply.status == 502
    assert len(scene.requests("b")) == 1


async def test_a_conversation_goes_to_its_endpoint(scene: Scene) -> None:
    await two_endpoints(scene)
    kept = response("resp_c", conversation={"id": "conv_1"})
    scene.on("a", json_answer(kept), RESPONSES)
    await scene.ask(asks(previous_response_id="resp_a"), api=RESPONSES)
    await scene.settle()

    for conversation in ("conv_1", {"id": "conv_1"}):
        reply = await scene.ask(asks(conversation=conversation), api=RESPONSES)
        assert reply.headers["x-llmlb-endpoint"] == "a"


@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
async def test_what_nobody_keeps_is_404(scene: Scene, field: str) -> None:
    await two_endpoints(scene)
    n_requests = len(scene.requests())

    reply = await scene.ask(asks(**{field: "resp_x"}), api=RESPONSES)

    assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "not_found", field)
    assert len(scene.requests()) == n_requests


async def test_a_streamed_response_is_known_from_its_beginning(scene: Scene) -> None:
    await scene.endpoint("a", slots=2)
    begun = [
        event("response.created", response={"id": "resp_s", "status": "in_progress"}),
        event("response.output_item.added", item={}),
        event("response.output_text.delta", delta="hi"),
    ]
    end = event("response.completed", response=response("resp_s"))
    stream = Answer(200, {"content-type": "text/event-stream"}, [*begun, 10.0, end])
    scene.on("a", stream, RESPONSES)
    downstream = FakeDownstream(leaves_at=1)  # long before the end

    await scene.ask(asks(stream=True), downstream, api=RESPONSES)
    await scene.settle()

    scene.on("a", json_answer(response("resp_t")), RESPONSES)
    reply = await scene.ask(asks(previous_response_id="resp_s"), api=RESPONSES)
    assert reply.status == 200


async def test_what_is_not_to_be_stored_is_not_remembered(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(response("resp_n")), RESPONSES)
    await scene.ask(asks(store=False), api=RESPONSES)
    await scene.settle()
    reply = await scene.ask(asks(previous_response_id="resp_n"), api=RESPONSES)
    assert reply.status == 404


async def test_an_endpoint_that_is_gone_takes_its_responses_with_it(scene: Scene) -> None:
    await two_endpoints(scene)
    await scene.house.registry.remove(EndpointId("id-a"))

    for reply in (
        await scene.ask(asks(previous_response_id="resp_a"), api=RESPONSES),
        await about(scene, "resp_a"),
    ):
        assert (reply.status, reply.error["code"]) == (503, "response_state_unavailable")


async def test_a_disabled_endpoint_does_not_answer_for_what_it_keeps(scene: Scene) -> None:
    from dataclasses import replace

    await two_endpoints(scene)
    await scene.house.registry.update(EndpointId("id-a"), lambda e: replace(e, mode=Mode.DISABLED))
    reply = await scene.ask(asks(previous_response_id="resp_a"), api=RESPONSES)
    assert (reply.status, reply.error["code"]) == (503, "response_state_unavailable")


async def test_a_response_that_its_endpoint_forgot_is_404(scene: Scene) -> None:
    await two_endpoints(scene)
    scene.on("a", json_answer({"error": {"message": "no such response"}}, 404), RESPONSES)

    reply = await scene.ask(asks(previous_response_id="resp_a"), api=RESPONSES)

    assert (reply.status, reply.error["code"]) == (404, "not_found")
    assert reply.error["param"] == "previous_response_id"


# -- questions about a stored response


def on(scene: Scene, method: str, path: str, answer: Answer) -> None:
    scene.upstream.on(url("a"), method, path, answer)


async def test_a_response_is_shown_by_its_endpoint(scene: Scene) -> None:
    await two_endpoints(scene)
    kept = response("resp_a", status="failed", error={"code": "x", "message": "y"}, output=[])
    on(scene, "GET", "/v1/responses/resp_a?include=a", json_answer(kept))

    reply = await about(scene, "resp_a", rest="?include=a")

    assert (reply.status, reply.json) == (200, kept)
    assert reply.headers["x-llmlb-endpoint"] == "a"
    assert not scene.leases


async def test_a_stored_stream_is_passed_on(scene: Scene) -> None:
    await two_endpoints(scene)
    events = [
        event("response.created", response={"id": "resp_a"}),
        event("response.output_text.delta", delta="hi"),
        event("response.completed", response=response("resp_a")),
    ]
    stream = Answer(200, {"content-type": "text/event-stream"}, events)
    on(scene, "GET", "/v1/responses/resp_a?stream=true", stream)

    reply = await about(scene, "resp_a", rest="?stream=true")

    assert reply.body == b"".join(events)


async def test_a_stored_stream_that_breaks_ends_with_an_error(scene: Scene) -> None:
    await two_endpoints(scene)
    events = [
        event("response.created", response={"id": "resp_a"}),
        event("response.output_text.delta", delta="hi"),
    ]
    stream = Answer(200, {"content-type": "text/event-stream"}, events)
    on(scene, "GET", "/v1/responses/resp_a?stream=true", stream)

    reply = await about(scene, "resp_a", rest="?stream=true")

    assert reply.events[-1].startswith(b"event: error\n")


async def test_a_deleted_response_is_forgotten(scene: Scene) -> None:
    await two_endpoints(scene)
    gone = {"id": "resp_a", "object": "response", "deleted": True}
    on(scene, "DELETE", "/v1/responses/resp_a", json_answer(gone))

    assert (await about(scene, "resp_a", "DELETE")).json == gone
    assert (await about(scene, "resp_a", "DELETE")).error["code"] == "not_found"


async def test_a_response_is_cancelled_and_its_input_listed_where_it_is(scene: Scene) -> None:
    await two_endpoints(scene)
    stopped = response("resp_a", status="cancelled")
    listed = {"object": "list", "data": []}
    on(scene, "POST", "/v1/responses/resp_a/cancel", json_answer(stopped))
    on(scene, "GET", "/v1/responses/resp_a/input_items", json_answer(listed))

    assert (await about(scene, "resp_a", "POST", "/cancel")).json == stopped
    assert (await about(scene, "resp_a", rest="/input_items")).json == listed


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (json_answer({"error": {"message": "no"}}, 404), 404, "not_found"),
        (json_answer({"error": {"message": "no"}}, 500), 502, "upstream_error"),
        (json_answer({"error": {"message": "no"}}, 429), 429, "upstream_rate_limited"),
        (json_answer({"error": {"message": "no", "code": "x"}}, 400), 400, "x"),
        (Answer(200, {}, [b"<html>"]), 502, "upstream_error"),
        (Answer(200, {}, []), 502, "upstream_error"),
        (json_answer({"error": "Unexpected endpoint"}), 502, "upstream_error"),
    ],
)
async def test_what_goes_wrong_there_is_told_in_our_words(
    scene: Scene, answer: Answer, status: int, code: str
) -> None:
    await two_endpoints(scene)
    on(scene, "GET", "/v1/responses/resp_a", answer)

    reply = await about(scene, "resp_a")

    assert (reply.status, reply.error["code"]) == (status, code)


async def test_a_question_that_is_rate_limited_cools_nothing(scene: Scene) -> None:
    await two_endpoints(scene)
    limited = json_answer({"error": {"message": "no"}}, 429, retry_after="30")
    on(scene, "GET", "/v1/responses/resp_a", limited)
    before = scene.house.feed.statistics().events

    reply = await about(scene, "resp_a")

    assert (reply.status, reply.headers["retry-after"]) == (429, "30")
    assert scene.house.feed.statistics().events == before, "for no lease was given"
    assert not scene.house.admission.statistics().health


async def test_an_endpoint_out_of_reach_is_503(scene: Scene) -> None:
    await two_endpoints(scene)
    scene.upstream.on(url("a"), "GET", "/v1/responses/resp_a", replies(refused()))
    reply = await about(scene, "resp_a")
    assert (reply.status, reply.error["code"]) == (503, "response_state_unavailable")


async def test_an_endpoint_that_does_not_answer_is_504(scene: Scene) -> None:
    await two_endpoints(scene)
    scene.upstream.on(url("a"), "GET", "/v1/responses/resp_a", hangs)
    assert (await about(scene, "resp_a")).status == 504


@pytest.mark.parametrize("begun", [True, False])
async def test_a_stored_stream_that_outlasts_the_drain_is_cut_off(
    scene: Scene, begun: bool
) -> None:
    await two_endpoints(scene)
    delta = event("response.output_text.delta", delta="hi")
    stream = Answer(200, {"content-type": "text/event-stream"}, [delta, 60.0] if begun else [60.0])
    on(scene, "GET", "/v1/responses/resp_a?stream=true", stream)

    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            reply = await about(scene, "resp_a", rest="?stream=true")
            if begun:
                assert reply.events[-1].startswith(b"event: error\n")
                assert b"shutting down" in reply.events[-1]
            else:
                assert (reply.status, reply.error["code"]) == (503, "shutting_down")

        nursery.start_soon(ask)
        await trio.sleep(1)
        scene.exchange.cut_off.now()
        started_s = trio.current_time()
    assert trio.current_time() == started_s


async def test_nobody_is_asked_while_the_house_drains(scene: Scene) -> None:
    await two_endpoints(scene)
    await scene.house.drain()
    assert (await about(scene, "resp_a")).error["code"] == "shutting_down"


# -- whose they are


async def test_what_one_key_has_made_is_not_there_for_another(scene: Scene) -> None:
    """Not even in other words, nor for another key of the same user."""
    await moved_in(scene.house, user(), user("bob"), key("one"), key("other"))
    await moved_in(scene.house, key("of-bob", owner="bob"))
    await scene.endpoint("a", slots=4)
    scene.on("a", json_answer(response("resp_a")), RESPONSES)
    on(scene, "GET", "/v1/responses/resp_a", json_answer(response("resp_a")))
    on(scene, "POST", "/v1/responses/resp_a/cancel", json_answer(response("resp_a")))
    gone = {"id": "resp_a", "object": "response", "deleted": True}
    on(scene, "DELETE", "/v1/responses/resp_a", json_answer(gone))
    mine = bearer("one")
    await scene.ask(asks(), api=RESPONSES, headers=mine)
    await scene.settle()
    asked_before = len(scene.upstream.calls)

    for theirs in (bearer("other"), bearer("of-bob")):
        told = set()
        for response_id in ("resp_a", "resp_never"):
            replies = [
                await about(scene, response_id, method, rest, theirs)
                for method, rest in (("GET", ""), ("POST", "/cancel"), ("DELETE", ""))
            ]
            replies.append(
                await scene.ask(
                    asks(previous_response_id=response_id), api=RESPONSES, headers=theirs
                )
            )
            told |= {
                (reply.status, reply.error["message"].replace(response_id, "…"))
                for reply in replies
            }
        assert {status for status, _ in told} == {404}
        assert len(told) <= 2, "one sentence for those that ask, one for those that go on"
    assert len(scene.upstream.calls) == asked_before, "and no endpoint hears of it"

    assert (await about(scene, "resp_a", headers=mine)).status == 200
    going_on = asks(previous_response_id="resp_a")
    assert (await scene.ask(going_on, api=RESPONSES, headers=mine)).status == 200
    assert (await about(scene, "resp_a", "DELETE", headers=mine)).status == 200
