"""What is said of the request history: its routes, and the shapes of their answers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from llmlb.accounting import Outcome
from llmlb.errors import NotFound, StoreUnavailable
from llmlb.http.manage.history_export import FORMATS
from llmlb.http.manage.history_query import MOST_SKIPPED, SIZES
from llmlb.http.openapi.management import operator
from llmlb.http.openapi.requests import AttemptShown, DecisionShown
from llmlb.http.openapi.route import (
    Answer,
    Content,
    JsonSchema,
    Parameter,
    Route,
    json_content,
)
from llmlb.http.openapi.shown import Shown
from llmlb.store.history_rows import REQUEST_TYPES
from llmlb.store.history_search import MOST_COUNTED
from llmlb.store.text_search import MOST_SEARCHED_CHARS


class RequestStatusShown(Shown):
    """How a request ended, in the older product's words."""

    type: Literal["success", "error"]
    message: str | None
    """Of an error: for people."""


class RequestShown(Shown):
    """One request of a client. What an imported one does not say is null."""

    id: str
    timestamp: datetime
    """When it came."""
    completed_at: datetime
    request_id: str | None
    """That the client was told, or chose itself."""
    request_type: str
    path: str | None
    stream: bool | None
    model: str
    """As the client named it."""
    known_model: bool | None
    """Some endpoint had it, or another model stands in for it."""
    served_model: str | None
    """The endpoint's own id of it."""
    endpoint_id: str | None
    """Of the endpoint that was asked last."""
    endpoint_name: str | None
    endpoint_ip: str | None
    """Of imported requests alone."""
    only_endpoint: bool | None
    """No other endpoint could have served it."""
    api_key_id: str | None
    user_id: str | None
    client_ip: str | None
    status: RequestStatusShown
    outcome: Outcome
    http_status: int | None
    """499: the client had left before there was one."""
    error_code: str | None
    attempts: int | None
    """Endpoints that were asked."""
    waited_ms: float | None
    """In line."""
    duration_ms: float
    time_to_first_token_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    tokens_estimated: bool | None
    """Nobody told the output: it is what came, as one token an event."""
    tokens_per_s: float | None
    request_bytes: int | None
    response_bytes: int | None


class RequestListShown(Shown):
    """One page of the history, the newest first."""

    records: list[RequestShown]
    total_count: int
    """On all pages."""
    total_is_exact: bool
    """False: there are at least so many."""
    page: int
    per_page: int
    next_cursor: str | None
    """Leads to the next page, whatever comes in meanwhile; null: this is the last.

    A page may hold less than `per_page`, or nothing, and have one: so much was looked through."""


class WholeRequestShown(RequestShown):
    """One request with what is long."""

    request_body: str | None
    """Text, without media and credentials and cut short; null unless `LLMLB_HISTORY_BODIES` is \
on."""
    response_body: str | None
    decisions: list[DecisionShown]
    tries: list[AttemptShown]
    """The endpoints that were asked, and what became of it."""


_TEXT: JsonSchema = {"type": "string"}
_PART: JsonSchema = {"type": "string", "maxLength": MOST_SEARCHED_CHARS}
_INSTANT: JsonSchema = {"type": "string", "format": "date-time"}


def _one_of(*words: str) -> JsonSchema:
    return {"type": "string", "enum": list(words)}


def _number(least: int, most: int) -> JsonSchema:
    return {"type": "integer", "minimum": least, "maximum": most}


_WANTED = (
    Parameter("model", "A part of the model's name.", _PART),
    Parameter("endpoint_id", "The endpoint's `id`; `agent_id` and `node_id` mean the same.", _TEXT),
    Parameter("status", "`error` is whatever is no success.", _one_of("success", "error")),
    Parameter("outcome", "How it ended.", _one_of(*Outcome)),
    Parameter("error_code", "As `queue_timeout`.", _TEXT),
    Parameter("api_key_id", "The key's `id`.", _TEXT),
    Parameter("client_ip", "The client's address, or a /64 of IPv6.", _TEXT),
    Parameter("request_id", "The whole of it.", _TEXT),
    Parameter("request_type", "Which API.", _one_of(*REQUEST_TYPES.values())),
    Parameter("start_time", "Not before.", _INSTANT, example="2026-03-01T12:00:00Z"),
    Parameter("end_time", "Not after.", _INSTANT),
    Parameter(
        "q", "A part of model, endpoint, error or a body; or how a request id begins.", _PART
    ),
)

_RECORD_ID = Parameter("record_id", "The `id` of the request in the history.", _TEXT, "path", "x")

HISTORY: tuple[Route, ...] = (
    operator(
        "GET",
        "/dashboard/request-responses",
        "list_requests",
        "What was asked, the newest first",
        Answer(200, "One page of it.", (json_content(RequestListShown),)),
        says="All that is asked for has to hold. More than "
        f"{MOST_COUNTED} are not counted. A page that is no `cursor`'s is one of the first "
        f"{MOST_SKIPPED} requests.",
        parameters=(
            *_WANTED,
            Parameter("cursor", "The `next_cursor` of the page before.", _TEXT),
            Parameter("page", "From 1 on.", _number(1, MOST_SKIPPED)),
            Parameter(
                "per_page",
                f"One of {', '.join(map(str, SIZES))}; anything else is {SIZES[0]}.",
                _TEXT,
            ),
            Parameter("limit", "The same, as any number.", _number(1, SIZES[-1])),
            Parameter("offset", "In place of `page`.", _number(0, MOST_SKIPPED)),
        ),
        errors=(StoreUnavailable,),
    ),
    operator(
        "GET",
        "/dashboard/request-responses/export",
        "export_requests",
        "The history as a file",
        Answer(
            200,
            "All that is asked for, the newest first.",
            (
                Content("text/csv", {"type": "string"}),
                json_content({"type": "array", "items": {"type": "object"}}),
                Content("application/x-ndjson", {"type": "string"}),
            ),
        ),
        says="Where some of it cannot be read, the answer is broken off. CSV comes without bodies; "
        "a cell that a spreadsheet would calculate has an apostrophe before it.",
        parameters=(*_WANTED, Parameter("format", "Of the file; CSV.", _one_of(*FORMATS))),
        errors=(StoreUnavailable,),
    ),
    operator(
        "GET",
        "/dashboard/request-responses/{record_id}",
        "show_request",
        "One request, with its bodies if they are kept, and why it went where it went",
        Answer(200, "The request.", (json_content(WholeRequestShown),)),
        parameters=(_RECORD_ID,),
        errors=(NotFound, StoreUnavailable),
    ),
)
