"""What can be asked of all that was counted, and how what is not written yet is added to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from llmlb.accounting import NOTHING_COUNTED, Totals
from llmlb.store.burst import StatKey, UsageKey

MOST_GROUPS = 1_000
"""Of one answer."""


class Unit(StrEnum):
    """What is counted, by the table that has it."""

    ATTEMPTS = "daily_statistics"
    REQUESTS = "daily_usage"


class By(StrEnum):
    """What sums can be told apart by."""

    DAY = "day"
    MONTH = "month"
    ENDPOINT = "endpoint_id"
    MODEL = "model"
    API = "api"
    KEY = "key_id"
    """Attempts do not have it."""


Group = tuple[str, ...]
"""What a sum is of, in the order of what it was asked by: ids, names, `2026-03-01`, `2026-03`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sums are asked for."""

    unit: Unit
    by: tuple[By, ...] = ()
    """Nothing: one sum over all."""
    endpoint_id: str | None = None
    model: str | None = None
    key_id: str | None = None
    since: date | None = None
    """The first UTC day."""
    limit: int = MOST_GROUPS
    """Of groups: the latest, and of those the ones of the most requests."""

    @property
    def filters(self) -> Mapping[By, str]:
        """What has to hold, beside the day."""
        asked = {By.ENDPOINT: self.endpoint_id, By.MODEL: self.model, By.KEY: self.key_id}
        return {column: value for column, value in asked.items() if value is not None}


def with_unwritten(
    stored: Mapping[Group, Totals],
    wanted: Wanted,
    rows: Iterable[tuple[StatKey | UsageKey, Totals]],
) -> dict[Group, Totals]:
    """*stored* with what is in *rows*, the latest group first.

    A group that was over the limit stays out: of it this is only a part.
    """
    sums, full = dict(stored), len(stored) >= wanted.limit
    since = wanted.since
    for key, totals in rows:
        if any(getattr(key, column) != value for column, value in wanted.filters.items()):
            continue
        if since is not None and key.day < since:
            continue
        group = tuple(_part(key, by) for by in wanted.by)
        if full and group not in sums:
            continue
        sums[group] = sums.get(group, NOTHING_COUNTED) + totals
    when = next((n for n, by in enumerate(wanted.by) if by in (By.DAY, By.MONTH)), None)

    def place(item: tuple[Group, Totals]) -> tuple[str, int, Group]:
        group, totals = item
        return ("" if when is None else group[when], totals.total_requests, group)

    return dict(sorted(sums.items(), key=place, reverse=True)[: wanted.limit])


def _part(key: StatKey | UsageKey, by: By) -> str:
    match by:
        case By.DAY:
            return key.day.isoformat()
        case By.MONTH:
            return key.day.isoformat()[:7]
        case By.API:
            return key.api.value
        case By.ENDPOINT | By.MODEL | By.KEY:
            return str(getattr(key, by))
