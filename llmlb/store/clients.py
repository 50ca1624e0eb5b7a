"""Who asks, how often and for what: figures of the history by client.

A client is an address of IPv4, or a /64 of IPv6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from pypika import Order, Query
from pypika import functions as fn
from pypika.queries import QueryBuilder
from pypika.terms import Term

from llmlb.store.columns import Value, instant_text
from llmlb.store.database import Database, Transaction
from llmlb.store.history_rows import HISTORY
from llmlb.store.sql import NUMBER, VALUE, sql
from llmlb.store.text_search import beginning, holds

MOST_MODELS = 50
"""That are told apart; those asked for least are left out."""

MOST_KEYS = 100

SPANS_AT_ONCE = 24

Span = tuple[datetime, datetime]
"""From an instant on, and before another."""

MOST_LOOKED_AT = 1_000_000
"""The newest requests, of which all figures are."""

_AT, _CLIENT = HISTORY.timestamp, HISTORY.client_group
_TOTAL = fn.Count("*").as_("total")


def _different(column: Term) -> Term:
    """How many different values there are."""
    different: Term = fn.Count(column).distinct()  # type: ignore[no-untyped-call]
    return different.as_("total")


# A query within the query, for else SQLite would rather go through all rows in the order of what
# they are grouped by than through those of a day.
_newest = (
    Query.from_(HISTORY)
    .select(_AT, _CLIENT, HISTORY.model)
    .where(_CLIENT.isnotnull())
    .where(_AT >= VALUE)
    .where(_AT < VALUE)
    .orderby(_AT, order=Order.desc)
    .limit(NUMBER)
    .as_("newest")
)


def _of_all(*columns: Term) -> QueryBuilder:
    """Of the requests between two instants, so many at most."""
    return Query.from_(_newest).select(*columns)


def _of_one(*columns: Term) -> QueryBuilder:
    """Of one client's requests between two instants."""
    of_it = Query.from_(HISTORY).select(*columns).where(_CLIENT == VALUE)
    return of_it.where(_AT >= VALUE).where(_AT < VALUE)


def _ranked(query: QueryBuilder, by: Term) -> QueryBuilder:
    """By the values of a column, the most frequent first."""
    return query.groupby(by).orderby(_TOTAL, order=Order.desc).orderby(by).limit(NUMBER)


_CLIENT_OF_ALL, _AT_OF_ALL = _newest.client_group, _newest.timestamp
_RANKING = sql(
    _ranked(
        _of_all(_CLIENT_OF_ALL, _TOTAL, fn.Max(_AT_OF_ALL).as_("last_seen")).where(
            holds(_CLIENT_OF_ALL)
        ),
        _CLIENT_OF_ALL,
    ).offset(NUMBER)
)
_CLIENTS = sql(_of_all(_different(_CLIENT_OF_ALL)).where(holds(_CLIENT_OF_ALL)))
_COUNT = sql(_of_all(_TOTAL))
# A question for each hour: to group by a part of the time would have SQLite sort all rows.
_within = Query.from_(HISTORY).where(_AT >= VALUE).where(_AT < VALUE)
_IN_SPAN = sql(_within.select(_TOTAL).where(_CLIENT.isnotnull()))
_IN_SPAN_OF_ONE = sql(_within.select(_TOTAL).where(_CLIENT == VALUE))
_CLIENTS_IN_SPAN = sql(_within.select(_different(_CLIENT)).where(_CLIENT.isnotnull()))
_MODELS = sql(_ranked(_of_all(_newest.model, _TOTAL), _newest.model))
_COUNT_OF_ONE = sql(_of_one(_TOTAL))
_KEY_COUNT = sql(_of_one(_different(HISTORY.api_key_id)))
_MODELS_OF_ONE = sql(_ranked(_of_one(HISTORY.model, _TOTAL), HISTORY.model))
_SPAN = sql(_of_one(_TOTAL, fn.Min(_AT).as_("first_seen"), fn.Max(_AT).as_("last_seen")))
_with_a_key = _of_one(HISTORY.api_key_id, _TOTAL).where(HISTORY.api_key_id.isnotnull())
_KEYS = sql(_ranked(_with_a_key, HISTORY.api_key_id))


@dataclass(frozen=True, slots=True)
class RankedClient:
    """A client that asked for something in a span."""

    client: str
    requests: int
    recent_requests: int
    """In its last part."""
    last_seen: str
    keys: int
    """With so many API keys."""


@dataclass(frozen=True, slots=True)
class ModelShare:
    """How often one model was asked for, and which part of all requests that is (0 to 1)."""

    model: str
    requests: int
    part: float


@dataclass(frozen=True, slots=True)
class ClientDetail:
    """What one client did in a span."""

    requests: int
    first_seen: str | None
    last_seen: str | None
    models: Sequence[ModelShare]


class ClientRepository:
    """The figures of clients. Every method raises StoreUnavailable when the database refuses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ranking(
        self, span: Span, recent: datetime, *, prefix: str, most: int, skip: int
    ) -> tuple[list[RankedClient], int]:
        """The clients that asked most often in *span*, and how many there are in all.

        Of those that begin with *prefix*. *recent* is where the last part of the span begins.
        """

        def ranking(statements: Transaction) -> tuple[list[RankedClient], int]:
            begin, end = _bounds(span)
            of_all = (begin, end, MOST_LOOKED_AT, *beginning(prefix))
            ranked = []
            for row in statements.rows(_RANKING, *of_all, most, skip):
                client = str(row["client_group"])
                ranked.append(
                    RankedClient(
                        client,
                        row["total"],
                        _number(statements, _COUNT_OF_ONE, client, instant_text(recent), end),
                        row["last_seen"],
                        _number(statements, _KEY_COUNT, client, begin, end),
                    )
                )
            return ranked, _number(statements, _CLIENTS, *of_all)

        return await self._database.read(ranking)

    async def clients_in(self, spans: Sequence[Span]) -> list[int]:
        """How many clients there were in each of *spans*."""
        return await self._in_each(spans, _CLIENTS_IN_SPAN)

    async def requests_in(self, spans: Sequence[Span], client: str | None) -> list[int]:
        """How many requests of *client*, or of all, there were in each of *spans*."""
        if client is None:
            return await self._in_each(spans, _IN_SPAN)
        return await self._in_each(spans, _IN_SPAN_OF_ONE, client)

    async def _in_each(self, spans: Sequence[Span], statement: str, *values: Value) -> list[int]:
        """A day's worth of spans at a time, so that others get the database in between."""

        def some(statements: Transaction, some_spans: Sequence[Span]) -> list[int]:
            bounds = map(_bounds, some_spans)
            return [_number(statements, statement, *bound, *values) for bound in bounds]

        found: list[int] = []
        for begin in range(0, len(spans), SPANS_AT_ONCE):
            these = spans[begin : begin + SPANS_AT_ONCE]
            found += await self._database.read(partial(some, some_spans=these))
        return found

    async def models(self, span: Span) -> list[ModelShare]:
        """The models that were asked for most often."""
        of_all = (*_bounds(span), MOST_LOOKED_AT)
        return await self._database.read(
            lambda s: _shares(s, _MODELS, *of_all, total=_number(s, _COUNT, *of_all))
        )

    async def detail(self, client: str, span: Span) -> ClientDetail:
        """What *client* did."""

        def detail(statements: Transaction) -> ClientDetail:
            whose = (client, *_bounds(span))
            (found,) = statements.rows(_SPAN, *whose)
            total = int(found["total"])
            return ClientDetail(
                total,
                found["first_seen"],
                found["last_seen"],
                _shares(statements, _MODELS_OF_ONE, *whose, total=total),
            )

        return await self._database.read(detail)

    async def keys(self, client: str, span: Span) -> Mapping[str, int]:
        """How often *client* asked with which API key, by its id, the most frequent first."""

        def keys(statements: Transaction) -> Mapping[str, int]:
            rows = statements.each(_KEYS, client, *_bounds(span), MOST_KEYS)
            return {str(row["api_key_id"]): int(row["total"]) for row in rows}

        return await self._database.read(keys)


def _bounds(span: Span) -> tuple[str, str]:
    since, until = span
    return instant_text(since), instant_text(until)


def _number(statements: Transaction, statement: str, *values: Value) -> int:
    (row,) = statements.rows(statement, *values)
    return int(row["total"])


def _shares(
    statements: Transaction, statement: str, *values: Value, total: int
) -> list[ModelShare]:
    rows = statements.each(statement, *values, MOST_MODELS)
    return [ModelShare(row["model"], row["total"], row["total"] / (total or 1)) for row in rows]
