"""Records of requests that are over, as an exchange tells them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from llmlb.accounting import Outcome, Usage
from llmlb.records import Attempt, Candidate, Decision, Exclusion, RequestRecord, View
from llmlb.types import Api, EndpointId

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

VIEW = View(
    (
        Candidate(EndpointId("e1"), "desk", 120.5, 0, 4, None),
        Candidate(EndpointId("e2"), "rack", float("inf"), 1, 1, Exclusion.OFFLINE),
    )
)


def record(number: int = 0, **changes: Any) -> RequestRecord:
    """A chat that went well, *number* seconds after the first; *changes* are its fields."""
    arrived_at = changes.get("arrived_at", AT + timedelta(seconds=number))
    made = RequestRecord(
        id=f"row-{number}",
        request_id=f"req-{number}",
        arrived_at=arrived_at,
        finished_at=arrived_at + timedelta(milliseconds=250),
        api=Api.CHAT_COMPLETIONS,
        path="/v1/chat/completions",
        stream=True,
        model="llama3:8b",
        known_model=True,
        served_model="llama3:8b-q4",
        endpoint_id=EndpointId("e1"),
        endpoint_name="desk",
        only=False,
        key_id="k1",
        user_id="u1",
        client_address="10.0.0.7",
        outcome=Outcome.SUCCEEDED,
        status=200,
        error_code=None,
        error_message=None,
        waited_ms=5.0,
        duration_ms=250.0,
        time_to_first_token_ms=50.0,
        usage=Usage(10, 20, None),
        request_bytes=100,
        response_bytes=2000,
        decisions=(Decision("llama3:8b", 0.5, 5.0, "granted", EndpointId("e1"), VIEW),),
        attempts=(
            Attempt(
                EndpointId("e1"),
                "desk",
                "llama3:8b-q4",
                5.5,
                240.0,
                50.0,
                Outcome.SUCCEEDED,
                usage=Usage(10, 20, None),
            ),
        ),
    )
    return replace(made, **changes)


def refused(number: int = 0, **changes: Any) -> RequestRecord:
    """One that was turned away before any endpoint was asked."""
    return record(
        number,
        **{
            "outcome": Outcome.REFUSED,
            "status": 404,
            "error_code": "model_not_found",
            "error_message": "There is no model 'x'.",
            "model": "x",
            "known_model": False,
            "served_model": None,
            "endpoint_id": None,
            "endpoint_name": None,
            "time_to_first_token_ms": None,
            "usage": Usage(),
            "attempts": (),
            **changes,
        },
    )
