"""How the history is exported: page after page, none of it held, and never cut short in silence."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
import trio

from llmlb.errors import LbError
from llmlb.http.downstream import Downstream, Head
from llmlb.http.manage.history_json import CSV_HEADER, csv_line, whole_record_json
from llmlb.http.manage.query import reading
from llmlb.store.history import Found, HistoryRepository, Row
from llmlb.store.history_search import HistorySearch
from llmlb.store.history_ways import NEWEST, Place

log = structlog.get_logger()

WHAT, REMEDY = "The request history", "ask for less at once"

PAGE = 200
"""Requests that are read at once: some MiB, if bodies are kept."""

PIECE_CHARS = 64 * 1024
"""So much of it is written and sent at once, or a little more: a page may be 100 MiB."""

TAKING_LIMIT_S = 30.0
"""A client that takes nothing for so long is cut off."""


@dataclass(frozen=True, slots=True)
class Format:
    """How requests are written: each by itself, and what stands around and between them."""

    name: str
    content_type: str
    write: Callable[[Row], str]
    begin: str = ""
    between: str = ""
    end: str = ""
    details: bool = True
    """Bodies and decisions are read, too."""


def _record(row: Row) -> str:
    return json.dumps(whole_record_json(row), ensure_ascii=False)


FORMATS: Mapping[str, Format] = {
    "csv": Format("csv", "text/csv; charset=utf-8", csv_line, begin=CSV_HEADER, details=False),
    "json": Format("json", "application/json", _record, begin="[", between=",\n", end="]\n"),
    "jsonl": Format("jsonl", "application/x-ndjson", lambda row: f"{_record(row)}\n"),
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

    async def page(self, after: Place = NEWEST) -> Found:
        """The first page, or the one after a place. Raises StoreUnavailable."""
        with reading(WHAT, REMEDY):
            return await self.history.search(
                self.wanted, PAGE, after=after, details=self.format.details
            )

    async def run(self, page: Found, downstream: Downstream) -> None:
        """Send all of it, of which *page* is the first. Raises PeerGone.

        Where a page cannot be read, the answer is broken off, so that nobody takes it for whole.
        """
        try:
            whole = await self._sent(page, downstream)
        except LbError as error:
            log.warning("an export of the history was broken off", reason=str(error))
            whole = False
        if not whole:
            downstream.abort()

    async def _sent(self, page: Found, downstream: Downstream) -> bool:
        """Whether the client has taken all. Raises PeerGone, StoreUnavailable."""
        with trio.move_on_after(TAKING_LIMIT_S) as taking:
            await downstream.begin(Head(200, tuple(self.headers.items())))
        if taking.cancelled_caught:
            return False
        data, between = self.format.begin, ""
        while True:
            for row in page.rows:
                data += between + self.format.write(row)
                between = self.format.between
                if len(data) >= PIECE_CHARS:
                    if not await self._taken(data, downstream):
                        return False
                    data = ""
            if page.next is None:
                return await self._taken(data + self.format.end, downstream)
            if not await self._taken(data, downstream):
                return False
            data, page = "", await self.page(page.next)

    async def _taken(self, data: str, downstream: Downstream) -> bool:
        """Whether the client takes *data* in time. Raises PeerGone."""
        if not data:
            return True
        with trio.move_on_after(TAKING_LIMIT_S) as taking:
            # half a surrogate pair, which an endpoint may have spelt, is spelt so again
            await downstream.send(data.encode(errors="backslashreplace"))
        return not taking.cancelled_caught
