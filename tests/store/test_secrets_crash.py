"""Whenever an upgrade or a rotation is killed, the next start has every secret, encrypted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.secret_crashing import SCENES


@pytest.mark.simulation
@pytest.mark.parametrize("scene", SCENES)
def test_what_is_killed_at_any_step_is_made_good_by_the_next_start(
    scene: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.store.secret_crashing", scene, str(tmp_path / "data")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["steps"] > 30
    assert result["killed"] == result["tried"] >= result["steps"] // 3
    assert result["wrong"] == []
