"""How the history is exported: page after page, none of it held, and never cut short in silence."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
import trio

from llmlb.errors import LbError
from llmlb.http.downstream import Downstream, Head
from llmlb.http.manage.history_json import csv_lines, whole_record_json
from llmlb.http.manage.query import reading
from llmlb.store.history import HistoryRepository, Row, place_of
from llmlb.store.history_search import NEWEST, HistorySearch

log = structlog.get_logger()

PAGE = 200
"""Requests that are read at once: some MiB, if bodies are kept."""

READ_LIMIT_S = 30.0
TAKING_LIMIT_S = 30.0
"""A client that takes nothing for so long is cut off."""


@dataclass(frozen=True, slots=True)
class Format:
    """How requests are written."""

    name: str
    content_type: str
    write: Callable[[Sequence[Row], bool], str]
    """Some requests; the flag says whether they are the first."""
    last: str = ""
    details: bool = True
    """Bodies and decisions are read, too."""


def _csv(rows: Sequence[Row], first: bool) -> str:  # noqa: FBT001
    return csv_lines(rows, header=first)


def _array(rows: Sequence[Row], first: bool) -> str:  # noqa: FBT001
    records = ",\n".join(map(_record, rows))
    between = "[" if first else ",\n" if rows else ""
    return f"{between}{records}"


def _lines(rows: Sequence[Row], first: bool) -> str:  # noqa: FBT001, ARG001 - all are alike
    return "".join(f"{_record(row)}\n" for row in rows)


def _record(row: Row) -> str:
    return json.dumps(whole_record_json(row), ensure_ascii=False)


FORMATS: Mapping[str, Format] = {
    "csv": Format("csv", "text/csv; charset=utf-8", _csv, details=False),
    "json": Format("json", "application/json", _array, last="]\n"),
    "jsonl": Format("jsonl", "application/x-ndjson", _lines),
}


@dataclass(frozen=True, slots=True)
class Export:
    """One export. Between two pages it holds nothing: neither the database nor a transaction."""

    history: HistoryRepository
    wanted: HistorySearch
    format: Format
    request_id: str

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer, lower-case names."""
        return {
            "content-type": self.format.content_type,
            "content-disposition": f'attachment; filename="request_history.{self.format.name}"',
            "x-request-id": self.request_id,
        }

    async def page(self, before: Sequence[Row] = ()) -> list[Row]:
        """The first page, or the one after *before*. Raises StoreUnavailable."""
        with reading("The request history", READ_LIMIT_S, "ask for less at once"):
            return await self.history.search(
                self.wanted,
                PAGE,
                after=place_of(before[-1]) if before else NEWEST,
                details=self.format.details,
            )

    async def run(self, rows: Sequence[Row], downstream: Downstream) -> None:
        """Send all of it, of which *rows* are the first page. Raises PeerGone.

        Where a page cannot be read, the answer is broken off, so that nobody takes it for whole.
        """
        try:
            whole = await self._sent(rows, downstream)
        except LbError as error:
            log.warning("an export of the history was broken off", reason=str(error))
            whole = False
        if not whole:
            downstream.abort()

    async def _sent(self, rows: Sequence[Row], downstream: Downstream) -> bool:
        """Whether the client has taken all. Raises PeerGone, StoreUnavailable."""
        first, last = True, False
        while not last:
            last = len(rows) < PAGE
            data = self.format.write(rows, first) + (self.format.last if last else "")
            with trio.move_on_after(TAKING_LIMIT_S) as taking:
                if first:
                    await downstream.begin(Head(200, tuple(self.headers.items())))
                if data:
                    await downstream.send(data.encode())
            if taking.cancelled_caught:
                return False
            if not last:
                rows, first = await self.page(rows), False
        return True
