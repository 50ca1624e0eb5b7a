"""How a database file is opened: checked first, changed only if it is ours."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from llmlb.addresses import group_of
from llmlb.errors import StartupError
from llmlb.store import files
from llmlb.store.faults import startup_error
from llmlb.store.migrate import is_ours, migrate, released, table_names

BUSY_TIMEOUT_S = 5.0
RUST_MIGRATIONS = "_sqlx_migrations"
"""The table by which a database of the Rust llmlb is known."""

_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # what was answered with "created" survives a power cut
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # a key that was replaced is gone from the file
)


def open_file(path: Path, now: datetime) -> tuple[sqlite3.Connection, files.OpenFiles]:
    """The database at *path*, its schema up to date, and its files with their lock.

    Raises StartupError, and then holds nothing.
    """
    with ExitStack() as undo:
        files.make_directory(path.parent)
        files.create(path)
        lock = files.take_lock(path)
        undo.callback(lock.release)
        try:
            connection = connect(str(path))
            undo.callback(connection.close)
            _refuse_what_is_not_ours(connection, path)
            files.restrict(path)
            prepare(connection, file=str(path), now=now)
        except sqlite3.Error as error:
            raise startup_error(error, path) from None
        undo.pop_all()
    return connection, files.OpenFiles(path, lock)


def open_memory(now: datetime) -> sqlite3.Connection:
    """A database that is gone when it is closed."""
    connection = connect(":memory:")
    prepare(connection, file="in memory", now=now)
    return connection


_INCREMENTAL = 2
"""What SQLite calls it."""


def connect(database: str, *, uri: bool = False) -> sqlite3.Connection:
    """A connection that leaves transactions to us and reads any text. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        database,
        uri=uri,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.create_function("client_group", 1, _group_of, deterministic=True)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


def _group_of(address: object) -> str | None:
    """For migrations: SQL cannot tell networks."""
    return group_of(address) if isinstance(address, str) else None


def prepare(connection: sqlite3.Connection, *, file: str, now: datetime) -> None:
    """Settings and schema. Raises StartupError and sqlite3.Error."""
    # For new files, and those that a VACUUM writes anew; others keep the pages that become free.
    # To say it again would write the file's first page at each start.
    if connection.execute("PRAGMA auto_vacuum").fetchone() != (_INCREMENTAL,):
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    for setting in _SETTINGS:
        connection.execute(setting)
    migrate(connection, released(), file=file, now=now)


def _refuse_what_is_not_ours(connection: sqlite3.Connection, path: Path) -> None:
    tables = table_names(connection)
    if RUST_MIGRATIONS in tables:
        raise StartupError(
            f"The database {path} belongs to the Rust llmlb, which this one only reads: put it "
            "into the data directory as 'load balancer.db' to have it imported, and remove "
            "LLMLB_DATABASE_URL."
        )
    if tables and not is_ours(connection):
        raise StartupError(
            f"The database {path} belongs to another program: move it away, or set "
            "LLMLB_DATABASE_URL to another file."
        )
