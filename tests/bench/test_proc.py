"""What /proc says of a process and its children."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import proc

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """Process 10 with a child and a grandchild, and a stranger."""
    for pid, parent, name in ((10, 1, "a"), (11, 10, "b) (c"), (12, 11, "d"), (20, 1, "e")):
        place = tmp_path / str(pid)
        (place / "fd").mkdir(parents=True)
        times = f"{TICKS} {2 * TICKS} 0 {TICKS}"
        (place / "stat").write_text(f"{pid} ({name}) S {parent} {'0 ' * 9}{times} 0 0")
        (place / "smaps_rollup").write_text("0-1 ---p [rollup]\nRss:   100 kB\nPss:    60 kB\n")
        (place / "fd/3").symlink_to("socket:[123]")
        (place / "fd/4").symlink_to("/dev/null")
    return tmp_path


def test_all_descendants_are_counted_and_nobody_else(family: Path) -> None:
    assert sorted(proc.family_of(10, family)) == [10, 11, 12]
    assert proc.cpu_s(10, family) == 12.0
    assert proc.memory(10, family) == proc.Memory(rss=300 * 1024, pss=180 * 1024)
    assert proc.sockets(10, family) == 3


def test_a_process_that_is_gone_uses_nothing(family: Path) -> None:
    assert proc.cpu_s(99, family) == 0.0
    assert proc.memory(99, family) == proc.Memory(0, 0)
