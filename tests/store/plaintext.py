"""A database of an older version, with secrets in plaintext wherever SQLite may leave them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from llmlb.store.connection import connect
from llmlb.store.migrate import migrate, released

KEY, HEADER = "canary-key-0123456789", "canary-header-0123456789"
HEADERS = (("X-Pass", HEADER), ("X-Tenant", "home"))
RECORDS = [
    {"name": "no URL", "api_key": "canary-in-a-record"},
    {"base_url": "ftp://user:canary-password@x", "extra_headers": {"a": "canary-in-headers"}},
]
FIRST_WITH_IMPORTS, LAST_OLD_VERSION = 5, 11


def older_database(database: Path, version: int = LAST_OLD_VERSION) -> None:
    """Leave at *database* what an older llmlb does that is killed: file and WAL."""
    database.parent.mkdir(parents=True, exist_ok=True)
    original = database.with_name("original.db")
    with closing(connect(str(original))) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA secure_delete = OFF")
        migrate(connection, released()[:version], file="x", now=datetime(2026, 1, 1, tzinfo=UTC))
        for number in range(40):
            _insert(connection, f"gone-{number}", f"canary-of-the-gone-{number}" * 50)
        _insert(connection, "kept", "canary-that-was-replaced")
        if version >= FIRST_WITH_IMPORTS:
            _import(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("DELETE FROM endpoints WHERE id LIKE 'gone-%'")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        connection.execute("UPDATE endpoints SET api_key = ?", [KEY])
        _insert(connection, "bare", None, "[]")
        for suffix in ("", "-wal"):
            shutil.copy(f"{original}{suffix}", f"{database}{suffix}")
    for left in database.parent.glob("original.db*"):
        left.unlink()


def _insert(
    connection: sqlite3.Connection, name: str, key: str | None, headers: str | None = None
) -> None:
    connection.execute(
        "INSERT INTO endpoints (id, name, base_url, api_key, extra_headers, registered_at) "
        "VALUES (?, ?, ?, ?, ?, '2026-01-01T00:00:00.000000Z')",
        [name, name, f"http://{name}", key, headers or json.dumps(HEADERS)],
    )


def _import(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO imports VALUES (1, 'endpoints.json', 'abc', '2026-01-01')")
    for number, record in enumerate(RECORDS, 1):
        connection.execute(
            "INSERT INTO import_records VALUES (1, ?, NULL, 'unreadable', 'a remark', ?)",
            [number, json.dumps(record)],
        )


def bytes_below(directory: Path) -> bytes:
    """All that any file holds, with their names."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return b"\n".join(str(path).encode() + b": " + path.read_bytes() for path in files)
