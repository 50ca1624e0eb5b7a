"""How fast endpoints were: sketches of each day's attempts, and the percentiles of many days."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache

import structlog
from hdrh.codec import HdrCookieException, HdrLengthException
from hdrh.histogram import HdrHistogram
from pypika import Order, Query, Table
from pypika import functions as fn
from pypika.queries import QueryBuilder

from llmlb.accounting import Speed
from llmlb.store.burst import TimedAttempt
from llmlb.store.columns import Value
from llmlb.store.database import Transaction
from llmlb.store.sql import VALUE, insert, sql
from llmlb.types import EndpointId

log = structlog.get_logger()

PERCENTILES = (50, 90, 95, 99)

MOST_ROWS = 50_000
"""Kept; a row is one model of one endpoint on one day, and takes some 2 KB."""
MOST_MERGED = 2_000
"""Rows of one answer, the latest days first; they take half a second."""

STEP = 0.01
"""Of a ms, or of a token per second: what is finer is not told apart."""
DIGITS = 2
RELATIVE_ERROR = 1 / 128
"""HdrHistogram keeps 128 steps for each power of two where two digits are asked for."""
_HIGHEST = 2**32
"""In steps: 12 hours, or more tokens per second than any machine makes."""

_KINDS = ("latency", "time_to_first_token", "tokens_per_s")
"""The columns of Speed, in its order."""
_KEY = ("day", "endpoint_id", "model")

_SPEEDS = Table("daily_speeds")


def _where_key(query: QueryBuilder) -> QueryBuilder:
    for column in _KEY:
        query = query.where(_SPEEDS[column] == VALUE)
    return query


_READ = sql(_where_key(Query.from_(_SPEEDS).select(*_KINDS)))
_set = Query.update(_SPEEDS)
for _column in _KINDS:
    _set = _set.set(_SPEEDS[_column], VALUE)
_REPLACE = sql(_where_key(_set))
_BEGIN = sql(insert(_SPEEDS, (*_KINDS, *_KEY)))
_LAST = sql(Query.from_(_SPEEDS).select(fn.Max(_SPEEDS.sequence).as_("last")))
_DROP = sql(Query.from_(_SPEEDS).delete().where(_SPEEDS.sequence <= VALUE))


class Sketch:
    """A number of values, of which only percentiles will be asked. Mergeable.

    A percentile is at most `RELATIVE_ERROR` and `STEP` above the value that holds its rank.
    """

    __slots__ = ("_histogram",)

    def __init__(self, histogram: HdrHistogram | None = None) -> None:
        self._histogram = histogram or HdrHistogram(1, _HIGHEST, DIGITS, b64_wrap=False)

    def add(self, value: float) -> None:
        """Take in *value*; one that is out of all bounds counts as the bound."""
        self._histogram.record_value(int(min(max(value / STEP, 1), _HIGHEST)))

    def merge(self, other: Sketch) -> None:
        self._histogram.add(other._histogram)

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    def percentiles(self) -> dict[int, float]:
        """The value of each of `PERCENTILES`; nothing if there are no values."""
        if not self.count:
            return {}
        found = self._histogram.get_percentile_to_value_dict(list(PERCENTILES))
        return {percentile: found[percentile] * STEP for percentile in PERCENTILES}

    def encoded(self) -> bytes:
        """HdrHistogram's own format, which has a checksum of its own."""
        return bytes(self._histogram.encode())

    @classmethod
    def decoded(cls, said: object) -> Sketch | None:
        """What `encoded` made; None where it is something else."""
        if not isinstance(said, bytes) or not said:
            return None
        try:
            found = HdrHistogram.decode(said, b64_wrap=False)
        except (zlib.error, ValueError, HdrCookieException, HdrLengthException, IndexError):
            return None
        ours = (found.lowest_trackable_value, found.highest_trackable_value)
        if (*ours, found.significant_figures) != (1, _HIGHEST, DIGITS):
            return None
        found.encoder.b64_wrap = False
        return cls(found)


@dataclass(frozen=True, slots=True)
class Spread:
    """How one kind of values was spread; by percentile, nothing if there are none."""

    count: int
    percentiles: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class SpeedSpread:
    """How fast one model of one endpoint was."""

    endpoint_id: EndpointId
    model: str
    latency_ms: Spread
    time_to_first_token_ms: Spread
    tokens_per_s: Spread


@dataclass(frozen=True, slots=True)
class Speeds:
    """All that were asked for."""

    found: tuple[SpeedSpread, ...]
    """Of the most attempts first."""
    left_out: bool
    """There was more than is merged at once; the days that are left out are the earliest."""


def write_speeds(statements: Transaction, speeds: Iterable[TimedAttempt]) -> None:
    """Add *speeds* to the sketches of their days."""
    by_key: defaultdict[tuple[str, str, str], list[Speed]] = defaultdict(list)
    for endpoint_id, model, day, speed in speeds:
        by_key[day.isoformat(), endpoint_id, model].append(speed)
    begun = False
    for key, values in by_key.items():
        rows = statements.rows(_READ, *key)
        sketches: dict[str, Sketch | None] = dict.fromkeys(_KINDS)
        for row in rows:
            sketches = {kind: _read(row[kind], key, kind) for kind in _KINDS}
        for speed in values:
            for kind, value in zip(_KINDS, speed, strict=True):
                if value is not None:
                    sketch = sketches[kind] = sketches[kind] or Sketch()
                    sketch.add(value)
        blobs: list[Value] = [None if s is None else s.encoded() for s in sketches.values()]
        statements.run(_REPLACE if rows else _BEGIN, *blobs, *key)
        begun = begun or not rows
    if begun:
        (row,) = statements.rows(_LAST)
        statements.run(_DROP, row["last"] - MOST_ROWS)


def read_speeds(
    statements: Transaction, since: date, endpoint_id: str | None, model: str | None, limit: int
) -> Speeds:
    """The percentiles from *since* on, of *limit* models of endpoints at most."""
    asked = {"endpoint_id": endpoint_id, "model": model}
    filters = {column: value for column, value in asked.items() if value is not None}
    merged: dict[tuple[str, str], dict[str, Sketch]] = {}
    rows = statements.rows(_statement(tuple(filters)), since.isoformat(), *filters.values())
    for row in rows[:MOST_MERGED]:
        sums = merged.setdefault((row["endpoint_id"], row["model"]), {})
        for kind in _KINDS:
            sketch = _read(row[kind], [row[column] for column in _KEY], kind)
            if sketch is None:
                continue
            if kind in sums:
                sums[kind].merge(sketch)
            else:
                sums[kind] = sketch
    found = sorted(_spreads(merged), key=lambda s: (-s.latency_ms.count, s.endpoint_id, s.model))
    return Speeds(tuple(found[:limit]), len(rows) > MOST_MERGED or len(found) > limit)


def _spreads(merged: Mapping[tuple[str, str], Mapping[str, Sketch]]) -> Iterator[SpeedSpread]:
    for (endpoint_id, model), sketches in merged.items():
        spreads = (sketches.get(kind) for kind in _KINDS)
        yield SpeedSpread(
            EndpointId(endpoint_id),
            model,
            *(Spread(0, {}) if s is None else Spread(s.count, s.percentiles()) for s in spreads),
        )


def _read(said: object, key: Iterable[str], kind: str) -> Sketch | None:
    sketch = Sketch.decoded(said)
    if sketch is None and said is not None:
        log.warning("an unreadable sketch in the database is left out", kind=kind, of=" ".join(key))
    return sketch


@cache
def _statement(filters: tuple[str, ...]) -> str:
    query = Query.from_(_SPEEDS).select(*_KEY, *_KINDS).where(_SPEEDS.day >= VALUE)
    for column in filters:
        query = query.where(_SPEEDS[column] == VALUE)
    return sql(query.orderby(_SPEEDS.day, order=Order.desc).limit(MOST_MERGED + 1))
