"""What is said of the routes under /requests."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from llmlb.accounting import Outcome
from llmlb.errors import NotFound, StoreUnavailable
from llmlb.http.openapi.management import operator
from llmlb.http.openapi.route import Answer, Parameter, Route, json_content
from llmlb.http.openapi.shown import Shown
from llmlb.records import Exclusion


class CandidateShown(Shown):
    """One endpoint of the model, as it was when admission answered."""

    endpoint_id: str
    name: str
    latency_ms: float | None
    """The average that decided; null: not measured."""
    in_flight: int
    capacity: int
    excluded: Exclusion | None
    """Why the request could not be given to it; null: it could."""


class ViewShown(Shown):
    """What there was to choose from: those who could, the best first, then the others."""

    candidates: list[CandidateShown]
    omitted: int = 0
    """So many more are left out."""


class DecisionShown(ViewShown):
    """One answer of admission; there is one more for each attempt that failed."""

    model: str
    """That was asked for, or a fallback."""
    at_ms: float
    """Since the request came."""
    waited_ms: float
    """In line, for this one."""
    answer: Literal[
        "granted",
        "timeout",
        "line_full",
        "model_unknown",
        "none_capable",
        "rate_limited",
        "closed",
        "client_left",
    ]
    endpoint_id: str | None
    """Whom it was given to."""
    why: str
    """In a sentence, for people."""
    on_arrival: ViewShown | None = None
    """What there was when it had to go into the line."""


class AttemptUsageShown(Shown):
    """Its tokens; null where nobody told."""

    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    estimated: bool
    """The output is what came, as one token an event."""


class AttemptShown(Shown):
    """One endpoint's part in it."""

    endpoint_id: str
    endpoint_name: str
    model: str
    """The endpoint's own id of it."""
    at_ms: float
    duration_ms: float
    time_to_first_token_ms: float | None
    outcome: Outcome
    status: int | None
    """That the endpoint answered with, where that was no success."""
    reason: str | None
    usage: AttemptUsageShown


class ExplanationShown(Shown):
    """One request, and why it went where it went."""

    request_id: str
    arrived_at: datetime
    path: str
    model: str
    stream: bool
    endpoint_id: str | None
    endpoint_name: str | None
    """The one that was asked last."""
    served_model: str | None
    only_this_endpoint: bool
    """No other one could have answered: it was chosen, or keeps the conversation."""
    outcome: Outcome
    status: int
    """499: the client left before there was an answer."""
    error_code: str | None
    error_message: str | None
    waited_ms: float
    """In line, all together."""
    time_to_first_token_ms: float | None
    """From when the endpoint was asked that answered."""
    duration_ms: float
    decisions: list[DecisionShown]
    attempts: list[AttemptShown]


REQUESTS: tuple[Route, ...] = (
    operator(
        "GET",
        "/requests/{request_id}/decision",
        "explain_request",
        "Why a request went to that endpoint, and what took its time",
        Answer(200, "What admission saw and decided.", (json_content(ExplanationShown),)),
        says="The newest 1,000 requests are in memory, older ones in the history, as long as that "
        "keeps them. `llmlb explain` shows it in a terminal. To viewers `error_message` and the "
        "`reason` of attempts are null: endpoints may quote what somebody asked.",
        parameters=(
            Parameter(
                "request_id",
                "The `x-request-id` of its answer.",
                {"type": "string"},
                "path",
            ),
        ),
        errors=(NotFound, StoreUnavailable),
    ),
)
