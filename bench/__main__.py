"""The command: measures, and writes down what it found."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.balancer import NotShown
from bench.building import compile_tools, environment, extra, run, say
from bench.database import fill
from bench.measures import Faulty
from bench.places import BUILD, DOCUMENT, IMAGES, RESULTS, ROOT, SOAK_RESULTS, Unavailable
from bench.report import render
from bench.results import Results, load
from bench.runner import compare_all
from bench.soak import load_soaked, soak
from bench.targets import verdicts

DRAW_LIMIT_S = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Give the exit code: 1 where something could not be measured, or llmlb erred."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started ends with us
    asked = _parser().parse_args(arguments)
    try:
        code: int = asked.act(asked)
    except (Unavailable, NotShown, Faulty) as error:
        say(str(error))
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    compare = commands.add_parser("run", help="compare, and write docs/performance.md")
    compare.add_argument("--quick", action="store_true", help="one round of short windows")
    compare.add_argument("--rounds", type=int, help="3, or 1 if it is quick")
    compare.add_argument("--window", type=float, help="seconds of each measure: 3, or 1")
    compare.add_argument("--only", nargs="*", default=[], help="these besides direct and llmlb")
    compare.set_defaults(act=_run)

    long = commands.add_parser("soak", help="half load for long: does anything leak?")
    long.add_argument("--minutes", type=float, default=30.0)
    long.set_defaults(act=_soak)

    database = commands.add_parser("database", help="fill the database of a stopped balancer")
    database.add_argument("directory", type=Path, help="its LLMLB_DATA_DIR")
    database.add_argument("--keys", type=int, default=10_000)
    database.add_argument("--rows", type=int, default=1_000_000)
    database.set_defaults(act=_database)

    again = commands.add_parser("report", help="write docs/performance.md anew, from what is there")
    again.set_defaults(act=_report)
    return parser


def _run(asked: argparse.Namespace) -> int:
    BUILD.mkdir(parents=True, exist_ok=True)
    results = compare_all(
        quick=asked.quick, rounds=asked.rounds, window_s=asked.window, wanted=asked.only
    )
    results.save(RESULTS)
    _write(results)
    return int(any("llmlb" in fault for fault in results.faults))


def _soak(asked: argparse.Namespace) -> int:
    BUILD.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="bench-") as directory:
        soaked = soak(compile_tools(), Path(directory), asked.minutes)
    soaked.save(SOAK_RESULTS)
    say(f"{soaked.slope_mb_per_h:+.2f} MB/h; before {soaked.before}, after {soaked.after}")
    if RESULTS.exists():
        _write(load(RESULTS))
    return 0


def _database(asked: argparse.Namespace) -> int:
    fill(asked.directory, asked.keys, asked.rows)
    return 0


def _report(_: argparse.Namespace) -> int:
    _write(load(RESULTS))
    return 0


def _write(results: Results) -> None:
    """The document, and its charts if they can be drawn."""
    soaked = load_soaked(SOAK_RESULTS)
    python = environment("charts", *extra("bench"))
    run(
        [str(python), "-m", "bench.charts", str(RESULTS), str(IMAGES)],
        limit_s=DRAW_LIMIT_S,
        directory=ROOT,
    )
    DOCUMENT.write_text(render(results, soaked))
    missed = [v for v in verdicts(results, soaked) if v.met is False]
    say(f"{DOCUMENT.relative_to(ROOT)} is written; {len(missed)} targets missed")
    for verdict in missed:
        say(f"  {verdict.measure}: {verdict.measured}, not {verdict.target}")


if __name__ == "__main__":
    sys.exit(main())
