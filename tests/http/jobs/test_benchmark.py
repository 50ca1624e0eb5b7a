"""A benchmark goes the way of clients' requests, and is not counted among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from llmlb.http.jobs.benchmark import PROMPT, Bench
from llmlb.jobs import BenchmarkPlan, Sample
from llmlb.jobs.benchmarks import figures
from llmlb.types import Api, EndpointId
from tests.fakes.house import CHAT, COMPLETIONS, Scene, url
from tests.fakes.openai import finish, says, typed_event, usage_alone
from tests.fakes.upstream import (
    Answer,
    Handler,
    SeenCall,
    hangs,
    json_answer,
    refused,
    replies,
    sse_answer,
)


def answering(tokens: int, *, first_s: float = 1.0, per_s: float = 10.0) -> Answer:
    """A stream of so many tokens."""
    return sse_answer(
        first_s,
        says("0"),
        *(piece for n in range(1, tokens) for piece in (1 / per_s, says(str(n)))),
        1 / per_s,
        finish("length"),
        usage_alone(5, tokens),
    )


def endless(answer: Answer) -> Handler:
    """The same answer every time, from its beginning."""
    pieces = tuple(answer.chunks)  # type: ignore[arg-type]

    async def handle(_: SeenCall) -> Answer:
        await trio.lowlevel.checkpoint()
        return Answer(answer.status, answer.headers, pieces)

    return handle


@dataclass
class Run:
    """One benchmark over the endpoints of these names."""

    scene: Scene
    names: str
    fields: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    async def run(self, *, total: int = 4, concurrency: int = 1, api: Api = CHAT) -> None:
        plan = BenchmarkPlan("tiny", api, total, concurrency, 20, 0.5)
        ids = tuple(EndpointId(f"id-{name}") for name in self.names)
        core = self.scene.exchange
        bench = Bench(core.house, core.client, core.cut_off, plan, ids)
        await bench.run(self.samples.append)

    @property
    def errors(self) -> set[str | None]:
        return {sample.error for sample in self.samples}


async def test_endpoints_take_turns_and_speed_is_that_between_first_and_last_token(
    scene: Scene,
) -> None:
    for name, per_s in (("a", 10.0), ("b", 40.0)):
        await scene.endpoint(name)
        scene.on(name, endless(answering(20, per_s=per_s)))
    run = Run(scene, "ab")
    await run.run(total=6)
    assert [sample.endpoint_id for sample in run.samples] == ["id-a", "id-b"] * 3
    assert [sample.tps for sample in run.samples] == pytest.approx([9.5, 38.0] * 3)
    call = scene.requests("a")[0].json
    assert (call["max_tokens"], call["temperature"], call["stream"]) == (20, 0.5, True)
    assert call["messages"] == [{"role": "user", "content": PROMPT}]
    assert call["stream_options"] == {"include_usage": True}


async def test_it_changes_nothing_but_takes_leases(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", endless(answering(5)))
    run = Run(scene, "a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.run)
        await trio.sleep(0.5)
        assert scene.leases == {"id-a": 1}
    await scene.settle()
    assert not scene.leases
    assert scene.totals("a").total_requests == 0
    assert scene.latency_ms("a") is None
    assert scene.standing("a") is None
    await scene.stream()
    await scene.settle()
    assert scene.totals("a").total_requests == 1


async def test_no_endpoint_gets_more_than_it_takes(scene: Scene) -> None:
    await scene.endpoint("a", slots=2)
    scene.on("a", endless(answering(10)))
    run, most = Run(scene, "a"), 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run.run(total=12, concurrency=8))
        for _ in range(100):
            await trio.sleep(0.1)
            most = max(most, len(scene.open_requests))
            assert sum(scene.waiting.values()) <= 1, "one of a run stands in line"
    assert most == 2
    assert figures(run.samples).measured_requests == 12


async def test_clients_come_before_the_rest_of_a_run(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", endless(answering(10)))  # two seconds each
    run, waited = Run(scene, "a"), []

    async def client() -> None:
        asked_s = trio.current_time()
        assert (await scene.stream()).status == 200
        waited.append(trio.current_time() - asked_s)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run.run(total=40, concurrency=16))
        for _ in range(5):
            await trio.sleep(0.5)
            nursery.start_soon(client)
    assert max(waited) <= 2 * (5 + 2), "one of the run is at work, one is in line, four are clients"
    assert len(run.samples) == 40


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (refused(), "Connection refused."),
        (json_answer({"error": {"message": "No such thing."}}, 400), "No such thing."),
        (sse_answer(says("x"), done=False), "ended in the middle"),
    ],
)
async def test_what_fails_is_told_and_no_other_endpoint_is_asked(
    scene: Scene, answer: Any, told: str
) -> None:
    for name in "ab":
        await scene.endpoint(name)
        scene.on(name, endless(answering(5)))
    scene.on("a", answer if isinstance(answer, BaseException) else endless(answer))
    run = Run(scene, "a")
    await run.run(total=2)
    assert [sample.succeeded for sample in run.samples] == [False, False]
    assert all(told in (error or "") for error in run.errors)
    assert not scene.requests("b")
    await scene.settle()
    assert not scene.leases


async def test_an_endpoint_that_goes_meanwhile_is_no_reason_to_stop(scene: Scene) -> None:
    for name in "ab":
        await scene.endpoint(name)
        scene.on(name, endless(answering(5)))
    await scene.house.registry.remove(EndpointId("id-b"))
    run = Run(scene, "ab")
    await run.run()
    assert [sample.succeeded for sample in run.samples] == [True, False] * 2


async def test_an_answer_that_nobody_counted_is_not_measured(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", endless(sse_answer(says("x"), 1.0, finish())))
    run = Run(scene, "a")
    await run.run(total=1)
    assert run.samples == [Sample(EndpointId("id-a"), succeeded=True)]


async def test_an_endpoint_that_answers_at_once_is_measured_by_the_whole_time(
    scene: Scene,
) -> None:
    await scene.endpoint("a")
    scene.on("a", endless(answering(20, first_s=2.0, per_s=1e6)))
    run = Run(scene, "a")
    await run.run(total=1)
    assert run.samples[0].tps == pytest.approx(10.0, rel=0.01)


async def test_cancelled_it_leaves_no_lease_and_no_call(scene: Scene) -> None:
    await scene.endpoint("a", slots=2)
    scene.on("a", hangs)
    with trio.move_on_after(5):
        await Run(scene, "a").run(total=50, concurrency=8)
    await scene.settle()
    assert not scene.leases
    assert not any(scene.waiting.values())
    assert not scene.open_requests


async def test_other_routes_are_asked_in_their_own_way(scene: Scene) -> None:
    await scene.endpoint("a")
    done = {"id": "r", "object": "response", "output": [], "status": "completed"}
    usage = {"input_tokens": 5, "output_tokens": 20, "total_tokens": 25}
    events = (
        typed_event("response.output_text.delta", delta="1"),
        2.0,
        typed_event("response.completed", response={**done, "usage": usage}),
    )
    scene.on("a", endless(sse_answer(*events, done=False)), Api.RESPONSES)
    chunk = {"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": "1"}]}
    end = {**chunk, "choices": [{"index": 0, "text": "", "finish_reason": "length"}]}
    scene.on("a", endless(sse_answer(chunk, 2.0, end, usage_alone(5, 20))), COMPLETIONS)
    run = Run(scene, "a")
    await run.run(total=1, api=Api.RESPONSES)
    await run.run(total=1, api=COMPLETIONS)
    assert [sample.tps for sample in run.samples] == pytest.approx([9.5, 9.5])
    responses, completions = (call.json for call in scene.requests("a"))
    assert (responses["input"], responses["max_output_tokens"], responses["store"]) == (
        PROMPT,
        20,
        False,
    )
    assert (completions["prompt"], completions["max_tokens"]) == (PROMPT, 20)
    assert not scene.house.responses.whereabouts


async def test_the_house_stops_it(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", replies(answering(5), after_s=100))
    core = scene.exchange
    plan = BenchmarkPlan("tiny", CHAT, 4, 2, 20, 0.5)
    bench = Bench(core.house, core.client, core.cut_off, plan, (EndpointId("id-a"),))
    run = await scene.house.jobs.benchmark(plan, ((EndpointId("id-a"), "a"),), bench.run)
    await trio.sleep(1)
    assert scene.leases == {"id-a": 1}
    with trio.fail_after(1):
        await scene.house.drain()
    assert scene.house.jobs.benchmarks[run.id].status == "failed"
    assert not scene.upstream.seen("/v1/chat/completions", url("a"))[0].read_to_end
