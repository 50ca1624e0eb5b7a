"""What the load generator is asked and what it says, and what is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.load import Ask, parse
from bench.measures import FULL, QUICK

NOTHING = dict.fromkeys(("mean", "p50", "p90", "p99", "p999"), -1.0) | {"n": 0, "max": 0.0}
SOME = {
    "n": 2,
    "mean": 150.0,
    "p50": 100.0,
    "p90": 200.0,
    "p99": 200.0,
    "p999": 200.0,
    "max": 201.0,
}


def printed(**changes: Any) -> str:
    """A line of the load generator."""
    counts = ("bad", "err", "refused", "incomplete", "left", "chunks", "bytes", "backlog")
    said = {
        **dict.fromkeys(counts, 0),
        "secs": 2.0,
        "conns": 32,
        "ok": 3_000,
        "rps": 1_500.0,
        "chunks_s": 0.0,
        "started": 4_500,
        "lg_cpu": 0.3,
        "statuses": {"200": 3_000},
        "lat": SOME,
        **dict.fromkeys(("ttft", "gap", "deliv"), NOTHING),
    }
    return json.dumps(said | changes)


def test_what_was_printed_is_understood() -> None:
    load = parse(printed(chunks=500))
    assert (load.requests_per_s, load.chunks_per_s) == (1_500, 250)
    assert (load.latency.p99, load.first_chunk.n) == (200.0, 0)
    assert load.fault is None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"bad": 1}, "1 bad answers"),
        ({"err": 2, "refused": 3}, "2 broken, 3 refused"),
        ({"ok": 0}, "no answer at all"),
        ({"ok": 0, "chunks": 9}, None),
        ({"left": 9}, None),
    ],
)
def test_any_error_is_a_fault(changes: dict[str, Any], fault: str | None) -> None:
    assert parse(printed(**changes)).fault == fault


def test_what_is_no_figure_is_refused() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        parse("bind: Address already in use")


def test_a_load_is_asked_for_in_the_generators_words() -> None:
    ask = Ask(256, 3, 1.5, "stub-n100", streams=True, ramp_s=1, leaving_percent=5)
    assert " ".join(ask.arguments(81, "k")) == (
        "-p 81 -c 256 -m stub-n100 -d 3 -w 1.5 -s -R 1 -l 5 -k k"
    )
    assert " ".join(Ask(4, 1, 1, rate_per_s=50).arguments(81, None)).endswith("-w 1 -r 50")


def test_a_quick_run_measures_the_same_things() -> None:
    assert QUICK.asks().keys() == FULL.asks().keys()
    assert FULL.rounds >= 3
