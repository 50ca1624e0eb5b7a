"""What a client is told when there is no answer, and that nothing went upstream for nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio

from llmlb.errors import LbError
from llmlb.types import Mode, Status
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import CHAT, COMPLETIONS, EMBEDDINGS, Scene, url
from tests.fakes.openai import chat, completion, finish, says
from tests.fakes.upstream import (
    Answer,
    SeenCall,
    disconnected,
    hangs,
    json_answer,
    refused,
    replies,
    sse_answer,
)


def told(reply: FakeDownstream) -> tuple[int, str, str, str | None]:
    error = reply.error
    return reply.status, error["type"], error["code"], error["param"]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"model=tiny", "invalid_json", None),
        (b"null", "invalid_json", None),
        (b"[]", "invalid_json", None),
        (b'"tiny"', "invalid_json", None),
        (b"{} {}", "invalid_json", None),
        (b"\xff\xfe{\x00}\x00", "invalid_json", None),
        (b"{}", "missing_field", "model"),
        (b'{"model": null}', "invalid_value", "model"),
        (b'{"model": 7}', "invalid_value", "model"),
        (b'{"model": ["tiny"]}', "invalid_value", "model"),
        (b'{"model": ""}', "invalid_value", "model"),
        (b'{"model": "tiny", "stream": "true"}', "invalid_value", "stream"),
        (b'{"model": "tiny", "stream": 1}', "invalid_value", "stream"),
        (b'{"model": "tiny", "stream": {}}', "invalid_value", "stream"),
    ],
)
async def test_a_bad_request_is_refused_and_nothing_is_sent_upstream(
    scene: Scene, body: bytes, code: str, param: str | None
) -> None:
    await scene.endpoint("a")

    for api in (CHAT, COMPLETIONS, EMBEDDINGS):
        reply = await scene.ask(body, api=api)
        assert told(reply) == (400, "invalid_request_error", code, param)

    assert not scene.requests()


async def test_an_unknown_model_is_404_at_once(scene: Scene) -> None:
    await scene.endpoint("a")

    reply = await scene.ask(chat("gpt-5"))

    assert told(reply) == (404, "invalid_request_error", "model_not_found", "model")
    assert "'gpt-5'" in reply.error["message"]
    assert not scene.requests()
    assert trio.current_time() == 0


@pytest.mark.parametrize("model", ["Tiny", " tiny", "tiny:8b", "tin", "tiny\u0000"])
async def test_only_the_exact_name_is_sent_to_an_endpoint(scene: Scene, model: str) -> None:
    await scene.endpoint("a")

    assert told(await scene.ask(chat(model)))[0] == 404
    assert not scene.requests()


async def test_a_long_model_name_is_not_echoed_whole(scene: Scene) -> None:
    reply = await scene.ask(chat("x" * 100_000))

    assert reply.status == 404
    assert len(reply.body) < 500


async def test_a_model_whose_endpoints_are_all_offline_is_503(scene: Scene) -> None:
    endpoint = await scene.endpoint("a", health_check_interval_s=17)
    scene.upstream.down(url("a"))
    for _ in range(2):
        await scene.probed(endpoint)
    assert scene.status_of("a") is Status.OFFLINE

    reply = await scene.ask()

    assert told(reply) == (503, "service_unavailable", "no_capable_endpoints", None)
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert not scene.requests()


async def test_a_model_that_left_every_endpoint_while_we_tried_is_404(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    for name in "ab":
        scene.on(name, json_answer({"error": {"message": "no such model"}}, 404))

    reply = await scene.ask()

    assert told(reply) == (404, "invalid_request_error", "model_not_found", "model")


async def test_unreachable_everywhere_is_502(scene: Scene) -> None:
    for name in "ab":
        await scene.endpoint(name)
        scene.on(name, refused())

    reply = await scene.ask()

    assert told(reply) == (502, "upstream_error", "upstream_unreachable", None)
    assert "Connection refused." in reply.error["message"]


async def test_a_bad_answer_everywhere_is_502(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", Answer(503, {}, [b"Loading model"]))

    reply = await scene.ask()

    assert told(reply) == (502, "upstream_error", "upstream_error", None)
    assert "503" in reply.error["message"]
    assert "Loading model" in reply.error["message"]


async def test_too_slow_is_504(scene: Scene) -> None:
    await scene.endpoint("a", inference_timeout_s=7.0)
    scene.on("a", hangs)

    reply = await scene.ask()

    assert told(reply) == (504, "timeout_error", "upstream_timeout", None)
    assert "7 s" in reply.error["message"]


async def test_the_last_failure_is_what_the_client_is_told(scene: Scene) -> None:
    for name in "abc":
        await scene.endpoint(name)
    scene.on("a", hangs)
    scene.on("b", refused())
    scene.on("c", disconnected())

    assert told(await scene.ask())[2] == "upstream_error"


# -- the line


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return getattr(request, "param", {})


@pytest.mark.parametrize("settings", [{"queue_max": 2}], indirect=True)
async def test_a_full_line_is_429(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", replies(json_answer(completion()), after_s=3))
    await scene.ask()  # 3 s of latency are known from here on

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(scene.ask)
            await scene.settle()
        assert scene.waiting == {"tiny": 2}

        reply = await scene.ask()

        assert told(reply) == (429, "rate_limit_error", "queue_full", None)
        assert reply.headers["retry-after"] == "60", "2 ahead, and 1 completed in a minute"
        assert "2 requests are waiting" in reply.error["message"]
        assert "x-llmlb-attempts" in reply.headers


@pytest.mark.parametrize("settings", [{"queue_max": 10}], indirect=True)
async def test_a_line_that_is_getting_long_delays_and_then_rejects(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", hangs)

    async with trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(scene.ask)
            await scene.settle()
        assert scene.waiting == {"tiny": 8}

        assert told(await scene.ask())[2] == "queue_full"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("settings", [{"queue_timeout_s": 5.0}], indirect=True)
async def test_too_long_in_line_is_504(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", hangs)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask)
        await scene.settle()
        started_s = trio.current_time()
        reply = await scene.ask()
        assert trio.current_time() - started_s == pytest.approx(5)
        nursery.cancel_scope.cancel()

    assert told(reply) == (504, "timeout_error", "queue_timeout", None)
    assert (reply.headers["x-queue-status"], reply.headers["x-queue-wait-ms"]) == ("queued", "5000")
    assert "5 s" in reply.error["message"]
    await scene.settle()
    assert not scene.waiting


@pytest.mark.parametrize("settings", [{"queue_timeout_s": 0}], indirect=True)
async def test_without_time_to_wait_a_free_slot_is_used_and_nobody_waits(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", replies(json_answer(completion()), after_s=3))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask)
        await scene.settle()
        assert told(await scene.ask())[2] == "queue_timeout"
        assert trio.current_time() == 0


async def test_a_model_of_an_endpoint_that_is_coming_up_is_worth_waiting_for(
    scene: Scene,
) -> None:
    endpoint = await scene.endpoint("a")
    scene.on("a", json_answer(completion()))
    listing = replies(json_answer({"data": [{"id": "tiny"}]}), after_s=3)
    scene.upstream.on(url("a"), "GET", "/v1/models", listing)
    await scene.house.registry.update(endpoint.id, lambda e: replace(e, api_key="new"))

    reply = await scene.ask()

    assert reply.status == 200
    assert trio.current_time() >= 3
    assert reply.headers["x-queue-status"] == "queued"


# -- loops


@pytest.mark.parametrize(
    "chain",
    ["this-instance", "another, this-instance", "this-instance ,another", "a,this-instance"],
)
async def test_a_request_that_came_back_is_508(scene: Scene, chain: str) -> None:
    await scene.endpoint("a")

    reply = await scene.ask(headers={"x-llmlb-instance": chain})

    assert told(reply) == (508, "upstream_error", "loop_detected", None)
    assert not scene.requests()


async def test_another_balancer_before_this_one_is_no_loop(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))

    assert (await scene.ask(headers={"x-llmlb-instance": "another"})).status == 200
    assert (await scene.ask(headers={"x-llmlb-instance": "this-instance-2"})).status == 200


# -- shutting down


async def test_while_draining_new_requests_are_503_and_running_ones_go_on(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", sse_answer(says("A"), 5.0, says("B"), finish()))
    running, waiting = FakeDownstream(), FakeDownstream()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stream, running)
        await scene.settle()
        nursery.start_soon(scene.stream, waiting)
        await scene.settle()
        nursery.start_soon(scene.house.drain)
        await scene.settle()
        late = await scene.ask()

        for refused_one in (waiting, late):
            assert told(refused_one) == (503, "service_unavailable", "shutting_down", None)
            assert refused_one.headers["retry-after"] == "5"

    assert running.status == 200
    assert running.events[-1] == b"data: [DONE]"
    assert trio.current_time() == pytest.approx(5)
    assert len(scene.requests()) == 1


async def test_a_request_that_was_admitted_before_may_try_elsewhere_while_draining(
    scene: Scene,
) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", replies(refused(), after_s=2))
    scene.on("b", json_answer(completion()))
    reply = FakeDownstream()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask, None, reply)
        await scene.settle()
        nursery.start_soon(scene.house.drain)

    assert reply.status == 200
    assert reply.headers["x-llmlb-endpoint"] == "b"


async def test_after_the_house_has_closed_requests_are_503(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.house.close()
    assert told(await scene.ask())[2] == "shutting_down"


async def test_a_house_that_closes_under_a_waiter_answers_it(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", replies(json_answer(completion()), after_s=3))
    running, waiting = FakeDownstream(), FakeDownstream()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask, None, running)
        await scene.settle()
        nursery.start_soon(scene.ask, None, waiting)
        await scene.settle()
        scene.house.close()

    assert told(waiting)[2] == "shutting_down"
    assert running.status == 200, "its lease has nobody to go back to, and that is fine"


# -- faults of our own


class Blunder(RuntimeError):
    pass


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_fault_of_ours_is_500_without_internals(
    scene: Scene, streamed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    await scene.endpoint("a")
    scene.on("a", Blunder("the secret is 1234"))

    reply = await scene.ask(chat(stream=streamed), request_id="req-42")
    await scene.settle()

    assert told(reply) == (500, "server_error", "internal_error", None)
    assert "req-42" in reply.error["message"]
    assert reply.headers["x-request-id"] == "req-42"
    assert b"1234" not in reply.body
    assert b"Blunder" not in reply.body
    logged = capsys.readouterr().out
    assert "req-42" in logged
    assert "the secret is 1234" in logged
    assert not scene.leases
    assert not scene.open_requests
    assert scene.totals("a").cancelled_requests == 1, "it says nothing of the endpoint"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_fault_of_ours_after_the_head_cuts_the_answer_off(
    scene: Scene, streamed: bool
) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), finish()) if streamed else json_answer(completion()))
    downstream = FakeDownstream(fails_with=Blunder("no such encoding"))

    await scene.ask(chat(stream=streamed), downstream)
    await scene.settle()

    assert downstream.aborted
    assert not downstream.pieces
    assert not scene.leases
    assert not scene.open_requests


async def test_a_fault_of_ours_in_the_middle_of_a_stream_cuts_it_off(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), Blunder("what")))

    reply = await scene.stream()
    await scene.settle()

    assert reply.aborted
    assert len(reply.pieces) == 1
    assert not scene.leases


async def test_one_request_that_breaks_the_core_breaks_no_other(scene: Scene) -> None:
    await scene.endpoint("a", slots=2)
    scene.on("a", replies(json_answer(completion()), after_s=2))
    other = FakeDownstream()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask, None, other)
        await scene.settle()
        scene.on("a", Blunder("what"))
        assert (await scene.ask()).status == 500

    assert other.status == 200


async def test_any_error_of_the_house_is_shown_as_it_is(scene: Scene) -> None:
    class Odd(LbError):
        status = 418

    await scene.endpoint("a")
    scene.on("a", Odd("teapot"))

    assert told(await scene.ask()) == (418, "server_error", "internal_error", None)


# -- what operators may do meanwhile


async def test_an_endpoint_that_is_removed_finishes_what_it_runs(scene: Scene) -> None:
    endpoint = await scene.endpoint("a")
    scene.on("a", sse_answer(says("A"), 5.0, says("B"), finish()))
    downstream = FakeDownstream()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stream, downstream)
        await trio.sleep(1)
        await scene.house.registry.remove(endpoint.id)
        assert told(await scene.ask())[2] == "model_not_found"

    assert downstream.events[-1] == b"data: [DONE]"


@pytest.mark.parametrize("mode", [Mode.DRAINING, Mode.DISABLED])
async def test_an_endpoint_that_is_taken_out_finishes_what_it_runs(
    scene: Scene, mode: Mode
) -> None:
    endpoint = await scene.endpoint("a")
    scene.on("a", sse_answer(says("A"), 5.0, says("B"), finish()))
    downstream = FakeDownstream()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stream, downstream)
        await trio.sleep(1)
        await scene.house.registry.update(endpoint.id, lambda e: replace(e, mode=mode))
        assert told(await scene.ask())[0] == 503

    assert downstream.events[-1] == b"data: [DONE]"


async def test_an_exchange_waits_for_whoever_becomes_free_first(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    await scene.endpoint("b", slots=1)

    async def busy(call: SeenCall) -> Answer:
        await trio.sleep(9 if call.endpoint.name == "a" else 4)
        return json_answer(completion(call.endpoint.name))

    for name in "ab":
        scene.on(name, busy)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(scene.ask)
        await scene.settle()
        reply = await scene.ask()

    assert reply.headers["x-llmlb-endpoint"] == "b"
    assert reply.headers["x-llmlb-queue-ms"] == "4000"
