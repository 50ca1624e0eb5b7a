"""How statements are written: by PyPika, once, at import time; their values are always bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pypika import QmarkParameter, Query, Table
from pypika.queries import CreateQueryBuilder, QueryBuilder

VALUE = QmarkParameter()
"""Where a value will be bound."""

NUMBER = cast("int", VALUE)
"""The same in LIMIT and OFFSET, where PyPika declares that it takes nothing else."""


def sql(query: QueryBuilder | CreateQueryBuilder) -> str:
    """The text of *query*; a value that slipped into it becomes a parameter, never text."""
    return str(query.get_sql(parameter=QmarkParameter()))


def insert(table: Table, columns: Sequence[str]) -> QueryBuilder:
    """A row, one parameter per column."""
    return Query.into(table).columns(*columns).insert(*(VALUE for _ in columns))


def update_by(table: Table, key: str, columns: Sequence[str]) -> QueryBuilder:
    """New values, one parameter per column, for the row whose key is the last parameter."""
    query = Query.update(table)
    for column in columns:
        query = query.set(table[column], VALUE)
    return query.where(table[key] == VALUE)
