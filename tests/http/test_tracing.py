"""Whether there are traces, what that takes, and how they end."""

from __future__ import annotations

import ast
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmlb.catalog import Catalog
from llmlb.errors import StartupError
from llmlb.http.tracing import exporting
from llmlb.http.tracing.exporting import FLUSH_LIMIT_S, is_traced, provider_with, tracing_by
from llmlb.http.tracing.spans import SpanTracing
from llmlb.http.tracing.trace import UNTRACED
from llmlb.settings import Settings

COLLECTOR = "http://collector.lan:4318"


def now() -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC)


def catalog() -> Catalog:
    return Catalog.of({})


@pytest.mark.parametrize(
    ("tracing", "environ", "traced"),
    [
        ("auto", {}, False),
        ("auto", {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ("auto", {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, True),
        ("auto", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": COLLECTOR}, True),
        ("auto", {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_SDK_DISABLED": "True"}, False),
        ("ON", {}, True),
        ("off", {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, False),
    ],
)
def test_who_is_traced(tracing: Any, environ: dict[str, str], traced: bool) -> None:
    assert is_traced(Settings(tracing=tracing), environ) == traced


async def test_what_is_asked_for_and_not_installed_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    async with tracing_by(Settings(tracing="off"), now, catalog) as tracing:
        assert tracing is UNTRACED, "nobody asked"
    with pytest.raises(StartupError, match=r"install llmlb\[otel\], or set LLMLB_TRACING=off"):
        async with tracing_by(Settings(tracing="on"), now, catalog):
            pass


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5000"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")],
)
async def test_a_variable_that_the_sdk_refuses_stops_the_start_in_our_words(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartupError, match=r"variable of OpenTelemetry's .* LLMLB_TRACING=off"):
        async with tracing_by(Settings(tracing="on"), now, catalog):
            pass


async def test_a_collector_that_hangs_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    collected = threading.Event()
    tracer = object()
    provider = SimpleNamespace(get_tracer=lambda *_: tracer, shutdown=collected.wait)
    monkeypatch.setattr(exporting, "_provider", lambda: provider)

    async with tracing_by(Settings(tracing="on"), now, catalog) as tracing:
        assert cast("SpanTracing", tracing).tracer is tracer

    assert trio.current_time() == FLUSH_LIMIT_S
    collected.set()


@pytest.mark.parametrize("state", ["a" * 9000, "no pair", "a=1," * 40, "a=1,a=2", "a=\xff"])
async def test_what_a_client_says_of_its_trace_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    provider = provider_with(SimpleSpanProcessor(InMemorySpanExporter()))
    monkeypatch.setattr(exporting, "_provider", lambda: provider)
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": state}
    async with tracing_by(Settings(tracing="on"), now, catalog) as tracing:
        asked = SimpleNamespace(method="POST", path="/v1/chat/completions", headers=headers)
        tracing.begin(cast("Any", asked))

    assert caplog.records == []


def test_the_service_is_named_unless_the_environment_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def name() -> object:
        provider = provider_with(SimpleSpanProcessor(InMemorySpanExporter()))
        return provider.resource.attributes["service.name"]

    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    assert name() == "llmlb"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "llmlb-of-the-lab")
    assert name() == "llmlb-of-the-lab"


def imported_at_once(source: Path) -> set[str]:
    """What *source* imports as soon as it is imported itself."""
    found = set[str]()
    for part in ast.parse(source.read_text()).body:
        if isinstance(part, ast.Import):
            found |= {name.name for name in part.names}
        elif isinstance(part, ast.ImportFrom):
            found.add(part.module or "")
    return found


def test_nothing_of_opentelemetry_is_imported_unless_it_is_asked_for() -> None:
    root = Path(__file__).parents[2] / "llmlb"
    spans = root / "http/tracing/spans.py"
    there = {source: imported_at_once(source) for source in root.rglob("*.py")}

    assert {s for s, names in there.items() if "opentelemetry" in " ".join(names)} == {spans}
    assert not [s for s, names in there.items() if "llmlb.http.tracing.spans" in names]
