"""Runs in child processes with fixed hashes: each seed more than once, to compare its traces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.simulation.run import Result

ROOT = Path(__file__).parents[2]

RUNS = 2

STDERR_CHARS = 4000
"""Of what a child said before it died."""


class ChildDied(Exception):
    """A child process ended before its work was done."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all runs of one seed say together."""

    runs: tuple[Result, ...]

    @property
    def seed(self) -> int:
        return self.runs[0].seed

    @property
    def failure(self) -> str | None:
        """Why the seed fails, if it does."""
        failures = [run.failure for run in self.runs if run.failure is not None]
        if failures:
            return failures[0]
        digests = [run.digest for run in self.runs]
        if len(set(digests)) > 1:
            return f"not_repeatable: the traces of two runs differ: {digests}."
        return None

    @property
    def replay(self) -> str:
        """The command that runs it again."""
        return f"python -m tests.simulation --seed {self.seed} --hours {self.runs[0].hours:g}"

    @property
    def report(self) -> str:
        """For people: what failed, how to see it again, and how it came to that."""
        last = next((run.last for run in self.runs if run.failure is not None), ())
        return "\n".join([f"seed {self.seed}: {self.failure}", f"  {self.replay}", *last])


def verdicts(
    seeds: Sequence[int], hours: float, *, workers: int, runs: int = RUNS, limit_s: float = 600.0
) -> Iterator[Verdict]:
    """Each seed's verdict, as soon as all its runs are over. Raises ChildDied.

    The runs of a seed are in different processes, and in a different order there, so that
    nothing that a process remembers can make them alike. *limit_s* is for one run.
    """
    piles: list[list[int]] = [[] for _ in range(workers * runs)]
    for i, seed in enumerate(seeds):
        for n in range(runs):
            piles[n * workers + (i + n) % workers].append(seed)
    for n, pile in enumerate(piles):
        if n >= workers:
            pile.reverse()
    found: dict[int, list[Result]] = {seed: [] for seed in seeds}
    with ThreadPoolExecutor(workers) as pool:
        children = [pool.submit(_child, pile, hours, limit_s) for pile in piles if pile]
        for child in as_completed(children):
            for result in child.result():
                found[result.seed].append(result)
                if len(found[result.seed]) == runs:
                    yield Verdict(tuple(found.pop(result.seed)))


def _child(seeds: Sequence[int], hours: float, limit_s: float) -> list[Result]:
    """The results of one child process, which runs *seeds* one after the other."""
    work = json.dumps({"seeds": seeds, "hours": hours, "limit_s": limit_s})
    child = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--child", work],
        cwd=ROOT,
        # Nothing else of the environment: settings are the script's, and a tracer's hooks would
        # take more time than all the rest.
        env={"PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT), "PATH": os.environ.get("PATH", "")},
        capture_output=True,
        text=True,
        check=False,
    )
    results = [_result(line) for line in child.stdout.splitlines()]
    if child.returncode != 0 or len(results) != len(seeds):
        missing = [seed for seed in seeds if seed not in {result.seed for result in results}]
        raise ChildDied(
            f"A child ended with {child.returncode}, before seeds {missing}:\n"
            f"{child.stderr[-STDERR_CHARS:]}"
        )
    return results


def written(result: Result) -> str:
    """*result* as one line."""
    return json.dumps(asdict(result))


def _result(line: str) -> Result:
    said = json.loads(line)
    return Result(**{**said, "last": tuple(said["last"])})
