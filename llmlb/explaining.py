"""How the way of a request looks in JSON: what admission saw, decided, and what came of it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import asdict

from llmlb.accounting import Usage
from llmlb.reasons import why
from llmlb.records import Attempt, Candidate, Decision, RequestRecord, View

JsonObject = dict[str, Any]


def explanation(record: RequestRecord) -> JsonObject:
    """All that is known of why *record* went where it went, and how long everything took."""
    return {
        "request_id": record.request_id,
        "arrived_at": _instant(record.arrived_at),
        "path": record.path,
        "model": record.model,
        "stream": record.stream,
        "endpoint_id": record.endpoint_id,
        "endpoint_name": record.endpoint_name,
        "served_model": record.served_model,
        "only_this_endpoint": record.only,
        "outcome": record.outcome.value,
        "status": record.status,
        "error_code": record.error_code,
        "error_message": record.error_message,
        "waited_ms": _ms(record.waited_ms),
        "time_to_first_token_ms": _ms(record.time_to_first_token_ms),
        "duration_ms": _ms(record.duration_ms),
        **way(record),
    }


def way(record: RequestRecord) -> JsonObject:
    """The part of it that history keeps beside what has columns of its own."""
    return {
        "decisions": [_decision(decision, only=record.only) for decision in record.decisions],
        "attempts": [_attempt(attempt) for attempt in record.attempts],
    }


def _decision(decision: Decision, *, only: bool) -> JsonObject:
    shown = {
        "model": decision.model,
        "at_ms": _ms(decision.at_ms),
        "waited_ms": _ms(decision.waited_ms),
        "answer": decision.answer,
        "endpoint_id": decision.endpoint_id,
        "why": why(decision, only=only),
        **_view(decision.view),
    }
    if decision.on_arrival is not None:
        shown["on_arrival"] = _view(decision.on_arrival)
    return shown


def _view(view: View) -> JsonObject:
    shown: JsonObject = {"candidates": [_candidate(c) for c in view.candidates]}
    if view.omitted:
        shown["omitted"] = view.omitted
    return shown


def _candidate(candidate: Candidate) -> JsonObject:
    excluded = None if candidate.excluded is None else candidate.excluded.value
    return {**_as_it_is(candidate), "latency_ms": _ms(candidate.latency_ms), "excluded": excluded}


def _attempt(attempt: Attempt) -> JsonObject:
    return {
        **_as_it_is(attempt),
        "at_ms": _ms(attempt.at_ms),
        "duration_ms": _ms(attempt.duration_ms),
        "time_to_first_token_ms": _ms(attempt.time_to_first_token_ms),
        "outcome": attempt.outcome.value,
        "usage": _as_it_is(attempt.usage),
    }


def _as_it_is(one: Candidate | Attempt | Usage) -> JsonObject:
    """Its fields, which are plain values."""
    return asdict(one)


def _ms(duration_ms: float | None) -> float | None:
    """To the microsecond: what is finer is noise. JSON has no word for infinity."""
    if duration_ms is None or not math.isfinite(duration_ms):
        return None
    return round(duration_ms, 3)


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
