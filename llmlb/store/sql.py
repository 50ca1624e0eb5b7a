"""How statements are written: by PyPika, once, at import time; their values are always bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pypika import Criterion, QmarkParameter, Query, Table
from pypika.queries import CreateQueryBuilder, QueryBuilder
from pypika.terms import Term

VALUE = QmarkParameter()
"""Where a value will be bound."""

NUMBER = cast("int", VALUE)
"""The same in LIMIT and OFFSET, where PyPika declares that it takes nothing else."""


def sql(query: QueryBuilder | CreateQueryBuilder) -> str:
    """The text of *query*; a value that slipped into it becomes a parameter, never text."""
    return str(query.get_sql(parameter=QmarkParameter()))


class Beside(Criterion):
    """A test for which SQLite looks for no index, as for whatever has a `+` before it.

    https://www.sqlite.org/optoverview.html#disqualifying_where_clause_terms_using_unary_
    """

    def __init__(self, test: Term) -> None:
        super().__init__()
        self._test = test

    def get_sql(self, **options: object) -> str:
        """The text of it, as PyPika asks for it."""
        return f"+({self._test.get_sql(**options)})"


def insert(table: Table, columns: Sequence[str]) -> QueryBuilder:
    """A row, one parameter per column."""
    return Query.into(table).columns(*columns).insert(*(VALUE for _ in columns))


def update_by(table: Table, key: str, columns: Sequence[str]) -> QueryBuilder:
    """New values, one parameter per column, for the row whose key is the last parameter."""
    query = Query.update(table)
    for column in columns:
        query = query.set(table[column], VALUE)
    return query.where(table[key] == VALUE)
