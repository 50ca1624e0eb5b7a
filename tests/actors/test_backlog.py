"""What gathers is merged, newest last, and never more than there is room for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounting import Totals
from llmlb.actors.backlog import Backlog
from llmlb.actors.pauses import FIRST_S, MOST_S, Pauses
from llmlb.minutes import MinuteCount
from llmlb.store.burst import Burst, UsageKey
from llmlb.types import Whereabouts
from tests.actors.conftest import A_ID, CHAT, NOW, finished

WORDS = st.lists(
    st.tuples(
        st.sampled_from(["request", "asked", "latency", "own latency", "response", "refused"]),
        st.integers(0, 8),
    ),
    max_size=60,
)


@pytest.fixture(scope="module", autouse=True)
def room_for_five() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr("llmlb.actors.backlog.MOST_ROWS", 5)
    patch.setattr("llmlb.actors.backlog.MOST_STORED_RESPONSES", 5)
    patch.setattr("llmlb.actors.backlog.MOST_MINUTES", 5)
    patch.setattr("llmlb.actors.backlog.MOST_SPEEDS", 5)
    yield
    patch.undo()


def sizes(burst: Burst) -> set[int]:
    return {
        len(kind)
        for kind in (
            burst.totals,
            burst.latencies,
            burst.model_latencies,
            burst.responses,
            burst.usage,
            burst.speeds,
            burst.minutes,
        )
    }


@given(WORDS)
def test_whatever_is_told_and_refused_is_counted_or_counted_as_lost(
    words: list[tuple[str, int]],
) -> None:
    backlog, told, lost = Backlog(), 0, 0
    newest: dict[str, float] = {}
    for at, (word, number) in enumerate(words):
        match word:
            case "request":
                # a day later or earlier: the wall clock may jump
                day = NOW + timedelta(days=number % 3 - 1)
                backlog.add(finished(model=f"m{number}", finished_at=day))
                told += 1
            case "asked":
                key = UsageKey(A_ID, f"m{number}", CHAT, NOW.date(), "")
                backlog.use([(key, Totals(1))])
                backlog.minute(NOW + timedelta(minutes=number), MinuteCount(at))
                told += 1
            case "latency":
                backlog.latency(A_ID, f"m{number}", CHAT, float(at))
                newest[f"m{number}"] = float(at)
            case "own latency":
                backlog.latency(A_ID, None, None, math.inf)
            case "response":
                backlog.response(f"r{number}", Whereabouts(A_ID, None, NOW))
            case _:  # a burst is taken, and comes back after something new
                burst, lost = backlog.burst(), lost + backlog.lost_requests
                backlog = Backlog()
                backlog.add(finished(model=f"m{number}"))
                told += 1
                backlog.put_back(burst)
        assert max(sizes(backlog.burst())) <= 5
    burst = backlog.burst()
    rows = [*burst.totals.values(), *burst.usage.values()]
    kept = sum(rows, Totals()).total_requests
    assert kept + lost + backlog.lost_requests == told
    for (_, model, _), at_s in burst.model_latencies.items():
        assert at_s == newest[model]
    assert bool(backlog) == (sizes(burst) != {0})


@given(st.lists(st.booleans()))
def test_pauses_double_until_something_works(tries: list[bool]) -> None:
    pauses, failures = Pauses(), 0
    for worked in tries:
        if worked:
            pauses.after_success()
            failures = 0
        else:
            assert pauses.after_failure() == min(FIRST_S * 2**failures, MOST_S)
            failures += 1
        assert pauses.failing == bool(failures)
