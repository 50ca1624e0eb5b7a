"""The specified behaviour of the statistics, by its old names (T008)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.accounting import Outcome, Speed, Totals, Usage
from llmlb.actors.journal import Journal
from llmlb.actors.latency import LatencyTracker, Observed, Sample
from llmlb.routing import after_probe
from llmlb.types import Status
from tests.actors.conftest import A_ID, CHAT, NOW, FakeBurstStore, endpoint, finished, tokens


@pytest.fixture
def store() -> FakeBurstStore:
    return FakeBurstStore()


@pytest.fixture
async def journal(nursery: trio.Nursery, store: FakeBurstStore) -> Journal:
    journal = Journal(store, {})
    await nursery.start(journal.run)
    return journal


async def test_metrics_history_tracks_recent_points(nursery: trio.Nursery) -> None:
    tracker = LatencyTracker([], on_measured=lambda *_: None)
    await nursery.start(tracker.run)
    samples = [Sample(NOW + timedelta(seconds=n), Speed(float(n))) for n in range(370)]
    for sample in samples:
        tracker.observed(Observed(A_ID, "m", CHAT, sample.speed, sample.at))
    await wait_all_tasks_blocked()
    assert tracker.history(A_ID) == tuple(samples[-360:])


async def test_finish_request_accumulates_tokens(journal: Journal) -> None:
    journal.record(finished(usage=tokens(100, 50, 150)))
    await wait_all_tasks_blocked()
    totals = journal.totals[A_ID]
    assert (totals.input_tokens, totals.output_tokens, totals.total_tokens) == (100, 50, 150)
    assert totals.successful_requests == 1


async def test_finish_request_accumulates_multiple_tokens(journal: Journal) -> None:
    for given, made in ((100, 50), (200, 100), (300, 150)):
        journal.record(finished(usage=tokens(given, made)))
    await wait_all_tasks_blocked()
    totals = journal.totals[A_ID]
    assert (totals.input_tokens, totals.output_tokens, totals.total_tokens) == (600, 300, 900)
    assert totals.total_requests == 3


async def test_finish_request_accumulates_tokens_on_error(journal: Journal) -> None:
    journal.record(finished(outcome=Outcome.FAILED, usage=tokens(100, None, 100)))
    await wait_all_tasks_blocked()
    totals = journal.totals[A_ID]
    assert (totals.input_tokens, totals.output_tokens, totals.total_tokens) == (100, 0, 100)
    assert (totals.failed_requests, totals.successful_requests) == (1, 0)


async def test_offline_endpoint_retains_token_statistics(
    journal: Journal, store: FakeBurstStore
) -> None:
    a = endpoint("a")
    journal.record(finished(a.id, usage=tokens(500, 250, 750)))
    await wait_all_tasks_blocked()
    offline = after_probe(replace(a, status=Status.OFFLINE), at=NOW, failure="no answer")
    assert offline.status is Status.OFFLINE
    journal.latency_is(offline.id, None, None, float("inf"))
    assert await journal.flush()
    for totals in (journal.totals[offline.id], sum(store.totals.values(), Totals())):
        assert (totals.input_tokens, totals.output_tokens, totals.total_tokens) == (500, 250, 750)


async def test_every_outcome_is_counted_once_under_its_own_heading(journal: Journal) -> None:
    for outcome in (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.REFUSED):
        journal.record(finished(outcome=outcome, duration_ms=40.0, usage=Usage()))
    await wait_all_tasks_blocked()
    assert journal.totals[A_ID] == Totals(
        total_requests=4,
        successful_requests=1,
        failed_requests=2,
        cancelled_requests=1,
        total_duration_ms=40.0,
        refused_requests=1,
    )
