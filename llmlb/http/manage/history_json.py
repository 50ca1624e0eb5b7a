"""How a request of the history is shown: as JSON, and as a line of CSV that no sheet calculates."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

from llmlb.accounting import Outcome
from llmlb.http.manage.endpoint_json import JsonObject
from llmlb.store.columns import json_of

_LEFT = "The client left before the end."
_UNKNOWN = "It is not known why."

_FLAGS = ("stream", "known_model", "only_endpoint", "tokens_estimated")
_AS_STORED = (
    "request_id",
    "path",
    "served_model",
    "user_id",
    "outcome",
    "http_status",
    "error_code",
    "attempts",
    "waited_ms",
    "time_to_first_token_ms",
    "tokens_per_s",
    "request_bytes",
    "response_bytes",
)
"""What the older product did not have."""

_EXPLAINED = (
    "request_id",
    "path",
    "model",
    "endpoint_id",
    "endpoint_name",
    "served_model",
    "outcome",
    "error_code",
    "error_message",
    "waited_ms",
    "time_to_first_token_ms",
    "duration_ms",
)


def record_json(row: Mapping[str, Any]) -> JsonObject:
    """One request, in the older product's words where it has them; without what is long."""
    return {
        "id": row["id"],
        "timestamp": row["timestamp"],
        "request_type": row["request_type"],
        "model": row["model"],
        "endpoint_id": row["endpoint_id"],
        "endpoint_name": row["endpoint_name"],
        "endpoint_ip": row["endpoint_ip"],
        "client_ip": row["client_ip"],
        "duration_ms": row["duration_ms"],
        "status": _status(row),
        "completed_at": row["completed_at"],
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
        "total_tokens": row["total_tokens"],
        "api_key_id": row["api_key_id"],
        **{name: row[name] for name in _AS_STORED},
        **{name: None if row[name] is None else bool(row[name]) for name in _FLAGS},
    }


def whole_record_json(row: Mapping[str, Any]) -> JsonObject:
    """The same with what is long: the bodies, as texts, and why it went where it went."""
    decisions, attempts = _way(row)
    return {
        **record_json(row),
        "request_body": row["request_body"],
        "response_body": row["response_body"],
        "decisions": decisions,
        "tries": attempts,
    }


def explanation_json(row: Mapping[str, Any]) -> JsonObject:
    """Why it went where it went, as `explaining.explanation` tells it of a newer one."""
    decisions, attempts = _way(row)
    return {
        **{name: row[name] for name in _EXPLAINED},
        "arrived_at": row["timestamp"],
        "status": row["http_status"],
        "stream": bool(row["stream"]),
        "only_this_endpoint": bool(row["only_endpoint"]),
        "decisions": decisions,
        "attempts": attempts,
    }


def _way(row: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Its decisions and attempts, as far as they are known."""
    found = json_of(row["decision"])
    said = found if isinstance(found, dict) else {}
    return said.get("decisions", []), said.get("attempts", [])


def _status(row: Mapping[str, Any]) -> JsonObject:
    if row["outcome"] == Outcome.SUCCEEDED:
        return {"type": "success", "message": None}
    left = _LEFT if row["outcome"] == Outcome.CANCELLED else _UNKNOWN
    return {"type": "error", "message": row["error_message"] or left}


# -- CSV

_OLDER_COLUMNS = {
    "runtime_id": "endpoint_id",
    "runtime_machine_name": "endpoint_name",
    "runtime_ip": "endpoint_ip",
}
"""What the older product calls them in a table, and what they are called here."""

CSV_COLUMNS = (
    "id",
    "timestamp",
    "request_type",
    "model",
    *_OLDER_COLUMNS,
    "client_ip",
    "duration_ms",
    "status",
    "completed_at",
    # what the older product does not have
    "api_key_id",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    *_AS_STORED,
    *_FLAGS,
)

_CALCULATED = re.compile(
    r"\A(?:[\t\r\n]|[\s\ufeff\u200b-\u200f]*[=+\-@\u2212\uff1d\uff0b\uff0d\uff20])"
)
"""What spreadsheets take for the beginning of a formula: some pass over blanks and what cannot be
seen, and some take wide signs for narrow ones."""


def _csv(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


CSV_HEADER = _csv(CSV_COLUMNS)


def csv_line(row: Mapping[str, Any]) -> str:
    """One request as a line."""
    return _csv(_cell(row, column) for column in CSV_COLUMNS)


def _cell(row: Mapping[str, Any], column: str) -> object:
    if column == "status":
        status = _status(row)
        return "success" if status["message"] is None else f"error: {status['message']}"
    value = row[_OLDER_COLUMNS.get(column, column)]
    return f"'{value}" if isinstance(value, str) and _CALCULATED.match(value) else value
