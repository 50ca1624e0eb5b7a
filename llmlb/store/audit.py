"""The stored chain of audit entries: appended to, checked, and cut at its old end only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any

from pypika import Order, Query, Table

from llmlb.audit import GENESIS, AuditEntry, AuditEvent, ChainMoved, Link, chained
from llmlb.audit_check import ChainCheck, Chunk
from llmlb.store.audit_rows import COLUMNS, ENTRIES
from llmlb.store.audit_search import AuditFigures, AuditSearch, figures, found
from llmlb.store.columns import instant_text
from llmlb.store.database import Database, Transaction
from llmlb.store.sql import VALUE, insert, sql

CHUNK = 1000
"""So many rows are read, or pruned, while the database is held: some ten milliseconds."""

_MARKS = Table("audit_marks")
_HEAD, _ANCHOR = "head", "anchor"

_INSERT = sql(insert(ENTRIES, COLUMNS))
_IN_ORDER = Query.from_(ENTRIES).orderby(ENTRIES.sequence)
_FIRST = sql(_IN_ORDER.select(*COLUMNS).limit(CHUNK))
_AFTER = sql(_IN_ORDER.select(*COLUMNS).limit(CHUNK).where(ENTRIES.sequence > VALUE))
_OLDEST = sql(_IN_ORDER.select("sequence", "at", "hash").limit(CHUNK))
_NEWEST = sql(
    Query.from_(ENTRIES)
    .select("sequence", "hash")
    .orderby(ENTRIES.sequence, order=Order.desc)
    .limit(1)
)
_DELETE = sql(Query.from_(ENTRIES).delete().where(ENTRIES.sequence <= VALUE))
_SELECT_MARKS = sql(Query.from_(_MARKS).select("name", "sequence", "hash"))
_MOVE_MARK = sql(
    Query.update(_MARKS)
    .set(_MARKS.sequence, VALUE)
    .set(_MARKS.hash, VALUE)
    .where(_MARKS.name == VALUE)
)


class AuditRepository:
    """The audit log on disk. Every method raises StoreUnavailable when the database refuses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def place(self) -> Link:
        """What the next entry has to follow on from."""
        return await self._database.read(_place)

    async def append(self, after: Link, events: Sequence[AuditEvent]) -> Link:
        """Write *events* as the entries that follow on from *after*, all or none of them.

        Returns the last of them. Raises ChainMoved if the chain does not end with *after*.
        """
        return await self._database.write(lambda statements: _append(statements, after, events))

    async def check_some(self, check: ChainCheck) -> bool:
        """Let *check* have the next chunk; whether there is more. It is hashed off the loop."""
        return await self._database.read(
            lambda statements: check.take(read_chunk(statements, check.after))
        )

    async def prune(self, older_than: datetime | None, most: int) -> int:
        """Delete the oldest entries, a chunk at most, and say how many were deleted.

        Those go that are *older_than*, up to the first that is not, and those beyond *most*.
        """
        bound = "" if older_than is None else instant_text(older_than)
        return await self._database.write(lambda statements: _prune(statements, bound, most))

    async def search(self, wanted: AuditSearch) -> tuple[list[AuditEntry], int]:
        """The entries on one page, the newest first, and how many there are on all pages."""
        return await self._database.read(lambda statements: found(statements, wanted))

    async def figures(self, now: datetime) -> AuditFigures:
        """How many entries there are, of which kind."""
        return await self._database.read(lambda statements: figures(statements, now))


def read_chunk(statements: Transaction, after: int | None) -> Chunk:
    """What is stored after entry *after*, and where the chain ends now. Raises sqlite3.Error."""
    marks = _marks(statements)
    rows = statements.rows(_FIRST) if after is None else statements.rows(_AFTER, after)
    return Chunk(marks.get(_ANCHOR), marks.get(_HEAD), rows, last=len(rows) < CHUNK)


def _marks(statements: Transaction) -> dict[str, Link]:
    """The ends of the chain, as far as they are on record."""
    marks = {}
    for row in statements.each(_SELECT_MARKS):
        link = _link(row)
        if link is not None:
            marks[row["name"]] = link
    return marks


def _link(row: Mapping[str, Any]) -> Link | None:
    sequence, known_hash = row["sequence"], row["hash"]
    readable = isinstance(sequence, int) and isinstance(known_hash, str)
    return Link(sequence, known_hash) if readable else None


def _place(statements: Transaction) -> Link:
    """Where the chain ends, or what is on record beyond that: no number is ever given twice."""
    marks = _marks(statements)
    known = [marks[name] for name in (_HEAD, _ANCHOR) if name in marks]
    newest = [Link(row["sequence"], str(row["hash"])) for row in statements.each(_NEWEST)]
    return max([*known, *newest, GENESIS], key=lambda link: link.sequence)


def _append(statements: Transaction, after: Link, events: Sequence[AuditEvent]) -> Link:
    entries = list(chained(after, events))
    end, place = entries[-1].link, _place(statements)
    if place == end:
        return end  # an earlier try was reported as failed, but was not
    if place != after:
        raise ChainMoved(place)
    for entry in entries:
        row = entry.written()
        statements.run(_INSERT, *(row[name] for name in COLUMNS))
    if _HEAD in _marks(statements):  # else none is made: that it is gone has to be found
        statements.run(_MOVE_MARK, end.sequence, end.hash, _HEAD)
    return end


def _prune(statements: Transaction, older_than: str, most: int) -> int:
    anchor = _marks(statements).get(_ANCHOR)
    if anchor is None:
        return 0  # what remains could not be checked any more
    kept_from = _place(statements).sequence - most
    rows = statements.rows(_OLDEST)
    gone = list(
        takewhile(lambda row: row["sequence"] <= kept_from or str(row["at"]) < older_than, rows)
    )
    if not gone:
        return 0
    last = gone[-1]
    if last["sequence"] > anchor.sequence:
        statements.run(_MOVE_MARK, last["sequence"], str(last["hash"]), _ANCHOR)
    statements.run(_DELETE, last["sequence"])
    return len(gone)
