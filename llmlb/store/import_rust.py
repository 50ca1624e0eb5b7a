"""What the database of the Rust llmlb holds that is worth taking over; it is only ever read."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pypika import Query, Table

from llmlb.store.columns import capabilities_of, json_of, text_of, whole_of
from llmlb.store.connection import RUST_MIGRATIONS, connect
from llmlb.store.database import Transaction, transaction
from llmlb.store.import_json import endpoint_from
from llmlb.store.migrate import table_names
from llmlb.store.older import Unimportable, as_object
from llmlb.store.sql import sql
from llmlb.types import Endpoint, Model

# Columns came and went between its versions. A name that is missing would be read as a text by
# SQLite, so everything is selected, and what is not there is absent.
_ENDPOINTS = sql(Query.from_(Table("endpoints")).select("*"))
_MODELS = sql(Query.from_(Table("endpoint_models")).select("*"))


@contextmanager
def reading_rust(path: Path) -> Iterator[tuple[Transaction, set[str]]]:
    """The database, to be asked within the block, and its tables. Raises Unimportable."""
    try:
        with closing(connect(_read_only(path), uri=True)) as connection:
            tables = table_names(connection)
            if RUST_MIGRATIONS not in tables:
                raise Unimportable("it is not a database of the Rust llmlb")
            with transaction(connection, writing=False) as statements:
                yield statements, tables
    except sqlite3.Error as error:
        raise Unimportable(f"it cannot be read: {error}") from None


def read_rust(path: Path) -> list[dict[str, Any]]:
    """Its endpoints with their models, in the shape of endpoints.json. Raises Unimportable."""
    with reading_rust(path) as (statements, tables):
        return _read(statements, tables)


def endpoint_from_rust(value: object, now: datetime) -> Endpoint:
    """The endpoint of one record of `read_rust`. Raises UnreadableRecord."""
    models = as_object(value)["models"]
    return replace(endpoint_from(value, now), models=tuple(_model(row) for row in models))


def _read_only(path: Path) -> str:
    """The address of a file that is not being written: reading it leaves no trace at all.

    With a journal beside it SQLite needs to take part in its locks, but still may not write.
    """
    journals = (Path(f"{path}{suffix}") for suffix in ("-wal", "-journal"))
    busy = any(journal.is_file() and journal.stat().st_size for journal in journals)
    return f"{path.as_uri()}?mode=ro" + ("" if busy else "&immutable=1")


def _read(statements: Transaction, tables: set[str]) -> list[dict[str, Any]]:
    if "endpoints" not in tables:
        return []
    models: defaultdict[object, list[dict[str, Any]]] = defaultdict(list)
    if "endpoint_models" in tables:
        for row in statements.each(_MODELS):
            models[row.get("endpoint_id")].append(row)
    return [
        {
            **row,
            "api_key": row.get("api_key_encrypted"),
            "latency_ms": row.get("inference_latency_ms"),
            "device_info": json_of(row.get("device_info")),
            "models": [m for m in models[row.get("id")] if text_of(m.get("model_id"))],
        }
        for row in statements.each(_ENDPOINTS)
    ]


def _model(row: dict[str, Any]) -> Model:
    model = Model(str(row["model_id"]), max_tokens=whole_of(row.get("max_tokens")) or None)
    capabilities = capabilities_of(json_of(row.get("capabilities")))
    return model if capabilities is None else replace(model, capabilities=capabilities)
