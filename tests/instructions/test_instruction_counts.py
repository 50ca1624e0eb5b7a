"""The path of a chunk and of a request gets no longer by accident."""

from __future__ import annotations

import pytest

from llmlb.http.sse import EventScanner
from tests.instructions.counting import Counter, counting
from tests.instructions.recorded import (
    RECORD,
    measured_apart,
    recorded,
    too_much,
    version,
)


def test_a_chunk_and_a_request_stay_within_their_budgets() -> None:
    measure = recorded().get(version())
    if measure is None:
        pytest.skip(f"nothing is recorded for Python {version()}: {RECORD}")
    over = too_much(measured_apart(), measure)
    assert not over, f"{'; '.join(over)}. If it has to be so, record it: {RECORD}"


def test_what_is_a_tenth_more_is_too_much() -> None:
    measure = {"chunk": 100.0, "request": 2_000.0}
    assert too_much({"chunk": 110.0, "request": 1_000.0}, measure) == []
    assert too_much({"chunk": 110.1, "request": 2_000.0}, measure) == [
        "a chunk takes 110 instructions, and 100 are recorded"
    ]


def test_twice_the_work_takes_twice_the_instructions() -> None:
    def instructions(n: int) -> int:
        counter = Counter()

        def work() -> None:
            for _ in range(n):
                list(EventScanner(1_000).feed(b"data: x\n\n"))

        with counting(counter):
            work()
        return counter.count

    once = instructions(1)
    assert once > 10
    assert instructions(2) == 2 * once
