"""How what was counted and measured looks in JSON: one name for each number, wherever it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from llmlb.accounting import Totals
from llmlb.actors.latency import Sample
from llmlb.http.manage.endpoint_json import JsonObject, instant
from llmlb.minutes import MinuteCount
from llmlb.store.speeds import SpeedSpread, Spread


def counts_json(totals: Totals) -> JsonObject:
    """How they ended; all are the successful, the failed and the cancelled ones together."""
    return {
        "total_requests": totals.total_requests,
        "successful_requests": totals.successful_requests,
        "failed_requests": totals.failed_requests,
        "refused_requests": totals.refused_requests,
        "cancelled_requests": totals.cancelled_requests,
    }


def tokens_json(totals: Totals) -> JsonObject:
    """The tokens that went in and came out."""
    return {
        "total_input_tokens": totals.input_tokens,
        "total_output_tokens": totals.output_tokens,
        "total_tokens": totals.total_tokens,
        "estimated_tokens": totals.estimated_tokens,
    }


def usage_json(totals: Totals) -> JsonObject:
    """Clients' requests, and their tokens."""
    return {
        **tokens_json(totals),
        "request_count": totals.total_requests,
        "successful_requests": totals.successful_requests,
        "failed_requests": totals.failed_requests,
        "refused_requests": totals.refused_requests,
        "cancelled_requests": totals.cancelled_requests,
        "average_duration_ms": rounded(totals.mean_duration_ms),
    }


def model_stats_json(model_id: str, totals: Totals) -> JsonObject:
    """The attempts at one model."""
    return {
        "model_id": model_id,
        **counts_json(totals),
        **tokens_json(totals),
        "total_duration_ms": rounded(totals.total_duration_ms),
    }


def model_tps_json(model_id: str, api: str, totals: Totals) -> JsonObject:
    """How fast the attempts at one model on one route were, on the whole."""
    return {
        "model_id": model_id,
        "api_kind": api,
        "source": "production",
        "tps": rounded(totals.mean_tokens_per_s),
        "request_count": totals.total_requests,
        "total_output_tokens": totals.output_tokens,
        "average_duration_ms": rounded(totals.mean_duration_ms),
    }


def sample_json(sample: Sample) -> JsonObject:
    """One answer, as a point of a chart."""
    speed = sample.speed
    return {
        "at": instant(sample.at),
        "latency_ms": rounded(speed.latency_ms),
        "time_to_first_token_ms": rounded(speed.time_to_first_token_ms),
        "tokens_per_s": rounded(speed.tokens_per_s),
    }


def history_json(minutes: Mapping[datetime, MinuteCount]) -> list[JsonObject]:
    """How requests ended, minute by minute."""
    return [{"minute": instant(minute), **counted._asdict()} for minute, counted in minutes.items()]


def speed_json(spread: SpeedSpread, endpoint_name: str | None) -> JsonObject:
    """How fast one model of one endpoint was."""
    return {
        "endpoint_id": spread.endpoint_id,
        "endpoint_name": endpoint_name,
        "model_id": spread.model,
        "latency_ms": _spread_json(spread.latency_ms),
        "time_to_first_token_ms": _spread_json(spread.time_to_first_token_ms),
        "tokens_per_s": _spread_json(spread.tokens_per_s),
    }


def _spread_json(spread: Spread) -> JsonObject | None:
    if not spread.count:
        return None
    named = {f"p{percentile}": rounded(value) for percentile, value in spread.percentiles.items()}
    return {"count": spread.count, **named}


def rounded(number: float | None) -> float | None:
    """To the microsecond, where it is ms."""
    return None if number is None else round(number, 3)
