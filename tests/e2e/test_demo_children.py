from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from llmlb.demo.children import TAIL_BYTES, TAIL_LINES, Child, end_all, environment_for_children
from tests.e2e.fleet import wait_for

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('up', flush=True); time.sleep(60)"
)
PARENT = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(child.pid, flush=True); time.sleep(60)"
)


def start(log_dir: Path, code: str, name: str = "child") -> Child:
    # -S: what is tested here is the process, not what runs in it
    return Child(name, [sys.executable, "-S", "-c", code], log=log_dir / f"{name}.log")


def wait_until_up(child: Child) -> None:
    wait_for(child.output, f"{child.name} to print", watched=child)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_child_is_asked_first(tmp_path: Path) -> None:
    child = start(tmp_path, SLEEPER)
    wait_until_up(child)
    assert "running" in repr(child)
    ending = end_all([child], within_s=10)
    assert ending.killed == ()
    assert child.exit_code() == -signal.SIGTERM
    assert f"ended {-signal.SIGTERM}" in repr(child)


def test_a_child_that_does_not_listen_is_killed_in_time(tmp_path: Path) -> None:
    children = [start(tmp_path, STUBBORN, "stubborn"), start(tmp_path, SLEEPER, "sleeper")]
    for child in children:
        wait_until_up(child)
    ending = end_all(children, within_s=0.5)
    assert ending.killed == ("stubborn",)
    assert 0.5 <= ending.took_s < 3
    assert children[0].exit_code() == -signal.SIGKILL


def test_the_children_of_a_child_are_killed_with_it(tmp_path: Path) -> None:
    child = start(tmp_path, PARENT)
    wait_until_up(child)
    grandchild_pid = int(child.output())
    assert is_alive(grandchild_pid)
    child.kill()
    wait_for(lambda: not is_alive(grandchild_pid), "the grandchild to be gone", within_s=5)


def test_ending_what_has_ended_is_no_mistake(tmp_path: Path) -> None:
    child = start(tmp_path, "raise SystemExit(3)")
    assert child.wait(10)
    child.ask_to_end()
    assert end_all([child], within_s=1).killed == ()
    assert child.exit_code() == 3


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    child = start(tmp_path, "for i in range(5000): print('line', i)")
    assert child.wait(10)
    assert len(child.output()) <= TAIL_BYTES
    assert child.last_lines()[-1] == "line 4999"
    assert len(child.last_lines()) == TAIL_LINES


def test_what_an_earlier_process_wrote_is_not_read(tmp_path: Path) -> None:
    assert start(tmp_path, "print('first')").wait(10)
    second = start(tmp_path, "print('second')")
    assert second.wait(10)
    assert second.last_lines() == ["second"]
    assert (tmp_path / "child.log").read_text() == "first\nsecond\n"


def test_settings_of_the_surroundings_do_not_reach_the_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLMLB_PORT", "1")
    monkeypatch.setenv("SOMETHING", "else")
    environment = environment_for_children(LLMLB_DATA_DIR="/data")
    assert "LLMLB_PORT" not in environment
    assert environment["LLMLB_DATA_DIR"] == "/data"
    assert environment["SOMETHING"] == "else"
