"""`/metrics`: what is counted of requests, how everything is, and how that is written down."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from llmlb.accounting import Outcome, Usage
from llmlb.catalog import Catalog
from llmlb.http.metrics import models, page
from llmlb.http.metrics.accumulators import Histograms, Sums
from llmlb.http.metrics.lag import LoopLag
from llmlb.http.metrics.models import MOST_MODELS, OTHER, UNKNOWN, ModelLabels
from llmlb.http.metrics.page import Metrics
from llmlb.http.metrics.requests import RequestMetrics
from llmlb.http.semantics import operation_of
from llmlb.records import Attempt, RequestRecord
from llmlb.types import Api, EndpointId, Model
from tests.fakes.house import NOW
from tests.fakes.openai import chat, completion, counted, finish, says, usage_alone
from tests.fakes.served import Served
from tests.fakes.upstream import hangs, json_answer, make_endpoint, replies, sse_answer

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def values_of(families: Iterable[Any]) -> Values:
    """The value of each series, by its name and its labels."""
    samples = [sample for family in families for sample in family.samples]
    values = {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}
    assert len(values) == len(samples), "a series is said twice"
    return values


async def scraped(served: Served) -> Values:
    reply = await served("GET", "/metrics")
    assert reply.status == 200
    return values_of(read_text(reply.body.decode()))


def sample(values: Values, name: str, **labels: str) -> float | None:
    return values.get((name, tuple(sorted(labels.items()))))


GEN_AI = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "llmlb"}


# -- what has become of requests


async def test_a_stream_is_measured_by_the_words_of_opentelemetry(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", sse_answer(1.0, says("a"), 1.0, says("b"), finish(), usage_alone(7, 3)))
    await served.post("/v1/chat/completions", chat(stream=True))

    values = await scraped(served)

    of_tiny = {**GEN_AI, "gen_ai_request_model": "tiny"}
    seconds = {
        "gen_ai_server_time_to_first_token_seconds": 1.0,
        "gen_ai_server_time_per_output_token_seconds": 0.5,
    }
    for name, value in seconds.items():
        assert sample(values, f"{name}_sum", **of_tiny) == value
        assert sample(values, f"{name}_count", **of_tiny) == 1
    name = "gen_ai_server_request_duration_seconds"
    assert sample(values, f"{name}_sum", error_type="", **of_tiny) == 2.0
    assert sample(values, f"{name}_bucket", error_type="", le="2.56", **of_tiny) == 1
    assert sample(values, f"{name}_bucket", error_type="", le="1.28", **of_tiny) == 0
    for kind, tokens in (("input", 7), ("output", 3)):
        told = sample(values, "gen_ai_client_token_usage_sum", gen_ai_token_type=kind, **of_tiny)
        assert told == tokens
    assert sample(values, "llmlb_endpoint_tokens_total", endpoint="a", type="output") == 3
    assert sample(values, "llmlb_endpoint_busy_seconds_total", endpoint="a") == 2.0
    assert sample(values, "llmlb_endpoint_latency_seconds", endpoint="a") == 2.0
    ended = {"api": "chat_completions", "code": "", "outcome": "succeeded"}
    assert sample(values, "llmlb_requests_total", **ended) == 1


def test_the_names_are_those_of_the_conventions() -> None:
    registry = CollectorRegistry()
    RequestMetrics(registry, ModelLabels())
    ours = {f.name for f in registry.collect() if f.name.startswith("gen_ai_")}
    seconds = (
        gen_ai_metrics.GEN_AI_SERVER_REQUEST_DURATION,
        gen_ai_metrics.GEN_AI_SERVER_TIME_TO_FIRST_TOKEN,
        gen_ai_metrics.GEN_AI_SERVER_TIME_PER_OUTPUT_TOKEN,
    )
    theirs = {f"{name.replace('.', '_')}_seconds" for name in seconds}
    assert ours == theirs | {gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE.replace(".", "_")}


async def test_nothing_that_clients_or_endpoints_say_becomes_a_label(served: Served) -> None:
    await served.scene.endpoint("a")
    refusal = {"error": {"message": "no", "type": "invalid_request_error", "code": "made-up-code"}}
    served.scene.on("a", json_answer(refusal, 400))
    for number in range(5):
        await served.post("/v1/chat/completions", chat(f"made-up-{number}"))
    await served.post("/v1/chat/completions", chat("tiny", user="made-up"))
    await served.post("/v1/chat/completions", b"made-up")
    await served.post("/v1/embeddings", b'{"model": "tiny:latest", "input": "made-up"}')

    values = await scraped(served)

    assert "made-up" not in repr(values)
    assert "tiny:latest" not in repr(values), "another spelling of a name that is listed"
    labels = {"error_type": "refused", **GEN_AI}
    name = "gen_ai_server_request_duration_seconds_count"
    assert sample(values, name, gen_ai_request_model=UNKNOWN, **labels) == 6
    assert sample(values, name, gen_ai_request_model="tiny", **labels) == 1
    refused = {"api": "chat_completions", "outcome": "refused"}
    assert sample(values, "llmlb_requests_total", code="model_not_found", **refused) == 5
    assert sample(values, "llmlb_requests_total", code="endpoint_refusal", **refused) == 1
    assert sample(values, "llmlb_requests_total", code="invalid_json", **refused) == 1
    assert sample(values, "llmlb_admission_decisions_total", answer="model_unknown") == 5


def record(**fields: Any) -> RequestRecord:
    asked = RequestRecord(
        id="1",
        request_id="r",
        arrived_at=NOW,
        finished_at=NOW + timedelta(seconds=1),
        api=Api.CHAT_COMPLETIONS,
        path="/v1/chat/completions",
        stream=False,
        model="m",
        known_model=True,
        served_model="m",
        endpoint_id=EndpointId("e"),
        endpoint_name="e",
        only=False,
        key_id=None,
        user_id=None,
        client_address=None,
        outcome=Outcome.SUCCEEDED,
        status=200,
        error_code=None,
        error_message=None,
        waited_ms=0,
        duration_ms=1000,
        time_to_first_token_ms=900,
        usage=Usage(1, 2, 3),
        request_bytes=1,
        response_bytes=1,
        decisions=(),
        attempts=(Attempt(EndpointId("e"), "e", "m", 0, 1000, 900, Outcome.SUCCEEDED),),
    )
    return replace(asked, **fields)


def listing(*models: str) -> Catalog:
    endpoint = make_endpoint(models=tuple(Model(model) for model in models))
    return Catalog.of({endpoint.id: endpoint})


def test_models_beyond_the_bound_share_a_label() -> None:
    names = [f"model-{n}" for n in range(MOST_MODELS + 20)]
    labels, catalog = ModelLabels(), listing(*names)

    told = [labels.label(name, None, catalog) for name in names]

    assert told == [*names[:MOST_MODELS], *[OTHER] * 20]
    assert labels.label(names[0], None, catalog) == names[0], "whoever has one keeps it"
    assert labels.label("", None, catalog) == labels.label("x", None, catalog) == UNKNOWN


def test_the_page_is_bounded_whatever_is_asked_of_whatever_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(models, "MOST_MODELS", 5)
    monkeypatch.setattr(models, "MOST_SERIES", 20)
    names = [f"model-{n}" for n in range(10)]
    registry, catalog = CollectorRegistry(), listing(*names)
    metrics = RequestMetrics(registry, ModelLabels())
    for name in names:
        for api in Api:
            for outcome in Outcome:
                metrics.answered(record(model=name, api=api, outcome=outcome, stream=True), catalog)

    series = generate_latest(registry).count(b"gen_ai_server_request_duration_seconds_count")

    assert series == (20 + len({operation_of(api) for api in Api})) * len(Outcome)


def test_a_code_of_nobody_is_another() -> None:
    registry = CollectorRegistry()
    metrics = RequestMetrics(registry, ModelLabels())
    failed = Attempt(EndpointId("e"), "e", "m", 0, 1, None, Outcome.FAILED)
    broken = record(outcome=Outcome.FAILED, error_code="queue_timeout", attempts=())
    metrics.answered(broken, listing("m"))
    metrics.answered(replace(broken, error_code="never heard of", attempts=(failed,)), listing("m"))

    values = values_of(registry.collect())

    labels = {"api": "chat_completions", "outcome": "failed"}
    assert sample(values, "llmlb_requests_total", code="queue_timeout", **labels) == 1
    assert sample(values, "llmlb_requests_total", code="other", **labels) == 1
    assert sample(values, "llmlb_attempts_total", outcome="failed") == 1


# -- how everything is


async def test_the_line_leases_and_circuits_are_shown_as_they_are(
    served: Served, nursery: trio.Nursery
) -> None:
    await served.scene.endpoint("a", slots=1)
    await served.scene.endpoint("b", "other-model", slots=4)
    served.scene.on("a", hangs)
    served.scene.on("b", json_answer({"error": {"message": "no"}}, 500))
    waiting = [
        served.begin(served.request("POST", "/v1/chat/completions", chat("tiny:latest")))
        for _ in range(3)
    ]
    for _ in range(3):
        await served.post("/v1/chat/completions", chat("other-model"))
    await trio.testing.wait_all_tasks_blocked()

    values = await scraped(served)

    assert sample(values, "llmlb_line_length", model="tiny") == 2
    assert sample(values, "llmlb_endpoint_leases", endpoint="a") == 1
    assert sample(values, "llmlb_endpoint_capacity", endpoint="b") == 4
    assert sample(values, "llmlb_endpoint_circuit_state", endpoint="a") == 0
    assert sample(values, "llmlb_endpoint_circuit_state", endpoint="b") == 2
    assert sample(values, "llmlb_endpoint_latency_seconds", endpoint="a") is None
    assert sample(values, "llmlb_endpoint_requests_total", endpoint="b", outcome="failed") == 3
    assert sample(values, "llmlb_endpoints", status="online") == 2
    assert sample(values, "llmlb_mailbox_peak_messages", actor="admission")
    assert sample(values, "llmlb_accepting") == sample(values, "llmlb_database_up") == 1
    backlog = sample(values, "llmlb_journal_backlog")
    assert backlog is not None
    assert backlog > 0
    for request in waiting:
        request.leave()

    await served("DELETE", "/api/endpoints/id-b")

    assert 'endpoint="b"' not in (await served("GET", "/metrics")).body.decode()


async def test_the_lag_is_how_late_a_sleep_ends() -> None:
    registry = CollectorRegistry()
    late_s = iter([0.0, 1.0, 1.0, 2.5])  # asked before and after each sleep
    woken = trio.Event()

    def clock() -> float:
        try:
            return next(late_s)
        except StopIteration:
            woken.set()
            return 0.0

    async with LoopLag(registry, clock).watched():
        await woken.wait()

    values = values_of(registry.collect())
    assert sample(values, "llmlb_event_loop_lag_seconds_count") == 2
    assert sample(values, "llmlb_event_loop_lag_seconds_sum") == 0.5


# -- how it is written down


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("text/html", "text/plain; version=0.0.4"),
        ("text/plain; version=1.0.0", "text/plain; version=1.0.0"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text; version=x.y", "text/plain; version=0.0.4"),
        (f"text/plain; version=1.{'9' * 5000}", "text/plain; version=0.0.4"),
    ],
)
async def test_the_scraper_chooses_the_format(
    served: Served, accept: str, content_type: str
) -> None:
    reply = await served("GET", "/metrics", headers={"accept": accept})

    assert reply.status == 200
    assert reply.headers["content-type"].startswith(content_type)
    openmetrics = content_type.startswith("application/")
    assert reply.body.endswith(b"# EOF\n") == openmetrics
    read = read_openmetrics if openmetrics else read_text
    assert "llmlb_build_info" in {name for name, _ in values_of(read(reply.body.decode()))}


async def test_head_is_served_like_get(served: Served) -> None:
    reply = await served("HEAD", "/metrics")  # the server leaves out the body
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain")


@given(st.lists(st.text(max_size=8), max_size=30, unique=True), st.integers(1, 7))
def test_what_is_written_in_parts_is_what_the_library_writes(
    labels: list[str], at_once: int
) -> None:
    metrics = Metrics()
    metrics.registry = CollectorRegistry()
    gauge = Gauge("g", "of what\n# HELP", ["of"], registry=metrics.registry)
    histogram = Histogram("h", "of it", ["of"], buckets=(1.0,), registry=metrics.registry)
    for label in labels:
        gauge.labels(label).set(len(label))
        histogram.labels(label).observe(len(label))

    def without_created(text: bytes) -> bytes:
        return b"\n".join(line for line in text.split(b"\n") if b"h_created" not in line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "SAMPLES_AT_ONCE", at_once)
        text, _ = trio.run(metrics.render, "")
        openmetrics, _ = trio.run(metrics.render, OPENMETRICS)

    assert text == without_created(generate_latest(metrics.registry))
    assert openmetrics == without_created(choose_encoder(OPENMETRICS)[0](metrics.registry))


async def test_others_work_while_a_large_page_is_written(autojump_clock: object) -> None:
    metrics, turns = Metrics(), 0
    gauge = Gauge("many", "of them", ["of"], registry=metrics.registry)
    for n in range(20 * page.SAMPLES_AT_ONCE):
        gauge.labels(str(n)).set(n)

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await metrics.render("")
        nursery.cancel_scope.cancel()

    assert turns >= 20


async def test_several_applications_of_one_process_count_apart(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", replies(json_answer(completion(usage=counted()))))
    await served.post("/v1/chat/completions", chat())

    assert "llmlb_requests_total{" in (await served("GET", "/metrics")).body.decode()
    assert b"llmlb_requests_total{" not in generate_latest(Metrics().registry)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 700) | st.sampled_from((0.01, 0.05, 0.1, 300.0)), st.sampled_from("abc")
        )
    )
)
def test_what_is_accumulated_looks_as_the_library_would_have_counted_it(
    measured: list[tuple[float, str]],
) -> None:
    registry, bounds = CollectorRegistry(), (0.01, 0.05, 0.1, 300.0)
    theirs = Histogram("spread", "How long.", ["who"], buckets=bounds, registry=registry)
    counter = Counter("sums", "How much.", ["who"], registry=registry)
    ours, sums = Histograms("spread", "How long.", bounds, "who"), Sums("sums", "How much.", "who")
    for value, who in measured:
        theirs.labels(who).observe(value)
        counter.labels(who).inc(value)
        ours.add(value, who)
        sums.add(value, who)

    def samples(families: Iterable[Metric]) -> list[list[tuple[object, ...]]]:
        return [[tuple(s)[:3] for s in f.samples if "_created" not in s.name] for f in families]

    assert samples((ours.family(), sums.family())) == samples(registry.collect())
