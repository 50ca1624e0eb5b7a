"""The last hour, whatever the clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounting import Outcome
from llmlb.minutes import MOST_MINUTES, MinuteCount, MinuteHistory, minute_of

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


@given(st.lists(st.tuples(st.integers(0, 5400), st.sampled_from(Outcome))))
def test_what_ended_within_the_hour_is_shown_in_its_minute(
    ended: list[tuple[int, Outcome]],
) -> None:
    history = MinuteHistory()
    for ago_s, outcome in sorted(ended, reverse=True):
        history.add(NOW - timedelta(seconds=ago_s), outcome)
    shown = history.last_hour(NOW)
    assert list(shown) == [minute_of(NOW) - timedelta(minutes=m) for m in range(59, -1, -1)]
    recent = [outcome for ago_s, outcome in ended if ago_s <= 59 * 60 + 30]
    assert MinuteCount(*map(sum, zip(*shown.values(), strict=True))) == MinuteCount(
        recent.count(Outcome.SUCCEEDED),
        recent.count(Outcome.FAILED) + recent.count(Outcome.REFUSED),
        recent.count(Outcome.CANCELLED),
    )


def test_a_clock_that_jumps_for_a_moment_costs_neither_memory_nor_the_hour() -> None:
    history = MinuteHistory()
    for ago in range(59, -1, -1):
        history.add(NOW - timedelta(minutes=ago), Outcome.SUCCEEDED)
    for minutes in range(30):
        history.add(NOW + timedelta(days=400, minutes=minutes), Outcome.FAILED)
    assert set(history.last_hour(NOW).values()) == {MinuteCount(1)}
    for minutes in range(10 * MOST_MINUTES):
        history.add(NOW + timedelta(minutes=minutes), Outcome.SUCCEEDED)
    assert len(history._counts) == MOST_MINUTES
