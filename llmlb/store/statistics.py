"""What the endpoints have done and how fast they were, added up over restarts."""

from __future__ import annotations

import structlog
from pypika import CustomFunction, Query, Table

from llmlb.accounting import Totals
from llmlb.store.accounts import write_key_uses
from llmlb.store.burst import Burst, StoredLatency
from llmlb.store.columns import number_of
from llmlb.store.database import Database, Transaction
from llmlb.store.responses import write_responses
from llmlb.store.rows import ENDPOINTS
from llmlb.store.sql import VALUE, insert, sql, update_by
from llmlb.types import Api, EndpointId

log = structlog.get_logger()

_DAILY = Table("daily_statistics")
_LATENCIES = Table("model_latencies")
_DAILY_KEY = ("endpoint_id", "model", "api", "day")
_LATENCY_KEY = ("endpoint_id", "model", "api")
_COUNTS = (
    "total_requests",
    "successful_requests",
    "failed_requests",
    "cancelled_requests",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "total_duration_ms",
)

# SUM fails when endpoints claim more tokens than 64 bits hold; TOTAL adds in floating point.
_TOTAL = CustomFunction("TOTAL", ["column"])

_add = Query.update(_DAILY)
for _column in _COUNTS:
    _add = _add.set(_DAILY[_column], _DAILY[_column] + VALUE)
for _column in _DAILY_KEY:
    _add = _add.where(_DAILY[_column] == VALUE)
_ADD = sql(_add)
_BEGIN = sql(insert(_DAILY, (*_COUNTS, *_DAILY_KEY)))
_TOTALS = sql(
    Query.from_(_DAILY)
    .select(_DAILY.endpoint_id, *(_TOTAL(_DAILY[column]).as_(column) for column in _COUNTS))
    .groupby(_DAILY.endpoint_id)
)
_SET_LATENCY = sql(update_by(ENDPOINTS, "id", ("latency_ms",)))
_set = Query.update(_LATENCIES).set(_LATENCIES.latency_ms, VALUE)
for _column in _LATENCY_KEY:
    _set = _set.where(_LATENCIES[_column] == VALUE)
_SET_MODEL_LATENCY = sql(_set)
_BEGIN_MODEL_LATENCY = sql(insert(_LATENCIES, ("latency_ms", *_LATENCY_KEY)))
_ENDPOINT_LATENCIES = sql(
    Query.from_(ENDPOINTS)
    .select(ENDPOINTS.id, ENDPOINTS.latency_ms)
    .where(ENDPOINTS.latency_ms.notnull())
    .orderby(ENDPOINTS.sequence)
)
_MODEL_LATENCIES = sql(
    Query.from_(_LATENCIES).select(*_LATENCY_KEY, "latency_ms").orderby(*_LATENCY_KEY)
)
_IDS = sql(Query.from_(ENDPOINTS).select(ENDPOINTS.id))


class StatisticsRepository:
    """Totals and latencies. Every method raises StoreUnavailable when the database refuses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def totals(self) -> dict[EndpointId, Totals]:
        """All that each endpoint has ever done, deleted ones too."""
        return await self._database.read(_totals)

    async def latencies(self) -> list[StoredLatency]:
        """The EMAs of endpoints and of their models, as last written."""
        return await self._database.read(_latencies)

    async def write(self, burst: Burst) -> None:
        """Write all of *burst* or nothing. Latencies of endpoints that are gone are left out."""
        await self._database.write(lambda statements: _write(statements, burst))


def _write(statements: Transaction, burst: Burst) -> None:
    write_responses(statements, burst.responses)
    write_key_uses(statements, burst.key_uses)
    for key, totals in burst.totals.items():
        counts = (getattr(totals, column) for column in _COUNTS)
        day = key.day.isoformat()
        row = (*counts, key.endpoint_id, key.model, key.api.value, day)
        if not statements.run(_ADD, *row):
            statements.run(_BEGIN, *row)
    for endpoint_id, latency_ms in burst.latencies.items():
        statements.run(_SET_LATENCY, latency_ms, endpoint_id)
    if not burst.model_latencies:
        return
    present = {row["id"] for row in statements.each(_IDS)}
    for (endpoint_id, model, api), latency_ms in burst.model_latencies.items():
        entry = (latency_ms, endpoint_id, model, api.value)
        if endpoint_id in present and not statements.run(_SET_MODEL_LATENCY, *entry):
            statements.run(_BEGIN_MODEL_LATENCY, *entry)


def _totals(statements: Transaction) -> dict[EndpointId, Totals]:
    found = {}
    for row in statements.each(_TOTALS):
        counts = {column: int(row[column]) for column in _COUNTS[:-1]}
        found[EndpointId(row["endpoint_id"])] = Totals(
            **counts, total_duration_ms=row["total_duration_ms"]
        )
    return found


def _latencies(statements: Transaction) -> list[StoredLatency]:
    found = []
    for row in statements.each(_ENDPOINT_LATENCIES):
        latency_ms = number_of(row["latency_ms"])
        if latency_ms is not None:  # the endpoint itself says in the log what is wrong
            found.append(StoredLatency(EndpointId(row["id"]), None, None, latency_ms))
    known = {api.value for api in Api}
    for row in statements.each(_MODEL_LATENCIES):
        latency_ms = number_of(row["latency_ms"])
        if latency_ms is None or row["api"] not in known:
            log.warning("unreadable latency in the database", endpoint=row["endpoint_id"])
            continue
        endpoint_id, api = EndpointId(row["endpoint_id"]), Api(row["api"])
        found.append(StoredLatency(endpoint_id, row["model"], api, latency_ms))
    return found
