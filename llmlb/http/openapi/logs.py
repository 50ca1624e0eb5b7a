"""What is said of the log: its routes, and the shapes of their answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from llmlb.errors import (
    EndpointOffline,
    InvalidJson,
    MissingField,
    Overloaded,
    UnsupportedCapability,
    UpstreamError,
    UpstreamUnreachable,
)
from llmlb.http.logs.tail import KEPT_BYTES, KEPT_ENTRIES
from llmlb.http.manage import endpoint_logs
from llmlb.http.manage.logs import (
    LEVELS,
    MOST_SEARCHED_CHARS,
    MOST_SHOWN,
    SHOWN,
    LogLevelForm,
)
from llmlb.http.openapi.management import operator
from llmlb.http.openapi.route import Answer, Parameter, Route, event_stream, json_content
from llmlb.http.openapi.shown import Shown
from llmlb.settings import LogLevel


class LogEntryShown(Shown):
    """One entry of the balancer's own log."""

    timestamp: datetime
    level: str
    target: str
    """The module that says so."""
    message: str
    fields: dict[str, Any]
    """All else, `request_id` among it, where the entry belongs to a request."""
    line: int
    """In that module."""


class LogShown(Shown):
    """The newest entries, the oldest of them first."""

    source: str
    entries: list[LogEntryShown]
    path: str | None
    """Of the log file, if `LLMLB_LOG_FILE` names one."""


class EndpointLogShown(Shown):
    """What an endpoint has told of its log; its entries have the fields that it gives them."""

    source: str
    """The endpoint's name."""
    entries: list[dict[str, Any]]
    path: str | None = None
    """Of its log file, if it says so."""


class LogLevelShown(Shown):
    """How much is logged."""

    level: LogLevel


_LEVEL = json_content(LogLevelShown)

LOGS: tuple[Route, ...] = (
    operator(
        "GET",
        "/dashboard/logs/lb",
        "show_log",
        "What the balancer has logged, the newest last",
        Answer(
            200,
            "The newest entries that are wanted; or those and all that follow, as events.",
            (json_content(LogShown), event_stream("Entries, one JSON object each.")),
        ),
        says=f"The newest {KEPT_ENTRIES} entries are kept, {KEPT_BYTES >> 20} MiB at most, since "
        "the start. With `follow`, or if `text/event-stream` is accepted, each is an event with "
        "`type: entry`, `seq` and the fields of an entry; a client that is too slow gets `dropped` "
        "with the `count` of entries that it has missed.",
        parameters=(
            Parameter(
                "limit",
                "So many of them.",
                {"type": "integer", "minimum": 1, "maximum": MOST_SHOWN, "default": SHOWN},
            ),
            Parameter("level", "At least this one.", {"type": "string", "enum": list(LEVELS)}),
            Parameter("request_id", "Those of one request.", {"type": "string"}),
            Parameter(
                "text",
                "A part of the message or of any field, in any case.",
                {"type": "string", "maxLength": MOST_SEARCHED_CHARS},
            ),
            Parameter(
                "follow",
                "Go on with what is logged from here on.",
                {"type": "string", "enum": ["true", "false", "1", "0"], "default": "false"},
            ),
        ),
        errors=(Overloaded,),
    ),
    operator(
        "GET",
        "/endpoints/{endpoint_id}/logs",
        "show_endpoint_log",
        "What an endpoint has logged, as it tells itself",
        Answer(200, "Its newest entries.", (json_content(EndpointLogShown),)),
        says=f"It is asked at `{endpoint_logs.PATH}`, as xLLM understands it; most other engines "
        "are known not to.",
        parameters=(
            Parameter(
                "limit",
                f"So many of them, from 1 to {endpoint_logs.MOST_SHOWN}; more is understood as "
                "the most.",
                {"type": "integer", "default": endpoint_logs.SHOWN},
            ),
        ),
        errors=(EndpointOffline, UnsupportedCapability, UpstreamError, UpstreamUnreachable),
    ),
    operator(
        "GET",
        "/system/logging",
        "show_log_level",
        "How much is logged",
        Answer(200, "The least that is logged.", (_LEVEL,)),
    ),
    operator(
        "PUT",
        "/system/logging",
        "set_log_level",
        "Log more, or less, until the next start",
        Answer(200, "The least that is logged now.", (_LEVEL,)),
        says="`LLMLB_LOG_LEVEL` says how the next start begins.",
        body=json_content(LogLevelForm, {"level": "debug"}),
        errors=(InvalidJson, MissingField),
    ),
)
