"""A start that imports everything, made to end at any of its steps; run as a script, by SIGKILL."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import structlog
import trio

from llmlb.store.opening import open_store
from tests.sampling import some
from tests.store.conftest import NOW, run_inline

RUST = """
CREATE TABLE _sqlx_migrations (version BIGINT);
CREATE TABLE endpoints (id TEXT, name TEXT, base_url TEXT);
INSERT INTO endpoints VALUES ('33333333-0000-4000-8000-000000000001', 'rust', 'http://rust.lan');
"""
ENDPOINTS = [
    {"name": "a", "base_url": "http://a.lan"},
    {"name": "a", "base_url": "http://b.lan"},
    {"name": "late", "base_url": "http://rust.lan/v1"},
    {"name": "unreadable"},
]
NODES = [
    {
        "machine_name": "node",
        "ip_address": "::1",
        "runtime_port": 1,
        "loaded_models": ["m", "n"],
        "gpu_available": False,
    }
]
HISTORY = [
    {"timestamp": f"2026-01-0{day}T00:00:00Z", "model": "m", "status": "success"} for day in (1, 2)
]
TABLES = ("schema_migrations", "endpoints", "endpoint_models", "request_history", "imports")


class Crash(BaseException):
    """The process ends here."""


class Steps:
    """Counts what a start does to the disk, and ends it before the step it is told."""

    def __init__(self, last: int | None, end: Callable[[], None]) -> None:
        self.taken = 0
        self._last = last
        self._end = end

    def take(self) -> None:
        self.taken += 1
        if self.taken == self._last:
            self._end()


@contextmanager
def counted(steps: Steps) -> Iterator[None]:
    class Connection(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            if arguments[0] != "ROLLBACK":  # a process that ends does not clean up either
                steps.take()
            return super().execute(*arguments)

    connect, rename = sqlite3.connect, Path.rename

    def counted_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return connect(*arguments, factory=Connection, **options)

    def counted_rename(path: Path, target: Path) -> Path:
        steps.take()
        renamed = rename(path, target)
        steps.take()
        return renamed

    with patch("sqlite3.connect", counted_connect), patch.object(Path, "rename", counted_rename):
        yield


def prepare(directory: Path) -> None:
    """An older installation's data directory."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    with closing(sqlite3.connect(directory / "load balancer.db")) as rust:
        rust.executescript(RUST)
    (directory / "endpoints.json").write_text(json.dumps(ENDPOINTS))
    (directory / "nodes.json").write_text(json.dumps(NODES))
    (directory / "agents.json").write_text("[{]")
    (directory / "request_history.json").write_text(json.dumps(HISTORY))


def start(directory: Path) -> None:
    """Open the store as the server does, and close it."""

    async def main() -> None:
        store = await open_store(
            f"sqlite:{directory / 'llmlb.db'}",
            data_dir=directory,
            run_in_thread=run_inline,
            now=lambda: NOW,
        )
        await store.close()

    trio.run(main)


def state(directory: Path) -> list[str]:
    """All that a start leaves behind, for comparison."""
    with closing(sqlite3.connect(directory / "llmlb.db")) as connection:
        content = [line for line in connection.iterdump() if "sqlite_sequence" not in line]
    files = sorted(f"{f.name} {f.stat().st_size}" for f in directory.glob("*.json*"))
    return content + files


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(directory: Path) -> None:
    """Kill a start at every step; print how many steps led to another state, and which."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    prepare(directory)
    steps = Steps(None, kill_me)
    with counted(steps):
        start(directory)
    expected = state(directory)
    killed, different = 0, []
    tried = some(range(1, steps.taken + 1), "imports", every=3)
    for step in tried:
        prepare(directory)
        child = os.fork()
        if child == 0:
            with counted(Steps(step, kill_me)):
                start(directory)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        start(directory)
        if state(directory) != expected:
            different.append(step)
    result = {
        "steps": steps.taken,
        "tried": len(tried),
        "killed": killed,
        "different": different,
    }
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
