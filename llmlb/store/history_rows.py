"""How a request that is over stands in the database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from pypika import CustomFunction, PostgreSQLQuery, Query, Table

from llmlb.accounting import NOTHING_TOLD
from llmlb.addresses import group_of
from llmlb.explaining import way
from llmlb.records import RequestRecord
from llmlb.store.columns import Value, instant_text
from llmlb.store.database import Transaction
from llmlb.store.sql import VALUE, sql
from llmlb.types import Api

HISTORY = Table("request_history")
DETAILS = Table("request_details")

REQUEST_TYPES: Mapping[Api, str] = MappingProxyType(
    {
        Api.CHAT_COMPLETIONS: "chat",
        Api.COMPLETIONS: "generate",
        Api.EMBEDDINGS: "embeddings",
        Api.RESPONSES: "responses",
        Api.RERANK: "rerank",
        Api.MESSAGES: "anthropic_messages",
        Api.IMAGE_GENERATIONS: "imagegeneration",
        Api.IMAGE_EDIT: "imageedit",
        Api.IMAGE_VARIATION: "imagevariation",
        Api.SPEECH: "speech",
        Api.TRANSCRIPTION: "transcription",
        Api.TRANSLATION: "translation",
        Api.COUNT_TOKENS: "count_tokens",
    }
)
"""What the history calls each API: the older product's words, where it has one."""

COLUMNS = (
    "id",
    "timestamp",
    "completed_at",
    "request_id",
    "request_type",
    "path",
    "stream",
    "model",
    "known_model",
    "served_model",
    "endpoint_id",
    "endpoint_name",
    "endpoint_ip",
    "only_endpoint",
    "api_key_id",
    "user_id",
    "client_ip",
    "client_group",
    "outcome",
    "http_status",
    "error_code",
    "error_message",
    "attempts",
    "waited_ms",
    "duration_ms",
    "time_to_first_token_ms",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "tokens_estimated",
    "tokens_per_s",
    "request_bytes",
    "response_bytes",
    "has_bodies",
    "kept_bytes",
)
"""Of a request, without its number."""

_COMPACT = msgspec.json.Encoder()

ROW_BYTES = 1100
"""What a row takes on disk with its places in the indexes, beside its texts: measured."""

# SQLite took over PostgreSQL's clause
_INSERT = sql(
    PostgreSQLQuery.into(HISTORY)
    .columns(*COLUMNS)
    .insert(*(VALUE for _ in COLUMNS))
    .on_conflict("id")  # type: ignore[operator]  # PyPika declares another builder
    .do_nothing()
)
_DETAIL_COLUMNS = ("decision", "request_body", "response_body")
_ROW_JUST_WRITTEN = CustomFunction("LAST_INSERT_ROWID")()
_INSERT_DETAILS = sql(
    Query.into(DETAILS)
    .columns("sequence", *_DETAIL_COLUMNS)
    .insert(_ROW_JUST_WRITTEN, *(VALUE for _ in _DETAIL_COLUMNS))
)


def api_of(request_type: str) -> Api | None:
    """The API that the history calls so; None: there is none."""
    return next((api for api, name in REQUEST_TYPES.items() if name == request_type), None)


def add_row(statements: Transaction, row: Mapping[str, Value]) -> bool:
    """Write a request and its details; False if its id is there already. Raises sqlite3.Error.

    What *row* does not name is empty; what its texts take is added to its bytes.
    """
    details = [row.get(column) for column in _DETAIL_COLUMNS]
    texts = (*details, row.get("error_message"))
    kept_bytes = ROW_BYTES + sum(_size_of(text) for text in texts)
    has_bodies = any(row.get(column) is not None for column in _DETAIL_COLUMNS[1:])
    whole = {**row, "kept_bytes": kept_bytes, "has_bodies": has_bodies}
    if not statements.run(_INSERT, *map(whole.get, COLUMNS)):
        return False
    if any(text is not None for text in details):
        statements.run(_INSERT_DETAILS, *details)
    return True


def _size_of(text: Value) -> int:
    if not isinstance(text, str):
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def row_of(record: RequestRecord) -> dict[str, Value]:
    """The row of *record*, by column, details included."""
    usage, bodies = record.usage, record.bodies
    return {
        "id": record.id,
        "timestamp": instant_text(record.arrived_at),
        "completed_at": instant_text(record.finished_at),
        "request_id": record.request_id,
        "request_type": REQUEST_TYPES[record.api],
        "path": record.path,
        "stream": record.stream,
        "model": record.model,
        "known_model": record.known_model,
        "served_model": record.served_model,
        "endpoint_id": record.endpoint_id,
        "endpoint_name": record.endpoint_name,
        "only_endpoint": record.only,
        "api_key_id": record.key_id,
        "user_id": record.user_id,
        "client_ip": record.client_address,
        "client_group": group_of(record.client_address),
        "outcome": record.outcome.value,
        "http_status": record.status,
        "error_code": record.error_code,
        "error_message": record.error_message,
        "attempts": len(record.attempts),
        "waited_ms": _rounded(record.waited_ms),
        "duration_ms": _rounded(record.duration_ms),
        "time_to_first_token_ms": _rounded(record.time_to_first_token_ms),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": None if usage == NOTHING_TOLD else usage.total,
        "tokens_estimated": usage.estimated,
        "tokens_per_s": _rounded(record.tokens_per_s),
        "request_bytes": record.request_bytes,
        "response_bytes": record.response_bytes,
        "decision": decision_json(record),
        "request_body": None if bodies is None else bodies.request,
        "response_body": None if bodies is None else bodies.response,
    }


def _rounded(number: float | None) -> float | None:
    """What is finer is noise, and costs room in the database and in every export."""
    return None if number is None else round(number, 3)


def decision_json(record: RequestRecord) -> str:
    """Why it went where it went, as `explaining.way` tells it, in compact JSON."""
    told = way(record)
    try:
        return _COMPACT.encode(told).decode()
    except UnicodeEncodeError:  # half a surrogate pair, which only json can spell
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))
