"""What is said of the audit log: its routes, and the shapes of their answers."""

from __future__ import annotations

from datetime import datetime

from llmlb.audit import ActorType
from llmlb.errors import StoreUnavailable
from llmlb.http.manage.audit import PER_PAGE
from llmlb.http.manage.query import LAST_PAGE, MOST_PER_PAGE
from llmlb.http.openapi.management import number, operator
from llmlb.http.openapi.route import Answer, JsonSchema, Parameter, Route, json_content
from llmlb.http.openapi.shown import Shown
from llmlb.store.text_search import MOST_SEARCHED_CHARS


class AuditEntryShown(Shown):
    """A deed, or failures to log in that were alike."""

    id: int
    """Its number in the chain; entries count up without a gap."""
    timestamp: datetime
    action: str
    """A short verb, as `endpoint.create` or `auth.failed`."""
    http_method: str | None
    request_path: str | None
    """Without its query."""
    status_code: int | None
    """Of the answer."""
    actor_type: ActorType
    actor_id: str | None
    actor_username: str | None
    api_key_id: str | None
    api_key_owner_id: str | None
    client_ip: str | None
    object_type: str | None
    """What it was done to."""
    object_id: str | None
    endpoint_id: str | None
    model_name: str | None
    request_id: str | None
    detail: str | None
    """For people."""
    count: int
    """So many times it happened, the last time at `timestamp`."""
    previous_hash: str
    """The `hash` of the entry before."""
    hash: str
    """SHA-256 over `previous_hash` and all other fields."""


class AuditEntryListShown(Shown):
    """One page of the audit log."""

    items: list[AuditEntryShown]
    total: int
    """On all pages."""
    page: int
    per_page: int


class MethodCountShown(Shown):
    """Entries of one HTTP method; null: what was no request."""

    method: str | None
    count: int


class ActorTypeCountShown(Shown):
    """Entries of one kind of actor."""

    actor_type: ActorType
    count: int


class AuditFiguresShown(Shown):
    """How many entries there are."""

    total_entries: int
    by_method: list[MethodCountShown]
    by_actor_type: list[ActorTypeCountShown]
    last_24h: int


class AuditHeadShown(Shown):
    """The last entry of the chain, to be noted elsewhere."""

    id: int
    hash: str


class VerificationShown(Shown):
    """What a check of the chain has found."""

    valid: bool
    batches_checked: int
    """Of up to 1,000 entries each."""
    entries_checked: int
    tampered_batch: int | None
    """The first batch in which something is wrong, counted from 1."""
    first_bad_id: int | None
    """The first entry that is missing, changed or was put in."""
    message: str
    """For people."""
    head: AuditHeadShown | None
    """Null if there is no record of it."""


_TEXT: JsonSchema = {"type": "string"}
_PART: JsonSchema = {"type": "string", "maxLength": MOST_SEARCHED_CHARS}
_INSTANT: JsonSchema = {"type": "string", "format": "date-time"}


AUDIT: tuple[Route, ...] = (
    operator(
        "GET",
        "/dashboard/audit-logs",
        "list_audit_entries",
        "Who did what, the newest first",
        Answer(200, "One page of it.", (json_content(AuditEntryListShown),)),
        says="All that is asked for has to hold.",
        parameters=(
            Parameter(
                "actor_type",
                "As what they acted.",
                {"type": "string", "enum": [kind.value for kind in ActorType]},
            ),
            Parameter("actor_id", "Who acted.", _TEXT),
            Parameter("http_method", "As `POST`.", _TEXT),
            Parameter("request_path", "The whole path.", _TEXT),
            Parameter("status_code", "As 401.", {"type": "string", "pattern": "^[0-9]{3}$"}),
            Parameter("time_from", "Not before.", _INSTANT, example="2026-03-01T12:00:00Z"),
            Parameter("time_to", "Not after.", _INSTANT),
            Parameter("ip", "A part of the client's address.", _PART),
            Parameter("search", "A part of any text of the entry.", _PART),
            number("page", "From 1 on.", LAST_PAGE, 1),
            number("per_page", "Entries on a page.", MOST_PER_PAGE, PER_PAGE),
        ),
        errors=(StoreUnavailable,),
    ),
    operator(
        "GET",
        "/dashboard/audit-logs/stats",
        "count_audit_entries",
        "How many entries the audit log has",
        Answer(200, "By method and by actor.", (json_content(AuditFiguresShown),)),
        errors=(StoreUnavailable,),
    ),
    operator(
        "POST",
        "/dashboard/audit-logs/verify",
        "verify_audit_log",
        "Check the chain of the audit log now",
        Answer(200, "What was found.", (json_content(VerificationShown),)),
        says="That it is broken is an answer, too. A million entries take about a minute.",
        errors=(StoreUnavailable,),
    ),
)
