"""Which endpoint made which stored response, over restarts."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from pypika import Order, Query, Table

from llmlb.store.columns import instant_of, instant_text
from llmlb.store.database import Database, Transaction
from llmlb.store.sql import VALUE, insert, sql
from llmlb.types import MOST_STORED_RESPONSES, EndpointId, Whereabouts

log = structlog.get_logger()

_RESPONSES = Table("stored_responses")
_COLUMNS = ("id", "endpoint_id", "owner", "made_at")

_SELECT = sql(Query.from_(_RESPONSES).select(*_COLUMNS).orderby(_RESPONSES.sequence))
_INSERT = sql(insert(_RESPONSES, _COLUMNS))
_DELETE = sql(Query.from_(_RESPONSES).delete().where(_RESPONSES.id == VALUE))
_newest_too_many = (
    Query.from_(_RESPONSES)
    .select(_RESPONSES.sequence)
    .orderby(_RESPONSES.sequence, order=Order.desc)
    .limit(1)
    .offset(MOST_STORED_RESPONSES)
)
# By sequence, not by made_at: a clock that was set back would make the newest the oldest. Where
# there are not too many, the inner SELECT finds nothing, and nothing is deleted.
_PRUNE = sql(Query.from_(_RESPONSES).delete().where(_RESPONSES.sequence <= _newest_too_many))


class ResponseRepository:
    """The whereabouts of stored responses. The journal writes them, with the statistics."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> dict[str, Whereabouts]:
        """Where each of them lives, in the order of making. Raises StoreUnavailable."""
        return await self._database.read(_load)


def write_responses(statements: Transaction, responses: Mapping[str, Whereabouts | None]) -> None:
    """Keep the newest words on *responses*, by id; None: it is gone. Raises sqlite3.Error.

    No more are kept than are remembered; the first ones written go first.
    """
    for response_id, whereabouts in responses.items():
        statements.run(_DELETE, response_id)
        if whereabouts is not None:
            made_at = instant_text(whereabouts.made_at)
            entry = (response_id, whereabouts.endpoint_id, whereabouts.owner, made_at)
            statements.run(_INSERT, *entry)
    if responses:
        statements.run(_PRUNE)


def _load(statements: Transaction) -> dict[str, Whereabouts]:
    found = {}
    for row in statements.each(_SELECT):
        made_at = instant_of(row["made_at"])
        if made_at is None:
            log.warning("unreadable stored response in the database", endpoint=row["endpoint_id"])
            continue
        endpoint_id = EndpointId(str(row["endpoint_id"]))
        found[str(row["id"])] = Whereabouts(endpoint_id, row["owner"], made_at)
    return found
