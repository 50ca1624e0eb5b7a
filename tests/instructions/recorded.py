"""The figures that are the measure, by version of Python, and how they are recorded anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.instructions.figures import Figures

FILE = Path(__file__).with_name("recorded.json")
BUDGET = 1.10
"""So much of what is recorded may be spent."""
LIMIT_S = 120

RECORD = f"{Path(sys.executable).name} -m tests.instructions --record"


def version() -> str:
    """Another minor version has other instructions."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def recorded() -> dict[str, Figures]:
    whole: dict[str, Figures] = json.loads(FILE.read_text())
    return whole


def record(figures: Figures) -> None:
    """*figures* are the measure from now on, for this version of Python."""
    whole = {**recorded(), version(): figures}
    FILE.write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n")


def measured_apart() -> Figures:
    """Count in a process of its own, which nobody else traces, and whose sets have one order."""
    # coverage would start itself in there, and there is one tracer only
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_PROCESS")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.instructions"],
        env={**environment, "PYTHONHASHSEED": "0"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures: Figures = json.loads(done.stdout)
    return figures


def too_much(figures: Figures, measure: Figures) -> list[str]:
    """What of *figures* is beyond its budget, in words."""
    return [
        f"a {name} takes {figures[name]:,.0f} instructions, and {was:,.0f} are recorded"
        for name, was in measure.items()
        if figures[name] > was * BUDGET
    ]
