"""What an operator looks for in the audit log, and how it is asked of the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pypika import Criterion, Order, Query
from pypika import functions as fn
from pypika.terms import Term

from llmlb.audit import ActorType, AuditEntry, cleaned
from llmlb.store.audit_rows import COLUMNS, ENTRIES, shown_entry
from llmlb.store.columns import Value, instant_text
from llmlb.store.database import Transaction
from llmlb.store.sql import VALUE, sql
from llmlb.store.text_search import holds, part

SEARCHED = (
    "action",
    "path",
    "actor_id",
    "actor_name",
    "api_key_id",
    "client_address",
    "object_type",
    "object_id",
    "endpoint_id",
    "model",
    "request_id",
    "detail",
)
"""The columns in which a text is looked for."""


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """Which entries are wanted: those for which all that is said here holds."""

    limit: int
    offset: int = 0
    actor_type: ActorType | None = None
    actor_id: str | None = None
    method: str | None = None
    path: str | None = None
    status: int | None = None
    time_from: datetime | None = None
    time_to: datetime | None = None
    address_part: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """How many entries there are; what is no request has no method."""

    total: int
    by_method: Mapping[str | None, int]
    by_actor_type: Mapping[str | None, int]
    last_24h: int


def _count(*columns: str) -> str:
    """How many entries there are, by the values of *columns*."""
    query = Query.from_(ENTRIES).select(*columns, _TOTAL).groupby(*columns)
    return sql(query)


_TOTAL = fn.Count("*").as_("total")
_BY_METHOD, _BY_ACTOR_TYPE = _count("method"), _count("actor_type")
_SINCE = sql(Query.from_(ENTRIES).select(_TOTAL).where(ENTRIES.at >= VALUE))


def found(statements: Transaction, wanted: AuditSearch) -> tuple[list[AuditEntry], int]:
    """One page of what is wanted, the newest first, and how much there is. Raises sqlite3.Error."""
    conditions = list(_conditions(wanted))
    values = [value for _, values in conditions for value in values]
    matching = Query.from_(ENTRIES).where(Criterion.all([test for test, _ in conditions]))
    page = (
        matching.select(*COLUMNS)
        .orderby(ENTRIES.sequence, order=Order.desc)
        .limit(wanted.limit)
        .offset(wanted.offset)
    )
    entries = [shown_entry(row) for row in statements.each(sql(page), *values)]
    (counted,) = statements.rows(sql(matching.select(_TOTAL)), *values)
    return entries, int(counted["total"])


def figures(statements: Transaction, now: datetime) -> AuditFigures:
    """The statistics as of *now*. Raises sqlite3.Error."""
    by_method, by_type = (
        {
            None if row[column] is None else str(row[column]): int(row["total"])
            for row in statements.each(statement)
        }
        for column, statement in (("method", _BY_METHOD), ("actor_type", _BY_ACTOR_TYPE))
    )
    (recent,) = statements.rows(_SINCE, instant_text(now - timedelta(hours=24)))
    return AuditFigures(sum(by_method.values()), by_method, by_type, int(recent["total"]))


def _conditions(wanted: AuditSearch) -> Iterator[tuple[Term, tuple[Value, ...]]]:
    """What is asked for, each with the values that it is compared with."""
    for column, value in (
        (ENTRIES.actor_type, wanted.actor_type),
        (ENTRIES.actor_id, wanted.actor_id),
        (ENTRIES.method, wanted.method),
        (ENTRIES.path, wanted.path),
        (ENTRIES.status, wanted.status),
    ):
        if value is not None:
            yield column == VALUE, (value,)
    if wanted.time_from is not None:
        yield ENTRIES.at >= VALUE, (instant_text(wanted.time_from),)
    if wanted.time_to is not None:
        yield ENTRIES.at <= VALUE, (instant_text(wanted.time_to),)
    if wanted.address_part is not None:
        yield holds(ENTRIES.client_address), part(cleaned(wanted.address_part))
    if wanted.text is not None:
        anywhere = Criterion.any(holds(ENTRIES[column]) for column in SEARCHED)
        yield anywhere, part(cleaned(wanted.text)) * len(SEARCHED)
