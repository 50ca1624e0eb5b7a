"""What is made of the runs of a seed, and what is said of those that fail."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from tests.simulation.children import ROOT, ChildDied, Verdict, verdicts, written
from tests.simulation.run import Result

pytestmark = pytest.mark.simulation

GOOD = Result(7, 0.05, "abc", 100, 250.0, 20, 15, None, ())
BAD = replace(GOOD, failure="line_is_bounded: 4 wait, of 3 at most.", last=("one", "two"))


def test_a_seed_holds_if_all_its_runs_hold_and_are_alike() -> None:
    assert Verdict((GOOD, GOOD)).failure is None


def test_a_seed_fails_with_the_first_run_that_fails_and_says_how_to_see_it_again() -> None:
    verdict = Verdict((GOOD, BAD))
    assert verdict.failure == BAD.failure
    assert verdict.report.splitlines() == [
        "seed 7: line_is_bounded: 4 wait, of 3 at most.",
        "  python -m tests.simulation --seed 7 --hours 0.05",
        "one",
        "two",
    ]


def test_a_seed_whose_runs_differ_fails() -> None:
    verdict = Verdict((GOOD, replace(GOOD, digest="abd")))
    assert verdict.failure is not None
    assert verdict.failure.startswith("not_repeatable: ")
    assert "--seed 7" in verdict.report


def test_the_command_plays_a_seed_and_says_that_all_holds() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", "3", "--hours", "0.01"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    seed, summary = found.stdout.splitlines()
    assert seed.startswith("seed 3: all holds, trace ")
    assert summary.startswith("1 seeds, 2 runs each: 0 failed; ")


def test_the_command_shows_every_event_on_demand() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", "3", "--hours", "0.01", "--trace"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    *events, verdict = found.stdout.splitlines()
    assert len(events) > 50
    assert events[0].split() == ["0.000000", "balancer", "stands"]
    assert verdict.startswith("seed 3: all holds, trace ")


def test_a_child_that_dies_is_not_taken_for_one_that_found_nothing() -> None:
    with pytest.raises(ChildDied, match="before seeds"):
        list(verdicts([3], 24.0, workers=1, limit_s=0.2))


def test_a_result_is_one_line() -> None:
    assert "\n" not in written(replace(BAD, failure="two\nlines"))
