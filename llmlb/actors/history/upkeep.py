"""What is done to the stored history beside adding to it: its oldest part goes, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog
import trio

from llmlb.errors import LbError
from llmlb.records import RequestRecord

log = structlog.get_logger()

PRUNE_EVERY_S = 60.0

BREATH_S = 0.01
"""Between two chunks, for others who wait for the database."""


class HistoryStore(Protocol):
    """Where the history outlives the process. All of it raises StoreUnavailable."""

    async def write(self, records: Sequence[RequestRecord]) -> None:
        """Write all of it or nothing, in bounded time; what is there already is left out.

        Cancelled, it has written nothing.
        """
        ...

    async def prune(self, older_than: datetime | None, most_requests: int, most_bytes: int) -> int:
        """Delete a chunk of what is too old or too much; how many requests that was."""
        ...

    async def shrink(self) -> int:
        """Give back to the disk some of what is free, if it is much; how many pages that was."""
        ...


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long requests are kept, how many, and how many bytes of them. 0 days: for ever."""

    days: int
    requests: int
    n_bytes: int


async def prune_for_ever(
    store: HistoryStore, keeping: Keeping, now: Callable[[], datetime]
) -> None:
    """Delete every minute what is too old or too much, until cancelled."""
    while True:
        try:
            await _prune(store, keeping, now())
        except LbError as error:
            log.warning("old requests could not be deleted from the history", reason=str(error))
        await trio.sleep(PRUNE_EVERY_S)


async def _prune(store: HistoryStore, keeping: Keeping, now: datetime) -> None:
    older_than = now - timedelta(days=keeping.days) if keeping.days else None
    gone = 1
    while gone:
        gone = await store.prune(older_than, keeping.requests, keeping.n_bytes)
        await trio.sleep(BREATH_S)
    given_back = 1
    while given_back:
        given_back = await store.shrink()
        await trio.sleep(BREATH_S)
