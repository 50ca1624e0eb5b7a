"""What the written rows of attempts and of requests add up to, by what one likes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from pypika import CustomFunction, Order, Query, Table

from llmlb.accounting import NOTHING_COUNTED, Totals
from llmlb.store.columns import Value
from llmlb.store.database import Transaction
from llmlb.store.sql import VALUE, sql
from llmlb.store.sums import By, Group, Unit, Wanted

_DURATION = "total_duration_ms"
COUNTS = (
    "total_requests",
    "successful_requests",
    "failed_requests",
    "cancelled_requests",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    _DURATION,
    "refused_requests",
    "estimated_tokens",
    "timed_output_tokens",
)
"""The columns of Totals, in its order."""

# SUM fails when endpoints claim more tokens than 64 bits hold; TOTAL adds in floating point.
_TOTAL = CustomFunction("TOTAL", ["column"])
_PART = CustomFunction("SUBSTR", ["column", "start", "length"])


def stored_sums(statements: Transaction, wanted: Wanted) -> dict[Group, Totals]:
    """What is written."""
    filters = wanted.filters
    statement = _statement(
        wanted.unit, wanted.by, tuple(filters), wanted.limit, since=wanted.since is not None
    )
    values: list[Value] = list(filters.values())
    if wanted.since is not None:
        values.append(wanted.since.isoformat())
    found = {}
    for row in statements.each(statement, *values):
        found[tuple(row[f"by_{column}"] for column in wanted.by)] = totals_of(row)
    if not wanted.by and found == {(): NOTHING_COUNTED}:
        return {}
    return found


def totals_of(row: Mapping[str, float]) -> Totals:
    """The counts of a row."""
    counts = {name: int(row[name]) for name in COUNTS if name != _DURATION}
    return Totals(total_duration_ms=row[_DURATION], **counts)


def counts_of(totals: Totals) -> list[Value]:
    """The same, for a row."""
    return [getattr(totals, name) for name in COUNTS]


@cache
def _statement(
    unit: Unit, by: tuple[By, ...], filters: tuple[By, ...], limit: int, *, since: bool
) -> str:
    table = Table(unit)
    named = {
        column: _PART(table.day, 1, 7) if column is By.MONTH else table[column] for column in by
    }
    query = Query.from_(table).select(
        *(term.as_(f"by_{column}") for column, term in named.items()),
        *(_TOTAL(table[column]).as_(column) for column in COUNTS),
    )
    for column in filters:
        query = query.where(table[column] == VALUE)
    if since:
        query = query.where(table.day >= VALUE)
    for column, term in named.items():
        query = query.groupby(term)
        if column in (By.DAY, By.MONTH):
            query = query.orderby(term, order=Order.desc)
    query = query.orderby(_TOTAL(table.total_requests), order=Order.desc)
    for term in named.values():
        query = query.orderby(term, order=Order.desc)
    return sql(query.limit(limit))
