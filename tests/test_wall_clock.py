"""The wall clock, which may jump, is looked at in one place, and measures nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(ROOT.glob("llmlb/**/*.py"))

WALL = {
    *(f"datetime.{name}" for name in ("now", "utcnow", "today")),
    *(f"date.{name}" for name in ("today",)),
    *(f"time.{name}" for name in ("time", "time_ns", "localtime", "gmtime", "ctime", "strftime")),
}

LOOKS = {
    "llmlb/world.py": "where all actors and exchanges have it from",
    "llmlb/store/opening.py": "a default for tests: the application hands in the world's",
    "llmlb/declared/applying.py": "a default for tests: the application hands in the world's",
}
"""Who may look at it, once each."""


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_world_looks_at_the_wall_clock(source: Path) -> None:
    looks = [
        part
        for part in ast.walk(ast.parse(source.read_text()))
        if isinstance(part, ast.Attribute) and ast.unparse(part) in WALL
    ]
    assert len(looks) == (str(source.relative_to(ROOT)) in LOOKS), [p.lineno for p in looks]
