"""What a run comes to: medians, targets, and the document."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.report import render
from bench.results import Results, load
from bench.soak import Holdings, Soaked, grown, slope_per_h
from bench.targets import verdicts

SOAKED = Soaked(
    minutes=30,
    requests=1_000_000,
    streams=9_000,
    left=450,
    chunks=900_000,
    slope_mb_per_h=0.4,
    before=Holdings(sockets=12, tasks=30, leases=0),
    after=Holdings(sockets=12, tasks=30, leases=0),
    samples=[(0.0, 60.0), (1800.0, 60.2)],
)


def results(*, quick: bool = False) -> Results:
    """Three rounds, in which the machine was twice as slow at the end."""
    rounds = [
        {
            "direct": {"plain_rps": 90_000.0 / slow, "latency_p50_us": 100.0 * slow},
            "vllm-router": {"plain_rps": 15_000.0 / slow, "latency_p50_us": 500.0 * slow},
            "llmlb": {
                "plain_rps": 12_000.0 / slow,
                "latency_p50_us": 600.0 * slow,
                "fast_cpu_us": 40.0,
                "idle_pss_bytes": 60e6,
                "open_pss_bytes": 90e6,
                "start_large_s": 0.8,
            },
        }
        for slow in (1.0, 1.0, 2.0)
    ]
    return Results(
        quick,
        3.0,
        {"CPU": "a slow one"},
        versions={"direct": "–", "vllm-router": "1", "llmlb": "2"},
        about={"direct": "nothing", "vllm-router": "passes on", "llmlb": "all"},
        commands={"llmlb": "hypercorn llmlb.http:app"},
        skipped={"LiteLLM": "No network."},
        rounds=rounds,
        faults=["round 2, vllm-router, fast: 3 broken"],
        proofs=3,
        growth=[
            {"endpoints": 1, "models": 1, "cpu_us": 100.0},
            {"endpoints": 1_000, "models": 1, "cpu_us": 120.0},
            {"endpoints": 1, "models": 1_000, "cpu_us": 140.0},
        ],
        large={"keys": 10_000, "rows": 1_000_000},
    )


def test_what_is_added_is_the_difference_in_the_same_round() -> None:
    found = results()
    assert found.values("llmlb", "latency_p50_us") == [0.5, 0.5, 1.0]
    assert found.median("llmlb", "latency_p50_us") == 0.5
    assert found.median("llmlb", "many_delay_p99_us") is None


def test_each_target_is_met_missed_or_not_measured() -> None:
    said = {(v.measure, v.target): v.met for v in verdicts(results(), SOAKED)}
    assert said["plain requests", "≥ 0.6 × vllm-router"] is True
    assert said["plain requests", "≥ 70 × LiteLLM"] is None
    assert said["added latency, p50", "≤ 0.7 ms"] is True
    assert said["256 streams: CPU per chunk", "≤ 36 µs"] is False
    assert said["memory of each open stream", "≤ 40 KB"] is True
    assert said["cost of a request, 1 to 1,000 endpoints", "≤ 1.3 ×"] is True
    assert said["cost of a request, 1 to 1,000 models", "≤ 1.3 ×"] is False
    assert said["soak: memory after the warm-up", "≤ 1 MB/h"] is True


def test_a_soak_that_was_too_short_says_nothing_of_memory() -> None:
    said = {v.measure: v.met for v in verdicts(results(), replace(SOAKED, minutes=1))}
    assert said["soak: memory after the warm-up"] is None


def test_what_is_left_over_is_named() -> None:
    after = Holdings(sockets=9, tasks=31, leases=2)
    assert grown(SOAKED.before, after) == {"tasks": 1, "leases": 2}
    said = {v.measure: v for v in verdicts(results(), replace(SOAKED, after=after))}
    leaks = said["soak: leases, sockets, tasks left over"]
    assert (leaks.measured, leaks.met) == ("1 tasks, 2 leases", False)


@pytest.mark.parametrize(("from_s", "slope"), [(0, 3.6), (100, 36.0), (250, 0.0)])
def test_the_slope_of_memory_is_that_after_the_warm_up(from_s: float, slope: float) -> None:
    samples = [(0.0, 62.0), (100.0, 60.0), (200.0, 61.0), (300.0, 62.0)]
    assert slope_per_h(samples, from_s=from_s) == pytest.approx(slope)


def test_the_document_tells_all_of_it() -> None:
    document = render(results(), SOAKED)
    assert "| **llmlb** | 12,000 (6,000–12,000) |" in document
    assert "LiteLLM did not take part: No network." in document
    assert "round 2, vllm-router, fast: 3 broken" in document
    assert "-c 1000 -m stub-n100-i50000 -d 3" in document
    assert "A quick run" not in document
    assert "A quick run" in render(results(quick=True), None)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = results()
    found.save(tmp_path / "results.json")
    assert load(tmp_path / "results.json") == found
