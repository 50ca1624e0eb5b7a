"""What a request leaves behind: latency on success alone, statistics always."""

from __future__ import annotations

import pytest
import trio

from llmlb.accounting import FinishedRequest, Totals
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import CHAT, COMPLETIONS, EMBEDDINGS, NOW, Scene
from tests.fakes.openai import (
    chat,
    chunk,
    completion,
    counted,
    finish,
    role,
    says,
    usage_alone,
)
from tests.fakes.upstream import disconnected, json_answer, refused, replies, sse_answer


async def answered_in(scene: Scene, seconds: float, name: str = "a") -> None:
    scene.on(name, replies(json_answer(completion()), after_s=seconds))
    assert (await scene.ask()).status == 200
    await scene.settle()


async def test_the_latency_is_an_ema_of_successful_answers(scene: Scene) -> None:
    await scene.endpoint("a")
    assert scene.latency_ms("a") is None

    await answered_in(scene, 1.0)
    assert scene.latency_ms("a") == pytest.approx(1000)
    await answered_in(scene, 2.0)
    assert scene.latency_ms("a") == pytest.approx(0.2 * 2000 + 0.8 * 1000)


@pytest.mark.parametrize(
    "failure",
    [
        refused(),
        disconnected(),
        json_answer({"error": "x"}),
        json_answer({"error": "x"}, 503),
        json_answer({"error": "x"}, 429),
        json_answer({"error": "x"}, 400),
        sse_answer(says("A"), disconnected()),
    ],
)
async def test_a_failure_leaves_the_latency_as_it_was(scene: Scene, failure: object) -> None:
    await scene.endpoint("a")
    await answered_in(scene, 1.0)
    before = scene.standing("a")

    scene.on("a", failure)  # type: ignore[arg-type]
    await scene.stream()
    await scene.settle()

    assert scene.latency_ms("a") == pytest.approx(1000)
    assert scene.standing("a") == before
    assert scene.totals("a").failed_requests == 1


async def test_time_in_line_is_no_part_of_it(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", replies(json_answer(completion()), after_s=3))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(scene.ask)
    await scene.settle()

    assert trio.current_time() == pytest.approx(12, abs=0.5)
    assert scene.latency_ms("a") == pytest.approx(3000)


async def test_a_failed_attempt_elsewhere_is_no_part_of_it(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", replies(refused(), after_s=5))
    scene.on("b", replies(json_answer(completion()), after_s=2))

    await scene.ask()
    await scene.settle()

    assert scene.latency_ms("a") is None
    assert scene.latency_ms("b") == pytest.approx(2000)


async def test_each_model_and_api_of_an_endpoint_has_a_latency_of_its_own(scene: Scene) -> None:
    await scene.endpoint("a", "tiny", "huge")
    answers = {
        CHAT: (1.0, json_answer(completion())),
        COMPLETIONS: (2.0, json_answer({"choices": [{"text": "x"}]})),
        EMBEDDINGS: (4.0, json_answer({"data": [{}]})),
    }
    for api, (seconds, answer) in answers.items():
        scene.on("a", replies(answer, after_s=seconds), api)
        await scene.ask(chat("tiny"), api=api)
        await scene.ask(chat("huge"), api=api)
    await scene.settle()

    for model in ("tiny", "huge"):
        for api, (seconds, _) in answers.items():
            standing = scene.standing("a", model, api)
            assert standing is not None
            assert standing.latency_ms == pytest.approx(seconds * 1000)


async def test_latency_and_totals_are_kept_under_the_endpoints_own_id(scene: Scene) -> None:
    await scene.endpoint("a", "tiny:latest")
    scene.on("a", replies(json_answer(completion()), after_s=1.0))
    await scene.ask(chat("tiny"))
    await scene.settle()

    assert scene.standing("a", "tiny") is None
    assert scene.standing("a", "tiny:latest") is not None


async def test_the_time_to_the_first_token_is_not_the_latency(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(role(), 1.5, says("A"), 2.0, finish()))
    finished: list[FinishedRequest] = []
    monkeypatch.setattr(scene.house, "finished", lambda _, request: finished.append(request))

    await scene.stream()

    [request] = finished
    assert request.time_to_first_token_ms == pytest.approx(1500)
    assert request.duration_ms == pytest.approx(3500)
    assert request.finished_at == NOW
    assert (request.model, request.api) == ("tiny", CHAT)


async def test_a_request_without_a_token_has_no_time_to_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.endpoint("a")
    scene.on("a", refused())
    finished: list[FinishedRequest] = []
    monkeypatch.setattr(scene.house, "finished", lambda _, request: finished.append(request))

    await scene.ask()

    [request] = finished
    assert request.time_to_first_token_ms is None


async def test_every_attempt_is_counted_where_it_ran(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", json_answer({"error": "x"}, 503))
    scene.on("b", sse_answer(chunk({"content": "A"}, usage=counted(4, 1)), disconnected()))

    await scene.stream()
    await scene.stream(FakeDownstream(leaves_at=1))
    scene.on("b", sse_answer(says("A"), finish(), usage_alone(4, 2)))
    await scene.stream()
    await scene.settle()

    assert scene.totals("a").failed_requests == scene.totals("a").total_requests >= 1
    b = scene.totals("b")
    assert (b.total_requests, b.failed_requests, b.cancelled_requests) == (3, 1, 1)
    assert (b.input_tokens, b.output_tokens, b.total_tokens) == (12, 4, 16)


async def test_statistics_and_latencies_are_written_behind(scene: Scene) -> None:
    endpoint = await scene.endpoint("a")
    scene.on("a", replies(json_answer(completion(usage=counted(4, 2))), after_s=2))

    await scene.ask()
    assert await scene.house.journal.flush()

    totals = await scene.house.store.statistics.totals()
    assert totals == {endpoint.id: Totals(1, 1, 0, 0, 4, 2, 6, 2000.0, timed_output_tokens=2)}
    latencies = await scene.house.store.statistics.latencies()
    assert {(row.model, row.api, round(row.latency_ms)) for row in latencies} == {
        (None, None, 2000),
        ("tiny", CHAT, 2000),
    }


async def test_the_quicker_of_two_endpoints_is_preferred(scene: Scene) -> None:
    for name, seconds in {"a": 3.0, "b": 1.0}.items():
        await scene.endpoint(name, slots=4)
        scene.on(name, replies(json_answer(completion()), after_s=seconds))

    served = [(await scene.ask()).headers["x-llmlb-endpoint"] for _ in range(6)]

    assert served == ["a", "b", "b", "b", "b", "b"]
