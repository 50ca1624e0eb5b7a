"""The seeds that every change has to pass: what must be true is true in each, and twice alike."""

from __future__ import annotations

import os

import pytest

from tests.simulation.__main__ import DEFAULT_HOURS
from tests.simulation.children import RUNS, verdicts

SEEDS = range(200)


@pytest.mark.simulation
def test_what_must_be_true_is_true_in_every_seed_and_every_seed_repeats_itself() -> None:
    found = list(verdicts(SEEDS, DEFAULT_HOURS, workers=os.cpu_count() or 1, limit_s=60))
    assert {verdict.seed for verdict in found} == set(SEEDS)
    assert all(len(verdict.runs) == RUNS for verdict in found)
    failed = [verdict.report for verdict in found if verdict.failure is not None]
    assert not failed, "\n\n".join(failed[:3])
    # What nobody asks for cannot go wrong: this is no proof if nothing happens.
    assert sum(verdict.runs[0].n_requests for verdict in found) > 20 * len(SEEDS)
    assert sum(verdict.runs[0].n_delivered for verdict in found) > 10 * len(SEEDS)
