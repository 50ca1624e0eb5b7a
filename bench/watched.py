"""llmlb's application in a process that tells how many tasks it has, whenever SIGUSR1 asks.

For the soak: the app is `bench.watched:app` there. It is llmlb's own, and nothing of it is changed.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType

import trio

from llmlb.http import app

__all__ = ["TASKS_FILE", "app"]

TASKS_FILE = "BENCH_TASKS_FILE"
"""The environment's name for where the number goes; beside it the process id."""


def _tasks_below(task: trio.lowlevel.Task) -> int:
    below = (child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return 1 + sum(map(_tasks_below, below))


def _tell(_number: int, _frame: FrameType | None) -> None:
    root = trio.lowlevel.current_root_task()
    count = 0 if root is None else _tasks_below(root)
    place = Path(os.environ[TASKS_FILE])
    written = place.with_suffix(".new")
    written.write_text(str(count))
    written.rename(place)


if TASKS_FILE in os.environ:
    signal.signal(signal.SIGUSR1, _tell)
    Path(os.environ[TASKS_FILE]).with_suffix(".pid").write_text(str(os.getpid()))
