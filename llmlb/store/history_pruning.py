"""How the oldest requests leave the history, and their pages the file: a little at a time."""

from __future__ import annotations

from pypika import Query

from llmlb.store.database import Transaction
from llmlb.store.history_rows import HISTORY
from llmlb.store.history_search import size
from llmlb.store.sql import NUMBER, VALUE, sql

CHUNK = 200
"""So many requests are deleted while the database is held: some ten milliseconds."""

PAGES = 256
"""And so many pages given back: 1 MiB, as pages are 4 KiB."""

SPARE_PART = 8
"""An eighth of the file may be free, for what comes next; to give it back would be for nothing."""

_oldest = Query.from_(HISTORY).select(HISTORY.sequence).orderby(HISTORY.timestamp).limit(NUMBER)
_DELETE_OLDEST = sql(Query.from_(HISTORY).delete().where(HISTORY.sequence.isin(_oldest)))
_DELETE_OLDER = sql(
    Query.from_(HISTORY)
    .delete()
    .where(HISTORY.sequence.isin(_oldest.where(HISTORY.timestamp < VALUE)))
)


def prune(
    statements: Transaction, older_than: str | None, most_requests: int, most_bytes: int
) -> int:
    """Delete one chunk of what is too old or too much; how many requests. Raises sqlite3.Error."""
    if older_than is not None:
        gone = statements.run(_DELETE_OLDER, older_than, CHUNK)
        if gone:
            return gone
    requests, taken_bytes = size(statements)
    too_many = requests - most_requests
    if taken_bytes > most_bytes and requests:
        average_bytes = taken_bytes / requests
        too_many = max(too_many, 1 + int((taken_bytes - most_bytes) / average_bytes))
    if too_many <= 0:
        return 0
    return statements.run(_DELETE_OLDEST, min(too_many, CHUNK))


def shrink(statements: Transaction) -> int:
    """Give some free pages back to the disk, if there are many. Raises sqlite3.Error."""
    free = _number(statements, "PRAGMA freelist_count")
    spare = _number(statements, "PRAGMA page_count") // SPARE_PART
    too_many = min(PAGES, free - spare)
    for _ in range(too_many):
        # one page at a time: Python's sqlite3 takes the first step of a statement without columns
        statements.run("PRAGMA incremental_vacuum(1)")
    return max(0, free - _number(statements, "PRAGMA freelist_count"))


def _number(statements: Transaction, pragma: str) -> int:
    (row,) = statements.rows(pragma)
    return int(next(iter(row.values())))
