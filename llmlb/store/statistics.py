"""What the endpoints have done and how fast they were, added up over restarts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import structlog
from pypika import Query, Table

from llmlb.accounting import NOTHING_COUNTED, Totals
from llmlb.minutes import SHOWN_MINUTES, MinuteCount
from llmlb.store.accounts import write_key_uses
from llmlb.store.adding_up import COUNTS, counts_of, stored_sums
from llmlb.store.burst import Burst, StoredLatency
from llmlb.store.columns import instant_of, instant_text, number_of, whole_of
from llmlb.store.database import Database, Transaction
from llmlb.store.responses import write_responses
from llmlb.store.rows import ENDPOINTS
from llmlb.store.speeds import Speeds, read_speeds, write_speeds
from llmlb.store.sql import VALUE, insert, sql, update_by
from llmlb.store.sums import By, Group, Unit, Wanted
from llmlb.types import Api, EndpointId

log = structlog.get_logger()

_DAILY = Table("daily_statistics")
_LATENCIES = Table("model_latencies")
_DAILY_KEY = ("endpoint_id", "model", "api", "day")
_LATENCY_KEY = ("endpoint_id", "model", "api")
_USAGE = Table("daily_usage")
_USAGE_KEY = ("endpoint_id", "model", "api", "day", "key_id")
_MINUTES = Table("minute_counts")
_MINUTE_COUNTS = MinuteCount._fields


def _adding(table: Table, key: Sequence[str]) -> tuple[str, str]:
    """Add to a row of *table*, and begin one; both take the counts, then the key."""
    add = Query.update(table)
    for column in COUNTS:
        add = add.set(table[column], table[column] + VALUE)
    for column in key:
        add = add.where(table[column] == VALUE)
    return sql(add), sql(insert(table, (*COUNTS, *key)))


_ADD, _BEGIN = _adding(_DAILY, _DAILY_KEY)
_ADD_USAGE, _BEGIN_USAGE = _adding(_USAGE, _USAGE_KEY)
_SET_MINUTE = sql(update_by(_MINUTES, "minute", _MINUTE_COUNTS))
_BEGIN_MINUTE = sql(insert(_MINUTES, (*_MINUTE_COUNTS, "minute")))
_DROP_MINUTES = sql(
    Query.from_(_MINUTES).delete().where((_MINUTES.minute < VALUE) | (_MINUTES.minute > VALUE))
)
_READ_MINUTES = sql(
    Query.from_(_MINUTES).select("minute", *_MINUTE_COUNTS).orderby(_MINUTES.minute)
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
        # few groups, and no limit: these are what is counted on from
        wanted = Wanted(Unit.ATTEMPTS, (By.ENDPOINT,), limit=sys.maxsize)
        found = await self.sums(wanted)
        return {EndpointId(endpoint_id): totals for (endpoint_id,), totals in found.items()}

    async def all_requests(self) -> Totals:
        """All that clients have ever asked for."""
        return (await self.sums(Wanted(Unit.REQUESTS))).get((), NOTHING_COUNTED)

    async def sums(self, wanted: Wanted) -> dict[Group, Totals]:
        """What is written of what is *wanted*."""
        return await self._database.read(lambda statements: stored_sums(statements, wanted))

    async def speeds(
        self, since: date, *, endpoint_id: str | None, model: str | None, limit: int
    ) -> Speeds:
        """How fast *limit* models of endpoints were at most, from the UTC day *since* on."""
        return await self._database.read(
            lambda statements: read_speeds(statements, since, endpoint_id, model, limit)
        )

    async def minutes(self) -> list[tuple[datetime, MinuteCount]]:
        """How the requests of the last minutes ended, the oldest first."""
        return await self._database.read(_minutes)

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
        day = key.day.isoformat()
        row = (*counts_of(totals), key.endpoint_id, key.model, key.api.value, day)
        if not statements.run(_ADD, *row):
            statements.run(_BEGIN, *row)
    for asked, totals in burst.usage.items():
        day = asked.day.isoformat()
        of = (asked.endpoint_id, asked.model, asked.api.value, day, asked.key_id)
        row = (*counts_of(totals), *of)
        if not statements.run(_ADD_USAGE, *row):
            statements.run(_BEGIN_USAGE, *row)
    write_speeds(statements, burst.speeds)
    _write_minutes(statements, burst.minutes)
    for endpoint_id, latency_ms in burst.latencies.items():
        statements.run(_SET_LATENCY, latency_ms, endpoint_id)
    if not burst.model_latencies:
        return
    present = {row["id"] for row in statements.each(_IDS)}
    for (endpoint_id, model, api), latency_ms in burst.model_latencies.items():
        entry = (latency_ms, endpoint_id, model, api.value)
        if endpoint_id in present and not statements.run(_SET_MODEL_LATENCY, *entry):
            statements.run(_BEGIN_MODEL_LATENCY, *entry)


def _write_minutes(statements: Transaction, minutes: Mapping[datetime, MinuteCount]) -> None:
    if not minutes:
        return
    for minute, counts in minutes.items():
        row = (*counts, instant_text(minute))
        if not statements.run(_SET_MINUTE, *row):
            statements.run(_BEGIN_MINUTE, *row)
    # on both sides: a clock that is put back leaves minutes behind that never were
    hour = timedelta(minutes=SHOWN_MINUTES)
    bounds = (min(minutes) - hour, max(minutes) + hour)
    statements.run(_DROP_MINUTES, *map(instant_text, bounds))


def _minutes(statements: Transaction) -> list[tuple[datetime, MinuteCount]]:
    found = []
    for row in statements.each(_READ_MINUTES):
        minute, counts = instant_of(row["minute"]), [whole_of(row[c]) for c in _MINUTE_COUNTS]
        if minute is not None and None not in counts:
            found.append((minute, MinuteCount(*(count or 0 for count in counts))))
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
