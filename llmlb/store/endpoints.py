"""Which endpoints there are, after a restart as before it."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence

from pypika import Query, Table

from llmlb.errors import Conflict, NotFound
from llmlb.store.database import Database, Transaction
from llmlb.store.rows import (
    ALL,
    CHOSEN,
    ENDPOINTS,
    MODEL_COLUMNS,
    OBSERVED,
    endpoint_of,
    model_of,
    model_rows,
    opened,
    sealed_values,
    values,
)
from llmlb.store.secret_box import SecretBox
from llmlb.store.sql import VALUE, insert, sql, update_by
from llmlb.types import Endpoint, EndpointId, Model

_MODELS = Table("endpoint_models")

_SELECT = sql(
    Query.from_(ENDPOINTS).select(*ALL).orderby(ENDPOINTS.registered_at, ENDPOINTS.sequence)
)
_SELECT_MODELS = sql(Query.from_(_MODELS).select(*MODEL_COLUMNS).orderby(_MODELS.position))
_INSERT = sql(insert(ENDPOINTS, tuple(ALL)))
_INSERT_MODEL = sql(insert(_MODELS, MODEL_COLUMNS))
_CHOOSE = sql(update_by(ENDPOINTS, "id", tuple(CHOSEN)))
_OBSERVE = sql(update_by(ENDPOINTS, "id", tuple(OBSERVED)))
_DELETE = sql(Query.from_(ENDPOINTS).delete().where(ENDPOINTS.id == VALUE))
_DELETE_MODELS = sql(Query.from_(_MODELS).delete().where(_MODELS.endpoint_id == VALUE))


class EndpointRepository:
    """The stored endpoints. Every method raises StoreUnavailable when the database refuses."""

    def __init__(self, database: Database, box: SecretBox) -> None:
        self._database = database
        self._box = box

    async def all(self) -> list[Endpoint]:
        """Every endpoint in order of registration, as not yet probed by this process."""
        return await self._database.read(lambda statements: _load(statements, self._box))

    async def insert(self, endpoint: Endpoint) -> None:
        """Keep *endpoint* with its models; durable on return. Raises Conflict."""

        def work(statements: Transaction) -> None:
            try:
                add_endpoint(statements, endpoint, self._box)
            except sqlite3.IntegrityError as error:
                raise _conflict(error, endpoint) from None

        await self._database.write(work)

    async def update(self, endpoint: Endpoint) -> None:
        """Keep what an operator may set of it; durable on return. Raises Conflict, NotFound."""

        def work(statements: Transaction) -> None:
            try:
                chosen = sealed_values(CHOSEN, endpoint, self._box)
                found = statements.run(_CHOOSE, *chosen, endpoint.id)
            except sqlite3.IntegrityError as error:
                raise _conflict(error, endpoint) from None
            if not found:
                raise NotFound("There is no such endpoint.")

        await self._database.write(work)

    async def delete(self, endpoint_id: EndpointId) -> None:
        """Forget the endpoint, its models and latencies; its statistics stay."""
        await self._database.write(lambda statements: statements.run(_DELETE, endpoint_id))

    async def save_observed(self, endpoints: Sequence[Endpoint]) -> None:
        """Keep what probes found, in one transaction; endpoints that are gone stay gone."""

        def save(statements: Transaction) -> None:
            for endpoint in endpoints:
                if statements.run(_OBSERVE, *values(OBSERVED, endpoint), endpoint.id):
                    _replace_models(statements, endpoint)

        await self._database.write(save)


def add_endpoint(statements: Transaction, endpoint: Endpoint, box: SecretBox) -> None:
    """Insert *endpoint* and its models. Raises sqlite3.IntegrityError if it is there."""
    statements.run(_INSERT, *sealed_values(ALL, endpoint, box))
    _replace_models(statements, endpoint)


def _replace_models(statements: Transaction, endpoint: Endpoint) -> None:
    statements.run(_DELETE_MODELS, endpoint.id)
    for row in model_rows(endpoint):
        statements.run(_INSERT_MODEL, *row)


def _load(statements: Transaction, box: SecretBox) -> list[Endpoint]:
    models: defaultdict[str, list[Model]] = defaultdict(list)
    for row in statements.each(_SELECT_MODELS):
        models[row["endpoint_id"]].append(model_of(row))
    return [
        endpoint_of(opened(row, box), tuple(models[row["id"]])) for row in statements.each(_SELECT)
    ]


def _conflict(error: sqlite3.IntegrityError, endpoint: Endpoint) -> Conflict:
    for column, value in (("name", endpoint.name), ("base_url", endpoint.base_url)):
        if f"endpoints.{column}" in str(error):
            what = column.replace("base_url", "URL")
            return Conflict(
                f"There is already an endpoint with the {what} '{value}'.", param=column
            )
    return Conflict("There is already an endpoint with this id.", param="id")
