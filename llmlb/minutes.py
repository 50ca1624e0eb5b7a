"""How the clients' requests ended, minute by minute, for an hour."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from llmlb.accounting import Outcome

SHOWN_MINUTES = 60
MOST_MINUTES = 2 * SHOWN_MINUTES
"""Kept; more than are shown, so that a clock that jumps for a moment does not cost them all."""


class MinuteCount(NamedTuple):
    """The requests that ended within one minute of UTC."""

    success: int = 0
    error: int = 0
    """Refused ones, too."""
    cancelled: int = 0

    def plus(self, outcome: Outcome) -> MinuteCount:
        """These counts with one more request."""
        success, error, cancelled = self
        match outcome:
            case Outcome.SUCCEEDED:
                return MinuteCount(success + 1, error, cancelled)
            case Outcome.CANCELLED:
                return MinuteCount(success, error, cancelled + 1)
            case Outcome.FAILED | Outcome.REFUSED:
                return MinuteCount(success, error + 1, cancelled)


NOTHING_ENDED = MinuteCount()


def minute_of(at: datetime) -> datetime:
    """The beginning of its minute, in UTC."""
    return at.astimezone(UTC).replace(second=0, microsecond=0)


class MinuteHistory:
    """Owns the counts of the newest minutes in which something ended."""

    def __init__(self, known: Iterable[tuple[datetime, MinuteCount]] = ()) -> None:
        """*known* are those of an earlier run, the oldest first."""
        self._counts: OrderedDict[datetime, MinuteCount] = OrderedDict(known)
        self._bound()

    def add(self, at: datetime, outcome: Outcome) -> tuple[datetime, MinuteCount]:
        """Count one more; the minute, and what is counted in it now."""
        minute = minute_of(at)
        counted = self._counts.get(minute, NOTHING_ENDED).plus(outcome)
        self._counts[minute] = counted
        self._bound()
        return minute, counted

    def last_hour(self, now: datetime) -> Mapping[datetime, MinuteCount]:
        """The 60 minutes that end with the one of *now*, the oldest first."""
        last = minute_of(now)
        minutes = (last - timedelta(minutes=ago) for ago in reversed(range(SHOWN_MINUTES)))
        return {minute: self._counts.get(minute, NOTHING_ENDED) for minute in minutes}

    def _bound(self) -> None:
        # the one that came first goes, not the earliest: after a jump of the clock that would
        # be the minute of now
        while len(self._counts) > MOST_MINUTES:
            self._counts.popitem(last=False)
