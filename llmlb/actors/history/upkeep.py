"""What is done to the stored history beside adding to it: its oldest part goes, bit by bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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

MOST_LEAP_S = 3600.0
"""Of the wall clock between two looks, beyond the time that has passed."""

DOUBTED_S = 3600.0
"""So long nothing is too old after a leap: whoever sets clocks may find out and put it back."""


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
    date = _Date()
    while True:
        at = now()
        days = keeping.days if date.is_sure(at, trio.current_time()) else 0
        try:
            await _prune(store, replace(keeping, days=days), at)
        except LbError as error:
            log.warning("old requests could not be deleted from the history", reason=str(error))
        await trio.sleep(PRUNE_EVERY_S)


class _Date:
    """Remembers how the wall clock went: by one that leaps ahead, all would be too old at once."""

    def __init__(self) -> None:
        self._ahead_s: float | None = None
        self._sure_from_s = -math.inf

    def is_sure(self, at: datetime, clock_s: float) -> bool:
        """Whether it can be told by *at* what is too old, when *clock_s* have passed."""
        before_s, self._ahead_s = self._ahead_s, at.timestamp() - clock_s
        leap_s = 0.0 if before_s is None else self._ahead_s - before_s
        if leap_s > MOST_LEAP_S:
            self._sure_from_s = clock_s + DOUBTED_S
            log.warning(
                "the clock leapt ahead, and no request is too old for the history for a while",
                leap_s=round(leap_s),
                while_s=DOUBTED_S,
            )
        elif leap_s < -MOST_LEAP_S:
            self._sure_from_s = clock_s
        return clock_s >= self._sure_from_s


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
