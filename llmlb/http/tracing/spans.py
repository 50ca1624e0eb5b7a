"""How an exchange becomes spans: the request, its times in line, its attempts, their streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import trio
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from llmlb.accounting import Outcome
from llmlb.catalog import Catalog
from llmlb.http.downstream import Asked, Headers
from llmlb.http.paths import PATHS
from llmlb.http.semantics import PROVIDER, operation_of
from llmlb.http.tracing.trace import Trace
from llmlb.records import Attempt, Decision, RequestRecord

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_W3C = TraceContextTextMapPropagator()

_OF_TRACES = _W3C.fields

Attributes = dict[str, AttributeValue | None]


@dataclass(frozen=True, slots=True)
class SpanTracing:
    """Begins a trace with *tracer*, or goes on with that of the client."""

    tracer: Tracer
    now: Callable[[], datetime]
    """The wall clock (UTC). It is read once an exchange: should it jump, spans still nest."""
    catalog: Callable[[], Catalog]
    """Tells where endpoints are."""

    def begin(self, asked: Asked) -> Trace:
        """The client's `traceparent` counts if it is one, else a trace begins here."""
        told = {name: asked.headers[name] for name in _OF_TRACES if name in asked.headers}
        began_ns = (self.now() - _EPOCH) // timedelta(microseconds=1) * 1000
        span = self.tracer.start_span(
            f"{asked.method} {asked.path}",
            context=_W3C.extract(told, context=Context()),
            kind=SpanKind.SERVER,
            start_time=began_ns,
        )
        return SpanTrace(self, span, began_ns)


@dataclass(slots=True)
class SpanTrace:
    """Owns the spans of one exchange.

    They begin where an endpoint has to know of them; all else is made at the end, from what is
    recorded, so that traces say what history and metrics say.
    """

    tracing: SpanTracing
    span: Span
    began_ns: int
    """By the wall clock; the rest is counted from there by Trio's."""
    _began_s: float = field(default_factory=trio.current_time)
    _attempts: list[Span] = field(default_factory=list)

    def attempt(self, headers: Headers) -> Headers:
        """Those of *headers* that speak of a trace give way to those of the attempt."""
        started_ns = self._at((trio.current_time() - self._began_s) * 1000)
        span = self._child("attempt", started_ns, SpanKind.CLIENT)
        self._attempts.append(span)
        told: dict[str, str] = {}
        _W3C.inject(told, set_span_in_context(span))
        return (*(pair for pair in headers if pair[0] not in _OF_TRACES), *told.items())

    def close(self, record: RequestRecord) -> None:
        """End all spans, each at the time that is recorded."""
        for decision in record.decisions:
            self._close_line(decision)
        for span, attempt in zip(self._attempts, record.attempts, strict=False):
            self._close_attempt(span, attempt, record)
        _describe(self.span, dict(_of_request(record)))
        if record.outcome is Outcome.FAILED:
            self.span.set_status(StatusCode.ERROR)
        self.span.end(self._at(record.duration_ms))

    def _close_line(self, decision: Decision) -> None:
        if decision.waited_ms <= 0:
            return  # whoever is answered at once was not in line
        span = self._child("line", self._at(decision.at_ms - decision.waited_ms))
        _describe(
            span,
            {"gen_ai.request.model": decision.model, "llmlb.admission.answer": decision.answer},
        )
        span.end(self._at(decision.at_ms))

    def _close_attempt(self, span: Span, attempt: Attempt, record: RequestRecord) -> None:
        ended_ns = self._at(attempt.at_ms + attempt.duration_ms)
        endpoint = self.tracing.catalog().endpoints.get(attempt.endpoint_id)
        _describe(span, dict(_of_attempt(attempt, record)))
        if endpoint is not None:
            address = urlsplit(endpoint.base_url)
            _describe(span, {"server.address": address.hostname, "server.port": address.port})
        if attempt.outcome is Outcome.FAILED:
            span.set_status(StatusCode.ERROR)
        if attempt.time_to_first_token_ms is not None and record.stream:
            first_ns = self._at(attempt.at_ms + attempt.time_to_first_token_ms)
            span.add_event("first token", timestamp=first_ns)
            self._child("stream", first_ns, of=span).end(max(first_ns, ended_ns))
        span.end(ended_ns)

    def _child(
        self,
        name: str,
        start_ns: int,
        kind: SpanKind = SpanKind.INTERNAL,
        *,
        of: Span | None = None,
    ) -> Span:
        parent = set_span_in_context(self.span if of is None else of, Context())
        return self.tracing.tracer.start_span(name, parent, kind, start_time=start_ns)

    def _at(self, offset_ms: float) -> int:
        """The nanosecond since the epoch, *offset_ms* after the request came."""
        return self.began_ns + round(offset_ms * 1_000_000)


def _of_request(record: RequestRecord) -> Iterator[tuple[str, AttributeValue | None]]:
    yield "http.request.method", "POST"
    yield "http.route", PATHS[record.api]
    yield "http.response.status_code", record.status
    yield "url.path", record.path
    yield "gen_ai.operation.name", operation_of(record.api)
    yield "gen_ai.provider.name", PROVIDER
    yield "gen_ai.request.model", record.model or None
    yield "gen_ai.request.stream", record.stream
    yield "gen_ai.response.model", record.served_model
    yield "gen_ai.usage.input_tokens", record.usage.input_tokens
    yield "gen_ai.usage.output_tokens", record.usage.output_tokens
    yield "error.type", record.own_code
    yield "llmlb.request_id", record.request_id
    yield "llmlb.outcome", record.outcome.value
    yield "llmlb.endpoint", record.endpoint_name
    yield "llmlb.attempts", len(record.attempts)
    yield "llmlb.waited_ms", record.waited_ms


def _of_attempt(
    attempt: Attempt, record: RequestRecord
) -> Iterator[tuple[str, AttributeValue | None]]:
    failed = attempt.outcome in (Outcome.FAILED, Outcome.REFUSED)
    yield "gen_ai.operation.name", operation_of(record.api)
    yield "gen_ai.request.model", attempt.model
    yield "http.response.status_code", attempt.status
    # nothing that the endpoint has said: it may have quoted the request
    yield "error.type", str(attempt.status or attempt.outcome.value) if failed else None
    yield "llmlb.endpoint", attempt.endpoint_name
    yield "llmlb.endpoint_id", attempt.endpoint_id
    yield "llmlb.outcome", attempt.outcome.value


def _describe(span: Span, attributes: Attributes) -> None:
    """What is known of it; nothing is said of the rest."""
    span.set_attributes({name: told for name, told in attributes.items() if told is not None})
