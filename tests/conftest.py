"""Time in tests: virtual wherever no real socket, file lock or process is involved."""

from __future__ import annotations

import gc
import inspect
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import trio
from hypothesis import HealthCheck
from trio.testing import MockClock

from tests import once

_CI = bool(os.environ.get("CI"))

hypothesis.settings.register_profile(
    "patient",
    max_examples=30 if _CI else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # Continuous integration judges the change at hand, always by the same examples.
    derandomize=_CI,
)
hypothesis.settings.load_profile("patient")
# How busy a machine is says nothing of the code, and in a new clone it makes tables of Unicode.

once.for_all_applications()

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
