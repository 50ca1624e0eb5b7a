"""The shapes of what was counted and measured."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from llmlb.http.openapi.shown import EndpointShown, Shown


class CountsShown(Shown):
    """All are the successful, the failed and the cancelled ones together."""

    total_requests: int
    successful_requests: int
    failed_requests: int
    """The refused ones are among them."""
    refused_requests: int
    """The request itself was at fault, or came too often."""
    cancelled_requests: int
    """The client left."""


class TokensShown(Shown):
    """As endpoints told them."""

    total_input_tokens: int
    total_output_tokens: int
    total_tokens: int
    estimated_tokens: int
    """Of the output: those of broken streams, counted as they came, one an event."""


class DayShown(CountsShown):
    """The attempts on one endpoint on one day of UTC."""

    date: str


class ModelStatsShown(CountsShown, TokensShown):
    """The attempts at one model, by the endpoint's own id of it."""

    model_id: str
    total_duration_ms: float
    """Of the successful ones."""


class ModelTpsShown(Shown):
    """How fast one model was on one route, on the whole."""

    model_id: str
    api_kind: str
    source: Literal["production"]
    tps: float | None
    """Output tokens by the whole duration of the successful attempts, the wait for the first
    token included; null: there are none. For the rate after the first token see
    `/api/dashboard/stats/latency`."""
    request_count: int
    total_output_tokens: int
    average_duration_ms: float | None
    """Of the successful ones."""


class UsageShown(TokensShown):
    """Requests of clients, each counted once, and the tokens of all their attempts."""

    request_count: int
    successful_requests: int
    failed_requests: int
    """The refused ones are among them."""
    refused_requests: int
    cancelled_requests: int
    average_duration_ms: float | None
    """Of the successful ones, from arrival to end, as the client saw it."""


class GroupShown(UsageShown):
    """The usage of one group: one of these names is there."""

    model: str | None = None
    """As clients named it; null: no endpoint has it."""
    endpoint_id: str | None = None
    """The endpoint that was asked last; null: none was."""
    api_key_id: str | None = None
    """Null: there was none."""


class TokenStatsShown(UsageShown):
    """The usage since the first day."""

    groups: list[GroupShown] | None = None
    """If `group_by` was said; those of the most requests first."""


class UsageDayShown(GroupShown):
    """The usage of one day of UTC, or of a group on it."""

    date: str


class UsageMonthShown(GroupShown):
    """The usage of one month of UTC, or of a group in it."""

    month: str


class MinuteShown(Shown):
    """How the requests ended that ended within one minute."""

    minute: datetime
    success: int
    error: int
    """Refused ones, too."""
    cancelled: int


class DashboardStatsShown(CountsShown, TokensShown):
    """Endpoints as they are now, and all requests of clients since the first day."""

    total_runtimes: int
    online_runtimes: int
    pending_runtimes: int
    registering_runtimes: int
    """Always 0."""
    offline_runtimes: int
    """Those in error, too."""
    total_active_requests: int
    queued_requests: int
    """They wait for an endpoint."""
    average_response_time_ms: float | None
    """Of successful requests, as their clients saw it."""
    last_metrics_updated_at: datetime | None
    """When the newest answer was measured."""
    last_registered_at: datetime | None
    last_seen_at: datetime | None
    openai_key_present: bool
    """Cloud endpoints are not built yet."""
    google_key_present: bool
    anthropic_key_present: bool


class EndpointTpsShown(Shown):
    """What one endpoint has made."""

    endpoint_id: str
    model_count: int
    aggregate_tps: float | None
    """As `tps` of its models together."""
    total_output_tokens: int
    total_requests: int
    """Attempts."""


class OverviewShown(Shown):
    """All that a dashboard begins with."""

    endpoints: list[EndpointShown]
    stats: DashboardStatsShown
    history: list[MinuteShown]
    endpoint_tps: list[EndpointTpsShown]
    generated_at: datetime
    generation_time_ms: float


class SampleShown(Shown):
    """One successful attempt."""

    at: datetime
    latency_ms: float
    """Of the whole answer."""
    time_to_first_token_ms: float | None
    """Of a stream."""
    tokens_per_s: float | None
    """After the first token, of a stream of at least two."""


class MetricsShown(Shown):
    """How one endpoint does."""

    endpoint_id: str
    cpu_usage: float | None
    """Nobody asks endpoints for it: null."""
    memory_usage: float | None
    active_requests: int
    total_requests: int
    """Attempts."""
    average_response_time_ms: float | None
    """Of all successful ones; `latency_ms` of the endpoint is the moving average."""
    timestamp: datetime
    """Of this answer."""
    samples: list[SampleShown]
    """The newest 360 since the start, the oldest first."""


class SpreadShown(Shown):
    """Percentiles of so many values."""

    count: int
    p50: float
    p90: float
    p95: float
    p99: float


class ModelSpeedShown(Shown):
    """How fast one model of one endpoint was; null where nothing was measured."""

    endpoint_id: str
    endpoint_name: str | None
    """Null: it is gone."""
    model_id: str
    """The endpoint's own."""
    latency_ms: SpreadShown | None
    """Of successful attempts, whole."""
    time_to_first_token_ms: SpreadShown | None
    """Of those that were streams."""
    tokens_per_s: SpreadShown | None
    """After the first token."""


class LatencyStatsShown(Shown):
    """How fast the models of endpoints were."""

    since: str
    """The first day of UTC."""
    relative_error: float
    """A percentile is at most so much above the value that holds its rank."""
    left_out: bool
    """There was more than is shown: ask for fewer days, one endpoint, or one model."""
    models: list[ModelSpeedShown]
    """Those of the most attempts first."""
