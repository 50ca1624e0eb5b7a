"""How the rows of the history are read along an index that has them in order: slice by slice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pypika import Criterion, Order, Query
from pypika import functions as fn
from pypika.queries import QueryBuilder
from pypika.terms import Term

from llmlb.store.columns import Value
from llmlb.store.database import Transaction
from llmlb.store.history_rows import HISTORY
from llmlb.store.sql import NUMBER, VALUE, Beside, sql

SLICE = 20_000
"""So many rows are looked through while the database is held: some ten milliseconds."""

MOST_COUNTED_IN = 50_000
"""So many rows of a way are looked at when it is counted."""

SLOWER = 20
"""So many times fewer rows where bodies are looked through: 1,000 of 20 KB take 75 ms."""


class Place(NamedTuple):
    """Where a row stands in the order: by time, and among equals as they were written."""

    timestamp: str
    sequence: int


NEWEST = Place("~", 2**63 - 1)
"""Before all rows, where the newest come first."""


class Condition(NamedTuple):
    """A test, and what is to be bound in it."""

    test: Term
    values: tuple[Value, ...] = ()
    slow: bool = False
    """Whether what is long is looked through for it."""


def equals(column: str, value: Value) -> Condition:
    """That a column has this value."""
    return Condition(HISTORY[column] == VALUE, (value,))


def any_of(conditions: Sequence[Condition]) -> Condition:
    """That one of them holds."""
    test = Criterion.any([condition.test for condition in conditions])
    values = tuple(value for condition in conditions for value in condition.values)
    return Condition(test, values, any(condition.slow for condition in conditions))


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the rows: by an index that has them in order, and what else has to hold."""

    along: tuple[Condition, ...] = ()
    """What the index is searched by, or is of alone; without it, it is that of the time."""
    also: tuple[Condition, ...] = ()

    @property
    def conditions(self) -> tuple[Condition, ...]:
        beside = [condition._replace(test=Beside(condition.test)) for condition in self.also]
        return (*self.along, *beside)

    def of(self, n_rows: int) -> int:
        """How many of its rows are looked through where it would be *n_rows* of most ways."""
        slow = any(condition.slow for condition in self.also)
        return max(1, n_rows // SLOWER) if slow else n_rows


def first_of(statements: Transaction, ways: Iterable[Way], after: Place, most: int) -> list[Place]:
    """The first rows that come after a place along *ways* on which nothing else has to hold.

    *most* of them, each once. Raises sqlite3.Error.
    """
    first: list[Place] = []
    for way in ways:
        text, values = page_statement(way, after, nth(first, most), most)
        first = merged(first, [Place(*row.values()) for row in statements.each(text, *values)])
        del first[most:]
    return first


def slice_of(
    statements: Transaction, way: Way, after: Place, most: int, last: Place | None
) -> tuple[list[Place], Place | None]:
    """The first rows along *way* that come after a place, *most* of them, out of one slice.

    Those behind the place *last* are not looked for. With them the place where the next slice
    begins; None if this was the last. Raises sqlite3.Error.
    """
    end = _end_of_slice(statements, way, after, way.of(SLICE))
    if last is not None and (end is None or end < last):
        end = last
    text, values = page_statement(way, after, end, most)
    places = [Place(*row.values()) for row in statements.each(text, *values)]
    return places, end if len(places) < most else None


def merged(some: Sequence[Place], more: Sequence[Place]) -> list[Place]:
    """Both, each place once, in order."""
    return sorted({*some, *more}, reverse=True)


def nth(places: Sequence[Place], n: int) -> Place | None:
    """The last of *n* places; None: there are fewer."""
    return places[n - 1] if len(places) >= n else None


def numbers_of(statements: Transaction, ways: Iterable[Way], most: int) -> set[int]:
    """The rows along *ways* on which nothing else has to hold; not many more than *most*.

    Raises sqlite3.Error.
    """
    found: set[int] = set()
    for way in ways:
        if len(found) < most:
            found |= _numbers(statements, way, None, most)
    return found


def numbers_in_slice(statements: Transaction, way: Way, most: int) -> tuple[set[int], bool]:
    """The newest rows along *way*, *most* of them, and are these all. Raises sqlite3.Error."""
    end = _end_of_slice(statements, way, NEWEST, way.of(MOST_COUNTED_IN))
    found = _numbers(statements, way, end, most)
    return found, end is None and len(found) < most


def _numbers(statements: Transaction, way: Way, end: Place | None, most: int) -> set[int]:
    text, values = count_statement(way, end, most)
    return {row["sequence"] for row in statements.each(text, *values)}


def length(statements: Transaction, ways: Iterable[Way], most: int) -> int:
    """How many rows *ways* have, whatever else has to hold; *most* at most.

    Raises sqlite3.Error.
    """
    left = most
    for way in ways:
        text, values = length_statement(way, left)
        (row,) = statements.rows(text, *values)
        left -= row["total"]
    return most - left


def page_statement(
    way: Way, after: Place, end: Place | None, most: int
) -> tuple[str, tuple[Value, ...]]:
    """The statement for the rows between two places, and its values."""
    query, values = _between(way.conditions, after, end)
    found = _newest_first(query.select("timestamp", "sequence")).limit(NUMBER)
    return sql(found), (*values, most)


def count_statement(way: Way, end: Place | None, most: int) -> tuple[str, tuple[Value, ...]]:
    """The statement for the numbers of those down to a place, and its values."""
    query, values = _between(way.conditions, NEWEST, end)
    return sql(query.select("sequence").limit(NUMBER)), (*values, most)


def length_statement(way: Way, most: int) -> tuple[str, tuple[Value, ...]]:
    """The statement that counts them, *most* of them, whatever else has to hold."""
    query, values = _between(way.along, NEWEST, None)
    some = query.select("sequence").limit(NUMBER)
    return sql(Query.from_(some).select(fn.Count("*").as_("total"))), (*values, most)


def end_statement(way: Way, after: Place, offset: int) -> tuple[str, tuple[Value, ...]]:
    """The statement for the place so many rows further on, whatever else has to hold."""
    query, values = _between(way.along, after, None)
    there = _newest_first(query.select("timestamp", "sequence")).limit(NUMBER).offset(NUMBER)
    return sql(there), (*values, 1, offset)


def _end_of_slice(statements: Transaction, way: Way, after: Place, n_rows: int) -> Place | None:
    text, values = end_statement(way, after, n_rows)
    return next((Place(*row.values()) for row in statements.each(text, *values)), None)


def _between(
    conditions: Sequence[Condition], after: Place, end: Place | None
) -> tuple[QueryBuilder, tuple[Value, ...]]:
    """Rows that come after one place, and not after another."""
    at, number = HISTORY.timestamp, HISTORY.sequence
    bounds = [
        # said twice, for only the first is what an index can be searched by
        Condition(at <= VALUE, (after.timestamp,)),
        Condition((at < VALUE) | (number < VALUE), after),
    ]
    if end is not None:
        bounds += [
            Condition(at >= VALUE, (end.timestamp,)),
            Condition((at > VALUE) | (number >= VALUE), end),
        ]
    tests = [*conditions, *bounds]
    query = Query.from_(HISTORY).where(Criterion.all([test.test for test in tests]))
    return query, tuple(value for test in tests for value in test.values)


def _newest_first(query: QueryBuilder) -> QueryBuilder:
    return query.orderby(HISTORY.timestamp, HISTORY.sequence, order=Order.desc)
