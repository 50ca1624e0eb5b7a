"""How what was once written in plaintext leaves the file for good, whenever the process ends."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from pypika import Query, Table

from llmlb.errors import StartupError
from llmlb.store.columns import instant_text
from llmlb.store.database import Transaction, transaction
from llmlb.store.endpoint_secrets import refuse_unreadable, seal_plaintext, unreadable
from llmlb.store.import_report import redact_records
from llmlb.store.secret_box import SecretBox
from llmlb.store.sql import VALUE, insert, sql

_TABLE = Table("erasures")
_WHAT = "secrets"
_IS_DONE = sql(Query.from_(_TABLE).select(_TABLE.what).where(_TABLE.what == VALUE))
_DONE = sql(insert(_TABLE, ("what", "done_at")))
_SEQUENCES = Table("sqlite_sequence")
_EVER_FILLED = sql(
    Query.from_(_SEQUENCES)
    .select(_SEQUENCES.name)
    .where((_SEQUENCES.name == VALUE) | (_SEQUENCES.name == VALUE))
)
"""SQLite notes there which of these tables ever had a row."""
_UNDONE = sql(Query.from_(_TABLE).delete().where(_TABLE.what == VALUE))


def secure(connection: sqlite3.Connection, box: SecretBox, *, file: str, now: datetime) -> None:
    """Encrypt the secrets that are not, and leave no trace of them in *file*.

    All of it is done once, at the first start on a database of an older version; later, only
    what somebody has written by hand. A start that is broken off is made good by the next one.
    Raises StartupError (a secret cannot be decrypted) and sqlite3.Error.
    """
    with transaction(connection) as statements:
        refuse_unreadable(unreadable(statements, box), box)
        done = bool(statements.rows(_IS_DONE, _WHAT))
        sealed = seal_plaintext(statements, box)
        if not done:
            redact_records(statements)
        if sealed:
            to_be_erased(statements)
        elif not done and not statements.rows(_EVER_FILLED, "endpoints", "imports"):
            statements.run(_DONE, _WHAT, instant_text(now))
            done = True
    if sealed or not done:
        erase(connection, file=file, now=now)


def to_be_erased(statements: Transaction) -> None:
    """What this transaction replaces is secret: if `erase` is not reached, a start does it."""
    statements.run(_UNDONE, _WHAT)


def erase(connection: sqlite3.Connection, *, file: str, now: datetime) -> None:
    """Write *file* anew, without what was deleted or replaced: no free pages, an empty WAL.

    Needs room for the file once more. Raises StartupError and sqlite3.Error.
    """
    connection.execute("VACUUM")
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StartupError(
            f"The database {file} still holds secrets that are not encrypted, because another "
            "program reads it: stop that program and start again."
        )
    with transaction(connection) as statements:
        to_be_erased(statements)
        statements.run(_DONE, _WHAT, instant_text(now))
