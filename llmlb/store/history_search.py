"""What is looked for in the history, and how it is asked of the database: a slice at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from pypika import Criterion, Order, Query, Table
from pypika import functions as fn
from pypika.queries import QueryBuilder
from pypika.terms import ExistsCriterion, Term

from llmlb.accounting import Outcome
from llmlb.addresses import group_of
from llmlb.store.columns import Value, instant_text
from llmlb.store.database import Transaction
from llmlb.store.history_rows import DETAILS, HISTORY, REQUEST_TYPES
from llmlb.store.sql import NUMBER, VALUE, sql
from llmlb.store.text_search import holds, part
from llmlb.types import Api

SEARCHED = (
    "model",
    "served_model",
    "endpoint_name",
    "error_code",
    "error_message",
    "request_id",
)
"""The columns in which a text is looked for, beside the bodies."""

MOST_MODELS = 20
"""Where a part of a name means more models than that, rows are looked through in order of time."""

SLICE = 20_000
"""So many rows are looked through while the database is held: some ten milliseconds."""

MOST_COUNTED = 10_000
"""What is more is "10,000 at least"."""

MOST_COUNTED_IN = 50_000
"""And the rows that are looked at for it."""

_FAILURES = tuple(outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED)


class Place(NamedTuple):
    """Where a row stands in the order: by time, and among equals as they were written."""

    timestamp: str
    sequence: int


NEWEST = Place("~", 2**63 - 1)
"""Before all rows, where the newest come first."""


@dataclass(frozen=True, slots=True)
class HistorySearch:
    """Which requests are wanted: those for which all that is said here holds."""

    model_part: str | None = None
    endpoint_id: str | None = None
    outcomes: tuple[Outcome, ...] = ()
    """Any of them; none: whatever the outcome."""
    error_code: str | None = None
    api_key_id: str | None = None
    client: str | None = None
    """An address, or a group of them."""
    request_id: str | None = None
    request_type: Api | None = None
    time_from: datetime | None = None
    time_to: datetime | None = None
    text: str | None = None

    @property
    def everything(self) -> bool:
        """Nothing is asked for in particular."""
        return self == HistorySearch()


def outcomes_of(*, success: bool) -> tuple[Outcome, ...]:
    """What the older product's two words for a status stand for."""
    return (Outcome.SUCCEEDED,) if success else _FAILURES


class Condition(NamedTuple):
    """A test, and what is to be bound in it."""

    test: Term
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the rows: by an index that has them in order, and what else has to hold."""

    along: tuple[Condition, ...]
    """What the index is searched by; without an equality it is that of the time."""
    also: tuple[Condition, ...]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return (*self.along, *self.also)


def ways_to(wanted: HistorySearch, models: Sequence[str] | None) -> list[Way]:
    """The ways that lead to all that is *wanted*, each row by one of them.

    The index is chosen here and not by SQLite, which knows nothing of how often a value occurs:
    the one whose values occur least. *models* are the names that the part of a name means; None:
    too many, or none is asked for.
    """
    if models is not None and not models:
        return []  # nothing was asked for that has such a name
    named = None if models is None else [_is("model", model) for model in models]
    asked = {
        "request_id": _single("request_id", wanted.request_id),
        "error_code": _single("error_code", wanted.error_code),
        "api_key_id": _single("api_key_id", wanted.api_key_id),
        "client": _single("client_group", group_of(wanted.client)),
        "model": named,
        "endpoint_id": _single("endpoint_id", wanted.endpoint_id),
        "outcome": [_is("outcome", outcome.value) for outcome in wanted.outcomes] or None,
    }
    best = next((name for name, tests in asked.items() if tests is not None), None)
    within, also = tuple(_times(wanted)), (*_alternatives(asked, best), *_rest(wanted, models))
    if best is None:
        return [Way(within, also)]
    return [Way((along, *within), also) for along in asked[best] or ()]


def _single(column: str, value: str | None) -> list[Condition] | None:
    return None if value is None else [_is(column, value)]


def _is(column: str, value: Value) -> Condition:
    return Condition(HISTORY[column] == VALUE, (value,))


def _times(wanted: HistorySearch) -> Iterator[Condition]:
    if wanted.time_from is not None:
        yield Condition(HISTORY.timestamp >= VALUE, (instant_text(wanted.time_from),))
    if wanted.time_to is not None:
        yield Condition(HISTORY.timestamp <= VALUE, (instant_text(wanted.time_to),))


def _alternatives(
    asked: dict[str, list[Condition] | None], best: str | None
) -> Iterator[Condition]:
    for name, tests in asked.items():
        if tests is not None and name != best:
            values = tuple(value for test in tests for value in test.values)
            yield Condition(Criterion.any([test.test for test in tests]), values)


def _rest(wanted: HistorySearch, models: Sequence[str] | None) -> Iterator[Condition]:
    """What no index is for."""
    if wanted.client is not None and wanted.client != group_of(wanted.client):
        yield _is("client_ip", wanted.client)
    if wanted.model_part is not None and models is None:
        yield Condition(holds(HISTORY.model), part(wanted.model_part))
    if wanted.request_type is not None:
        yield _is("request_type", REQUEST_TYPES[wanted.request_type])
    if wanted.text is not None:
        bodies = Query.from_(DETAILS).select(1).where(DETAILS.sequence == HISTORY.sequence)
        kept = [holds(DETAILS.request_body), holds(DETAILS.response_body)]
        within = ExistsCriterion(bodies.where(Criterion.any(kept)))  # type: ignore[no-untyped-call]
        columns = [holds(HISTORY[column]) for column in SEARCHED]
        looked_for = part(wanted.text)
        yield Condition(
            Criterion.any([*columns, (HISTORY.has_bodies == VALUE) & within]),
            # the 1 that is selected is bound, too, before what is looked for in the bodies
            (*looked_for * len(columns), 1, 1, *looked_for * len(kept)),
        )


_MODELS = Table("history_models")
_SIZE = Table("history_size")
_MATCHING_MODELS = sql(
    Query.from_(_MODELS)
    .select(_MODELS.model)
    .where(holds(_MODELS.model))
    .orderby(_MODELS.model)
    .limit(NUMBER)
)
_SELECT_SIZE = sql(Query.from_(_SIZE).select(_SIZE.requests, _SIZE.bytes))


def matching_models(statements: Transaction, model_part: str) -> list[str] | None:
    """The models whose names hold *model_part*; None: too many. Raises sqlite3.Error."""
    rows = statements.rows(_MATCHING_MODELS, *part(model_part), MOST_MODELS + 1)
    return None if len(rows) > MOST_MODELS else [row["model"] for row in rows]


def size(statements: Transaction) -> tuple[int, int]:
    """How many requests there are, and how many bytes they take. Raises sqlite3.Error."""
    (row,) = statements.rows(_SELECT_SIZE)
    return int(row["requests"]), int(row["bytes"])


def slice_of(
    statements: Transaction, way: Way, after: Place, most: int
) -> tuple[list[Place], Place | None]:
    """The first rows along *way* that come after a place, *most* of them, out of one slice.

    With them the place where the next slice begins; None if this was the last. Raises
    sqlite3.Error.
    """
    end = _end_of_slice(statements, way, after, SLICE) if way.also else None
    text, values = page_statement(way, after, end, most)
    places = [Place(*row.values()) for row in statements.each(text, *values)]
    return places, end if len(places) < most else None


def counted(statements: Transaction, way: Way, most: int) -> tuple[int, bool]:
    """How many rows there are along *way*, and is that exact. Raises sqlite3.Error."""
    end = _end_of_slice(statements, way, NEWEST, MOST_COUNTED_IN)
    text, values = count_statement(way, end, most + 1)
    (row,) = statements.rows(text, *values)
    found = int(row["total"])
    return min(found, most), end is None and found <= most


def page_statement(
    way: Way, after: Place, end: Place | None, most: int
) -> tuple[str, tuple[Value, ...]]:
    """The statement for the rows between two places, and its values."""
    query, values = _between(way.conditions, after, end)
    found = _newest_first(query.select("timestamp", "sequence")).limit(NUMBER)
    return sql(found), (*values, most)


def count_statement(way: Way, end: Place | None, most: int) -> tuple[str, tuple[Value, ...]]:
    """The statement that counts them, and its values."""
    query, values = _between(way.conditions, NEWEST, end)
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
