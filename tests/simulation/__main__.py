"""The command: plays seeds, and says what they show."""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout

from tests.once import for_all_applications
from tests.simulation.children import RUNS, ChildDied, verdicts, written
from tests.simulation.repeatable import hashes_are_fixed
from tests.simulation.run import run

DEFAULT_HOURS = 0.05
"""One round."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from the first one on")
    parser.add_argument("--hours", type=float, default=DEFAULT_HOURS, help="of virtual time, each")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each seed, to be compared")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--trace", action="store_true", help="print every event of the first seed")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.child is not None:
        return _be_child(**json.loads(asked.child))
    if asked.trace:
        return _show(asked.seed, asked.hours)
    seeds = range(asked.seed, asked.seed + asked.seeds)
    return _play(seeds, asked.hours, workers=asked.workers, runs=asked.runs)


def _be_child(seeds: Sequence[int], hours: float, limit_s: float) -> int:
    assert hashes_are_fixed(), "PYTHONHASHSEED=0 belongs to a child's environment"
    for_all_applications()
    gc.collect()
    gc.freeze()  # what has been imported stays: no collection need look at it again
    results = sys.stdout
    with redirect_stdout(sys.stderr):  # whatever else is printed is no result
        for seed in seeds:
            # Time that does not pass in a loop that does not end: show where, and give up.
            faulthandler.dump_traceback_later(limit_s, exit=True)
            print(written(run(seed, hours)), file=results, flush=True)
    faulthandler.cancel_dump_traceback_later()
    return 0


def _show(seed: int, hours: float) -> int:
    if not hashes_are_fixed():
        os.execve(  # the same command again, as every run has to be
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    result = run(seed, hours, also=_say)
    _say(f"seed {seed}: {result.failure or 'all holds'}, trace {result.digest}")
    return 1 if result.failure else 0


def _play(seeds: Sequence[int], hours: float, *, workers: int, runs: int) -> int:
    started_s = time.monotonic()
    failed = requests = delivered = 0
    virtual_s = 0.0
    try:
        for verdict in verdicts(seeds, hours, workers=workers, runs=runs):
            first = verdict.runs[0]
            requests, delivered = requests + first.n_requests, delivered + first.n_delivered
            virtual_s += first.virtual_s
            if verdict.failure is not None:
                failed += 1
                _say(verdict.report)
            elif len(seeds) == 1:
                _say(
                    f"seed {verdict.seed}: all holds, trace {first.digest}, {first.n_events} events"
                )
    except ChildDied as death:
        _say(str(death))
        return 2
    _say(
        f"{len(seeds)} seeds, {runs} runs each: {failed} failed; {virtual_s / 3600:.1f} virtual "
        f"hours, {requests} requests, {delivered} delivered whole; "
        f"{time.monotonic() - started_s:.0f} s"
    )
    return 1 if failed else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
