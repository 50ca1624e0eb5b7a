"""What samples come to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounting import Usage
from llmlb.jobs import Benchmark, BenchmarkPlan, JobStatus, Sample
from llmlb.jobs.benchmarks import Figures, figures, percentile, speed_of
from llmlb.types import Api, EndpointId

A, B = EndpointId("id-a"), EndpointId("id-b")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run_of(*samples: Sample, total: int = 4) -> Benchmark:
    plan = BenchmarkPlan("m", Api.CHAT_COMPLETIONS, total, 1, 8, 0.0)
    run = Benchmark("r", plan, ((A, "a"), (B, "b")), NOW)
    for sample in samples:
        run = run.advanced(sample)
    return run


@pytest.mark.parametrize(
    ("numbers", "share", "expected"),
    [([7], 0.95, 7), ([1, 2], 0.5, 2), ([1, 2, 3], 0.5, 2), (range(20), 0.95, 18)],
)
def test_a_percentile_is_the_element_at_the_rounded_index(
    numbers: list[float], share: float, expected: float
) -> None:
    assert percentile(numbers, share) == expected


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=500))
def test_figures_are_ordered_and_within_what_was_measured(tps: list[float]) -> None:
    found = figures(Sample(A, succeeded=True, tps=one) for one in tps)
    assert found.p50_tps in tps
    assert found.p95_tps in tps
    assert min(tps) <= found.p50_tps <= found.p95_tps <= max(tps)
    assert found.mean_tps == pytest.approx(sum(tps) / len(tps))


@pytest.mark.parametrize(
    ("usage", "whole_ms", "first_ms", "expected"),
    [
        (Usage(5, 101), 6000.0, 1000.0, 20.0),
        (Usage(5, 100), 5000.0, 5000.0, 20.0),  # all at once: nobody saw how it was made
        (Usage(5, 100), 5000.0, 4999.5, 20.0),
        (Usage(5, 100), 5000.0, None, 20.0),
        (Usage(5, 1), 500.0, 100.0, 2.0),
        (Usage(5, 101, estimated=True), 6000.0, 1000.0, None),
        (Usage(5), 5000.0, 1000.0, None),
        (Usage(5, 0), 5000.0, 1000.0, None),
        (Usage(5, 100), 0.0, 0.0, None),
    ],
)
def test_the_speed_of_one_answer(
    usage: Usage, whole_ms: float, first_ms: float | None, expected: float | None
) -> None:
    assert speed_of(usage, whole_ms, first_ms) == expected


def test_a_run_counts_each_endpoint_apart_and_what_is_not_measured() -> None:
    run = run_of(
        Sample(A, succeeded=True, tps=10.0),
        Sample(B, succeeded=True),
        Sample(A, succeeded=True, tps=30.0),
        Sample(B, succeeded=False, error="It broke."),
    )
    at_work = run.result
    assert at_work.total == Figures(4, 3, 2, 20.0, 30.0, 30.0)
    assert at_work.total.success_rate == 0.75
    assert at_work.per_endpoint == (Figures(2, 2, 2, 20.0, 30.0, 30.0), Figures(2, 1, 0))
    over = run.ended(JobStatus.COMPLETED, NOW, None)
    assert (over.status, over.result, over.fraction) == (JobStatus.COMPLETED, at_work, 1.0)


def test_a_run_without_a_success_has_failed_for_the_commonest_reason() -> None:
    rare, common = (Sample(A, succeeded=False, error=e) for e in ("Rare.", "Common."))
    over = run_of(rare, common, common).ended(JobStatus.COMPLETED, NOW, None)
    assert (over.status, over.error) == (JobStatus.FAILED, "No request succeeded: Common.")


def test_a_run_that_is_stopped_keeps_what_it_has() -> None:
    over = run_of(Sample(A, succeeded=True, tps=5.0)).ended(JobStatus.CANCELLED, NOW, None)
    assert (over.status, over.fraction, over.result.total.mean_tps) == ("cancelled", 0.25, 5.0)
