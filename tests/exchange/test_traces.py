"""Traces: what spans an exchange leaves behind, and whose context its endpoints are given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
import trio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from llmlb.http.downstream import Asked, Headers
from llmlb.http.tracing.exporting import provider_with
from llmlb.http.tracing.spans import SpanTracing
from llmlb.http.tracing.trace import UNTRACED, Untraced
from llmlb.records import RequestRecord
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import NOW, Scene
from tests.fakes.openai import chat, completion, counted, finish, says, usage_alone
from tests.fakes.upstream import hangs, json_answer, refused, replies, sse_answer

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FROM_CLIENT = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01", "tracestate": "theirs=1"}

STREAM = sse_answer(1.0, says("a"), 0.5, says("b"), finish(), usage_alone(7, 3))
FIRST_MS, WHOLE_MS = 1000, 1500


class Traced:
    """What has been exported, by the names of spans."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self._exporter = scene, InMemorySpanExporter()
        provider = provider_with(SimpleSpanProcessor(self._exporter))
        house = scene.house
        scene.exchange.tracing = SpanTracing(
            provider.get_tracer("llmlb"), house.world.now, lambda: house.registry.catalog
        )

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return tuple(sorted(self._exporter.get_finished_spans(), key=lambda s: s.start_time or 0))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    @property
    def server(self) -> ReadableSpan:
        return self.one("POST /v1/chat/completions")


@pytest.fixture
def traced(scene: Scene) -> Traced:
    return Traced(scene)


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def parent_id(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def times_ms(span: ReadableSpan) -> tuple[float, float]:
    """Its start and its end, since the request came."""
    began_ns = int(NOW.timestamp()) * 1_000_000_000
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.start_time - began_ns) / 1e6, (span.end_time - began_ns) / 1e6


def said(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


async def test_a_stream_leaves_a_request_an_attempt_and_a_stream(
    scene: Scene, traced: Traced
) -> None:
    await scene.endpoint("a")
    scene.on("a", STREAM)

    await scene.ask(chat(stream=True), headers=FROM_CLIENT)

    attempt, stream = traced.one("attempt"), traced.one("stream")
    assert len(traced.spans) == 3, "nobody was in line"
    assert (parent_id(traced.server), trace_id(traced.server)) == (PARENT_ID, TRACE_ID)
    assert parent_id(attempt) == span_id(traced.server)
    assert parent_id(stream) == span_id(attempt)
    assert (traced.server.kind, attempt.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert times_ms(traced.server) == times_ms(attempt) == (0, WHOLE_MS)
    assert times_ms(stream) == (FIRST_MS, WHOLE_MS)
    assert [(e.name, e.timestamp) for e in attempt.events] == [("first token", stream.start_time)]
    assert said(traced.server) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "url.path": "/v1/chat/completions",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "llmlb",
        "gen_ai.request.model": "tiny",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "tiny",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "llmlb.request_id": "req-1",
        "llmlb.outcome": "succeeded",
        "llmlb.endpoint": "a",
        "llmlb.attempts": 1,
        "llmlb.waited_ms": 0.0,
    }
    assert said(attempt)["server.address"] == "a.lan"
    assert said(attempt)["server.port"] == 8000


async def test_the_endpoint_gets_the_context_of_its_attempt(scene: Scene, traced: Traced) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))

    await scene.ask(headers=FROM_CLIENT)

    (call,) = scene.requests()
    assert call.headers["traceparent"] == f"00-{TRACE_ID}-{span_id(traced.one('attempt'))}-01"
    assert call.headers["tracestate"] == "theirs=1"


async def test_each_endpoint_that_is_tried_is_an_attempt_of_its_own(
    scene: Scene, traced: Traced
) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", json_answer({"error": {"message": "secret words"}}, 500))
    scene.on("b", replies(refused()))

    assert (await scene.ask()).status == 502

    by_endpoint = {said(span)["llmlb.endpoint"]: span for span in traced.named("attempt")}
    assert by_endpoint.keys() == {"a", "b"}
    assert said(by_endpoint["a"])["error.type"] == "500"
    assert said(by_endpoint["b"])["error.type"] == "failed"
    assert {span.status.status_code for span in by_endpoint.values()} == {StatusCode.ERROR}
    assert traced.server.status.status_code is StatusCode.ERROR
    contexts = {call.headers["traceparent"].rpartition("-")[0] for call in scene.requests()}
    trace = trace_id(traced.server)
    assert contexts == {f"00-{trace}-{span_id(span)}" for span in by_endpoint.values()}
    assert "secret words" not in "".join(span.to_json() for span in traced.spans)


async def test_time_in_line_is_a_span(scene: Scene, traced: Traced, nursery: trio.Nursery) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", replies(json_answer(completion()), after_s=2))

    async with trio.open_nursery() as clients:
        clients.start_soon(scene.ask)
        await scene.settle()
        clients.start_soon(scene.ask)

    line = traced.one("line")
    assert times_ms(line) == (0, 2000)
    assert said(line) == {"gen_ai.request.model": "tiny", "llmlb.admission.answer": "granted"}
    (second,) = [s for s in traced.named("POST /v1/chat/completions") if said(s)["llmlb.waited_ms"]]
    assert parent_id(line) == span_id(second)


async def test_nothing_that_an_endpoint_says_of_a_request_is_seen_by_all(
    scene: Scene, traced: Traced
) -> None:
    """Its code could quote the request: neither a span nor an event has it."""
    await scene.endpoint("a")
    said = {"message": "my question", "type": "my question", "code": "my question"}
    scene.on("a", json_answer({"error": said}, 400))
    await scene.settle()

    with await scene.house.feed.subscribe() as news:
        await scene.ask()
        await trio.sleep(1)
        told = [one.json for one in (await news.next()).events]

    spans = [f"{span.name} {span.attributes} {span.status.description}" for span in traced.spans]
    assert sum("endpoint_refusal" in text for text in told) == 1
    assert sum("endpoint_refusal" in text for text in spans) == 1
    assert not [text for text in (*told, *spans) if "question" in text]


async def test_a_request_that_is_refused_is_a_span_without_attempts(
    scene: Scene, traced: Traced
) -> None:
    assert (await scene.ask(chat("none"))).status == 404

    assert traced.spans == (traced.server,)
    assert said(traced.server)["error.type"] == "model_not_found"
    assert traced.server.status.status_code is StatusCode.UNSET, "it is the client's fault"


async def test_a_client_that_leaves_ends_its_spans(scene: Scene, traced: Traced) -> None:
    await scene.endpoint("a")
    scene.on("a", hangs)

    with trio.move_on_after(3):
        await scene.ask()

    assert times_ms(traced.server) == times_ms(traced.one("attempt")) == (0, 3000)
    assert said(traced.server)["llmlb.outcome"] == "cancelled"
    assert said(traced.server)["http.response.status_code"] == 499


@pytest.mark.parametrize(
    "malformed",
    [
        "00-1",
        f"00-{TRACE_ID}-{PARENT_ID}-01, 00-{TRACE_ID}-{PARENT_ID}-01",
        f"00-{'0' * 32}-{PARENT_ID}-01",
        f"ff-{TRACE_ID}-{PARENT_ID}-01",
        "\xff" * 55,
        "",
    ],
)
async def test_a_malformed_context_is_dropped(scene: Scene, traced: Traced, malformed: str) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))

    reply = await scene.ask(headers={"traceparent": malformed, "tracestate": "a" * 5000})

    assert reply.status == 200
    assert traced.server.parent is None
    (call,) = scene.requests()
    begun, _, _ = call.headers["traceparent"].rpartition("-")
    assert begun == f"00-{trace_id(traced.server)}-{span_id(traced.one('attempt'))}"
    assert "tracestate" not in call.headers


async def test_what_is_not_sampled_is_not_exported_but_passed_on(
    scene: Scene, traced: Traced
) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))

    await scene.ask(headers={"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-00"})

    assert traced.spans == ()
    (call,) = scene.requests()
    assert re.fullmatch(rf"00-{TRACE_ID}-[0-9a-f]{{16}}-00", call.headers["traceparent"])
    assert PARENT_ID not in call.headers["traceparent"]


async def test_spans_nest_whatever_the_wall_clock_does(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", STREAM)
    traced = Traced(scene)
    turns = iter((NOW, *(NOW - timedelta(hours=hour) for hour in range(1, 9))))
    object.__setattr__(scene.house.world, "now", lambda: next(turns))
    scene.exchange.tracing = SpanTracing(
        scene.exchange.tracing.tracer,  # type: ignore[attr-defined]  # it is a SpanTracing
        scene.house.world.now,
        lambda: scene.house.registry.catalog,
    )

    await scene.stream()

    assert times_ms(traced.server) == times_ms(traced.one("attempt")) == (0, WHOLE_MS)


async def test_neither_bodies_nor_keys_are_told(scene: Scene, traced: Traced) -> None:
    await scene.endpoint("a", api_key="sk-of-the-endpoint")  # pragma: allowlist secret
    scene.on("a", json_answer(completion("the answer", usage=counted())))
    credentials = {"authorization": "Bearer sk_of_the_client", "x-api-key": "sk_of_the_client"}

    await scene.ask(chat(user="the question"), headers=credentials)

    told = "".join(span.to_json() for span in traced.spans)
    assert "completions" in told
    for secret in ("sk-of", "sk_of", "the answer", "the question", "Bearer"):
        assert secret not in told


class Counting(Untraced):
    """No traces, and a count of who would have liked some."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def begin(self, asked: Asked) -> Counting:
        self.calls.append("begin")
        return self

    def attempt(self, headers: Headers) -> Headers:
        self.calls.append("attempt")
        return headers

    def close(self, record: RequestRecord) -> None:
        self.calls.append("close")


async def test_without_traces_a_request_costs_three_calls_and_no_object(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", STREAM)
    assert scene.exchange.tracing is UNTRACED
    headers = (("a", "b"),)
    assert UNTRACED.attempt(headers) is headers
    counting = scene.exchange.tracing = Counting()

    downstream = FakeDownstream()
    await scene.ask(chat(stream=True), downstream, headers=FROM_CLIENT)

    assert counting.calls == ["begin", "attempt", "close"]
    (call,) = scene.requests()
    assert {k: call.headers[k] for k in FROM_CLIENT} == FROM_CLIENT
