"""What has become of clients' requests, counted and measured from their records."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from llmlb.accounting import Outcome
from llmlb.catalog import Catalog
from llmlb.errors import own_codes
from llmlb.http.metrics.accumulators import Histograms, Sums
from llmlb.http.metrics.models import ModelLabels
from llmlb.http.semantics import PROVIDER, operation_of
from llmlb.records import ENDPOINT_REFUSAL, RequestRecord

OTHER_CODE = "other"
"""For a code that is none of ours."""

_DURATION_S = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
)
_FIRST_TOKEN_S = (
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
)  # fmt: skip
_TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = tuple(4**power for power in range(14))
"""The boundaries that OpenTelemetry's conventions advise."""

_WAITING_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


class RequestMetrics(Collector):
    """Owns what is counted of requests since the start.

    Every label has few values, whatever clients and endpoints say: routes, outcomes and codes are
    ours, and models are bounded.
    """

    def __init__(self, registry: CollectorRegistry, models: ModelLabels) -> None:
        self._models, self._codes = models, own_codes() | {"", ENDPOINT_REFUSAL}

        self._duration = Histograms(
            "gen_ai_server_request_duration_seconds",
            "From a request's arrival to its end, as its client saw it.",
            _DURATION_S,
            *_GEN_AI,
            "error_type",
        )
        self._first_token = Histograms(
            "gen_ai_server_time_to_first_token_seconds",
            "Of streams that succeeded: from asking the endpoint to its first token.",
            _FIRST_TOKEN_S,
            *_GEN_AI,
        )
        self._per_token = Histograms(
            "gen_ai_server_time_per_output_token_seconds",
            "Of streams that succeeded: time per output token after the first.",
            _TOKEN_S,
            *_GEN_AI,
        )
        self._tokens = Histograms(
            "gen_ai_client_token_usage",
            "Tokens of a request, those of all its attempts together.",
            _TOKENS,
            *_GEN_AI,
            "gen_ai_token_type",
        )
        self._requests = Sums(
            "llmlb_requests_total",
            "Requests of the inference routes that have ended; code: of the error, if any.",
            "api",
            "outcome",
            "code",
        )
        self._attempts = Sums(
            "llmlb_attempts_total", "Endpoints tried, by how that ended.", "outcome"
        )
        self._decisions = Sums(
            "llmlb_admission_decisions_total", "Answers of admission to requests.", "answer"
        )
        self._waiting = Histograms(
            "llmlb_line_waiting_seconds",
            "Time in line of a request that admission has answered, all together.",
            _WAITING_S,
        )
        self._request_bytes = Sums(
            "llmlb_request_bytes_total", "Of the bodies of requests, as they came in."
        )
        self._response_bytes = Sums(
            "llmlb_response_bytes_total", "Of the bodies of answers, as they went out."
        )
        self._all: tuple[Sums | Histograms, ...] = (
            self._duration,
            self._first_token,
            self._per_token,
            self._tokens,
            self._requests,
            self._attempts,
            self._decisions,
            self._waiting,
            self._request_bytes,
            self._response_bytes,
        )
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """All of it, as it is when each family is asked for."""
        return (one.family() for one in self._all)

    def answered(self, record: RequestRecord, catalog: Catalog) -> None:
        """Count one request. Never blocks."""
        self._requests.add(1, record.api.value, record.outcome.value, self._code(record))
        for attempt in record.attempts:
            self._attempts.add(1, attempt.outcome.value)
        for decision in record.decisions:
            self._decisions.add(1, decision.answer)
        if record.decisions:
            self._waiting.add(record.waited_ms / 1000)
        self._request_bytes.add(record.request_bytes)
        self._response_bytes.add(record.response_bytes)
        self._measure(record, catalog)

    def _measure(self, record: RequestRecord, catalog: Catalog) -> None:
        operation = operation_of(record.api)
        model = self._models.label_for(operation, record.model, record.served_model, catalog)
        succeeded = record.outcome is Outcome.SUCCEEDED
        error_type = "" if succeeded else record.outcome.value
        self._duration.add(record.duration_ms / 1000, operation, PROVIDER, model, error_type)
        if succeeded and record.stream and record.time_to_first_token_ms is not None:
            first_s = record.time_to_first_token_ms / 1000
            self._first_token.add(first_s, operation, PROVIDER, model)
        if (per_s := record.tokens_per_s) is not None:
            self._per_token.add(1 / per_s, operation, PROVIDER, model)
        usage = record.usage
        if usage.input_tokens is not None:
            self._tokens.add(usage.input_tokens, operation, PROVIDER, model, "input")
        if usage.output_tokens is not None:
            self._tokens.add(usage.output_tokens, operation, PROVIDER, model, "output")

    def _code(self, record: RequestRecord) -> str:
        code = record.own_code or ""
        return code if code in self._codes else OTHER_CODE
