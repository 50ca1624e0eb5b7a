"""What a record of request_history.json means here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmlb.accounting import Outcome
from llmlb.addresses import group_of
from llmlb.store.columns import (
    Value,
    instant_of,
    instant_text,
    number_of,
    text_of,
    uuid_of,
    whole_of,
)
from llmlb.store.database import Transaction
from llmlb.store.history_rows import add_row
from llmlb.store.older import UnreadableRecord, as_object, id_by_content

_OLDER_WORDS = ("endpoint", "node", "agent", "runtime")
"""What the field names of an endpoint began with, the newest first."""


def history_row(value: object) -> dict[str, Value]:
    """The row of one record, by column. Raises UnreadableRecord."""
    record = as_object(value)
    timestamp = instant_of(record.get("timestamp"))
    model = text_of(record.get("model"))
    if timestamp is None or model is None:
        raise UnreadableRecord("it has no timestamp or no model")
    status, error_message = _status(record.get("status"))
    return {
        "id": uuid_of(record.get("id")) or id_by_content(record),
        "timestamp": instant_text(timestamp),
        "request_type": (text_of(record.get("request_type")) or "chat").lower(),
        "model": model,
        "endpoint_id": uuid_of(_first(record, "id")),
        "endpoint_name": text_of(_first(record, "name", "machine_name")),
        "endpoint_ip": text_of(_first(record, "ip")),
        "client_ip": text_of(record.get("client_ip")),
        "request_body": _json(record.get("request_body")),
        "response_body": _json(record.get("response_body")),
        "duration_ms": number_of(record.get("duration_ms")) or 0.0,
        "status": status,
        "error_message": error_message,
        "completed_at": instant_text(instant_of(record.get("completed_at")) or timestamp),
        "input_tokens": whole_of(record.get("input_tokens")),
        "output_tokens": whole_of(record.get("output_tokens")),
        "total_tokens": whole_of(record.get("total_tokens")),
        "api_key_id": text_of(record.get("api_key_id")),
    }


def add_history(statements: Transaction, row: Mapping[str, Value]) -> bool:
    """Insert *row*; False if there is one with its id. Raises sqlite3.Error."""
    address = row["client_ip"]
    outcome = Outcome.SUCCEEDED if row["status"] == "success" else Outcome.FAILED
    return add_row(
        statements,
        {
            **row,
            "outcome": outcome.value,
            "client_group": group_of(address if isinstance(address, str) else None),
        },
    )


def _first(record: Mapping[str, Any], *endings: str) -> object:
    for word in _OLDER_WORDS:
        for ending in endings:
            value = record.get(f"{word}_{ending}")
            if value is not None:
                return value
    return None


def _status(value: object) -> tuple[str, str | None]:
    """`{"type": "success"}`, `{"type": "error", "message"}`, or the bare word."""
    message = None
    if isinstance(value, dict):
        message, value = text_of(value.get("message")), value.get("type")
    status = (text_of(value) or "").lower()
    if status not in {"success", "error"}:
        raise UnreadableRecord("its status is neither success nor error")
    return status, message


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)
