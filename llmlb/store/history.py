"""The stored history: written in bursts, searched by index, cut at its old end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pypika import Order, Query

from llmlb.records import RequestRecord
from llmlb.store.columns import instant_text
from llmlb.store.database import Database, Transaction
from llmlb.store.history_pruning import prune, shrink
from llmlb.store.history_rows import COLUMNS, DETAILS, HISTORY, add_row, row_of
from llmlb.store.history_search import MOST_COUNTED, HistorySearch, size, ways_to
from llmlb.store.history_ways import (
    NEWEST,
    Place,
    Way,
    first_of,
    merged,
    nth,
    numbers_in_slice,
    numbers_of,
    slice_of,
)
from llmlb.store.sql import VALUE, sql

Row = dict[str, Any]
"""A request by column, as it is stored: `sequence` and those of `history_rows.COLUMNS`."""

_rows = Query.from_(HISTORY).select("sequence", *COLUMNS)
_BY_ID = sql(_rows.where(HISTORY.id == VALUE))
_BY_PLACE = sql(_rows.where(HISTORY.sequence == VALUE))
_NEWEST_OF_REQUEST = sql(
    _rows.where(HISTORY.request_id == VALUE)
    .orderby(HISTORY.timestamp, HISTORY.sequence, order=Order.desc)
    .limit(1)
)
_DETAILS = sql(
    Query.from_(DETAILS)
    .select("decision", "request_body", "response_body")
    .where(DETAILS.sequence == VALUE)
)
_NO_DETAILS: Row = {"decision": None, "request_body": None, "response_body": None}


MOST_SLICES = 10
"""So many slices are looked through at once, by each way: about a second."""


@dataclass(frozen=True, slots=True)
class Found:
    """Some of what was looked for, and where to go on looking; None: there is no more."""

    rows: list[Row]
    next: Place | None


@dataclass(frozen=True, slots=True)
class Count:
    """How many requests a search finds; if not exact, at least so many."""

    requests: int
    exact: bool


class HistoryRepository:
    """The history on disk. Every method raises StoreUnavailable when the database refuses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, records: Sequence[RequestRecord]) -> None:
        """Write all of *records* or none; those whose ids are there already are left out."""

        def write(statements: Transaction) -> None:
            for record in records:
                add_row(statements, row_of(record))

        await self._database.write(write)

    async def prune(self, older_than: datetime | None, most_requests: int, most_bytes: int) -> int:
        """Delete the oldest requests, a chunk at most, and say how many were deleted.

        Those go that are *older_than*, and those beyond the bounds.
        """
        bound = None if older_than is None else instant_text(older_than)
        return await self._database.write(
            lambda statements: prune(statements, bound, most_requests, most_bytes)
        )

    async def shrink(self) -> int:
        """Give back some of the pages that are free, if they are many; how many that was.

        Only files know how that were made, or written anew, with `auto_vacuum`.
        """
        return await self._database.write(shrink)

    async def search(
        self,
        wanted: HistorySearch,
        most: int,
        *,
        after: Place = NEWEST,
        skip: int = 0,
        details: bool = False,
    ) -> Found:
        """The newest requests after a place, *most* of them, without the first *skip*.

        A slice of the history at a time, so that others get the database in between, and only so
        many slices at once, if none are skipped.
        """
        most_slices = MOST_SLICES if skip == 0 else math.inf
        direct, searched = await self._ways(wanted)
        wanted_rows = skip + most
        newest = await self._database.read(
            lambda statements: first_of(statements, direct, after, wanted_rows)
        )
        horizon: Place | None = None
        for way in searched:
            last = nth(newest, wanted_rows)
            places, end = await self._found(way, wanted_rows, after, last, most_slices)
            newest = merged(newest, places)
            horizon = max(filter(None, (horizon, end)), default=None)
        # beyond the horizon not all ways have been gone
        known = [place for place in newest if horizon is None or place >= horizon]
        places = known[skip:wanted_rows]
        rows = await self._database.read(lambda statements: _at(statements, places, details))
        return Found(rows, places[-1] if len(places) == most else horizon)

    async def count(self, wanted: HistorySearch) -> Count:
        """How many requests *wanted* finds, 10,000 at most: more are not counted."""
        if wanted.everything:
            requests, _ = await self.size()
            return Count(requests, exact=True)
        most = MOST_COUNTED + 1
        direct, searched = await self._ways(wanted)
        found = await self._database.read(lambda statements: numbers_of(statements, direct, most))
        exact = True
        for way in searched:
            if len(found) < most:
                more, whole = await self._counted(way, most)
                found |= more
                exact = exact and whole
        return Count(min(len(found), MOST_COUNTED), exact and len(found) < most)

    async def size(self) -> tuple[int, int]:
        """How many requests there are, and how many bytes they take."""
        return await self._database.read(size)

    async def find(self, row_id: str) -> Row | None:
        """The request of that id, with `decision`, `request_body` and `response_body`."""

        def find(statements: Transaction) -> Row | None:
            for row in statements.rows(_BY_ID, row_id):
                return row | _details(statements, row["sequence"])
            return None

        return await self._database.read(find)

    async def of_request(self, request_id: str) -> Row | None:
        """The newest request of that id, which a client may have chosen, as `find` tells it."""

        def find(statements: Transaction) -> Row | None:
            for row in statements.rows(_NEWEST_OF_REQUEST, request_id):
                return row | _details(statements, row["sequence"])
            return None

        return await self._database.read(find)

    async def _ways(self, wanted: HistorySearch) -> tuple[list[Way], list[Way]]:
        """Those that lead to nothing else, and those on which rows have to be looked through."""
        ways = await self._database.read(lambda statements: ways_to(statements, wanted))
        return [way for way in ways if not way.also], [way for way in ways if way.also]

    async def _found(
        self, way: Way, most: int, after: Place, last: Place | None, most_slices: float
    ) -> tuple[list[Place], Place | None]:
        """Where the first rows along *way* are, and where it was left before its end, if it was.

        There is no need to go beyond the place *last*.
        """
        places: list[Place] = []
        begin: Place | None = after
        slices = 0
        while begin is not None and begin != last and slices < most_slices:
            more, begin = await self._slice(way, begin, most - len(places), last)
            places += more
            slices += 1
        return places, begin

    async def _slice(
        self, way: Way, after: Place, most: int, last: Place | None
    ) -> tuple[list[Place], Place | None]:
        return await self._database.read(
            lambda statements: slice_of(statements, way, after, most, last)
        )

    async def _counted(self, way: Way, most: int) -> tuple[set[int], bool]:
        return await self._database.read(lambda statements: numbers_in_slice(statements, way, most))


def _at(statements: Transaction, places: Sequence[Place], details: bool) -> list[Row]:  # noqa: FBT001
    """The rows that are still there."""
    return [
        row | (_details(statements, place.sequence) if details else {})
        for place in places
        for row in statements.each(_BY_PLACE, place.sequence)
    ]


def _details(statements: Transaction, sequence: int) -> Row:
    found: Iterator[Row] = statements.each(_DETAILS, sequence)
    return next(found, _NO_DETAILS)
