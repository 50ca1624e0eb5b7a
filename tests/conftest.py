"""Time in tests: virtual wherever no real socket, file lock or process is involved."""

from __future__ import annotations

import gc
import inspect
import os
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import trio
from hypothesis import HealthCheck
from trio.testing import MockClock
from werkzeug.routing import Rule

from llmlb.store import connection as store_connection
from llmlb.store.migrate import Migration, migrate

_CI = bool(os.environ.get("CI"))

hypothesis.settings.register_profile(
    "patient",
    max_examples=50 if _CI else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # Continuous integration judges the change at hand, always by the same examples.
    derandomize=_CI,
)
hypothesis.settings.load_profile("patient")
# How busy a machine is says nothing of the code, and in a new clone it makes tables of Unicode.

_builders: dict[object, Any] = {}
_taken_apart: dict[object, dict[str, Any]] = {}
_compile_builder, _compile = Rule._compile_builder, Rule.compile
_OF_PARTS = ("_parts", "_trace", "_converters", "arguments")


def _compile_builder_once(rule: Rule, append_unknown: bool = True) -> Any:
    """What builds URLs of a rule, compiled once for all applications that have the rule."""
    key = (tuple(rule._trace), append_unknown, repr(rule.defaults))
    if key not in _builders:
        _builders[key] = _compile_builder(rule, append_unknown)
    return _builders[key]


def _compile_once(rule: Rule) -> None:
    """The parts of a rule, found once for all applications that have the rule."""
    key = (rule.rule, rule.subdomain, rule.merge_slashes, repr(rule.defaults))
    if key not in _taken_apart:
        _compile(rule)
        _taken_apart[key] = {name: getattr(rule, name) for name in _OF_PARTS}
        return
    for name, part in _taken_apart[key].items():
        setattr(rule, name, part.copy())
    for name, unknown in (("_build", False), ("_build_unknown", True)):
        setattr(rule, name, rule._compile_builder(unknown).__get__(rule, None))


# Thousands of tests begin with an application of their own: its routes and its schema took most of
# their time.
_patch = pytest.MonkeyPatch()
_patch.setattr(Rule, "_compile_builder", _compile_builder_once)
_patch.setattr(Rule, "compile", _compile_once)

_migrated: dict[object, bytes] = {}


def _migrate_once(
    connection: sqlite3.Connection, migrations: Sequence[Migration], *, file: str, now: datetime
) -> None:
    """Give databases in memory the schema that the first of them was brought to."""
    if file != "in memory":
        migrate(connection, migrations, file=file, now=now)
        return
    key = tuple(migration.checksum for migration in migrations)
    if key in _migrated:
        connection.deserialize(_migrated[key])
    else:
        migrate(connection, migrations, file=file, now=now)
        _migrated[key] = connection.serialize()


_patch.setattr(store_connection, "migrate", _migrate_once)

VIRTUAL = ("actors", "house", "exchange", "simulation")
"""The folders whose tests run on a clock that jumps as soon as all tasks wait."""


def run_in_virtual_time(
    test: Callable[[], Awaitable[Any]],
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> Any:
    """`trio.run` from second 0 of a clock that nobody has to wait for."""
    return trio.run(test, clock=clock or MockClock(autojump_threshold=0), instruments=instruments)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if not inspect.iscoroutinefunction(getattr(item, "obj", None)):
            continue
        if item.path.is_relative_to(here) and item.path.relative_to(here).parts[0] in VIRTUAL:
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time))


def pytest_collection_finish() -> None:
    """What has been imported stays: no garbage collection need look at it again."""
    gc.collect()
    gc.freeze()
