from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sampling import some
from tests.store import crashing

pytestmark = pytest.mark.simulation


def crash() -> None:
    raise crashing.Crash


def test_a_start_that_fails_at_any_step_is_made_good_by_the_next(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    crashing.prepare(directory)
    whole = crashing.Steps(None, crash)
    with crashing.counted(whole):
        crashing.start(directory)
    expected = crashing.state(directory)
    assert any("'late'" in line for line in expected)
    assert any(line.startswith("endpoints.json.migrated ") for line in expected)
    assert any(line.startswith("agents.json ") for line in expected)
    for step in some(range(1, whole.taken + 1), "failures", every=3):
        crashing.prepare(directory)
        with crashing.counted(crashing.Steps(step, crash)), pytest.raises(crashing.Crash):
            crashing.start(directory)
        crashing.start(directory)
        assert crashing.state(directory) == expected, f"crashed before step {step}"


def test_a_start_that_is_killed_at_any_step_is_made_good_by_the_next(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.store.crashing", str(tmp_path / "data")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["steps"] > 50
    assert result["killed"] == result["tried"] >= result["steps"] // 3
    assert result["different"] == []
