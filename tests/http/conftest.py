"""The whole application, played by hand, on a store in memory and with endpoints that are fakes."""

from __future__ import annotations

import inspect
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from llmlb.http.application import create_app
from llmlb.settings import Settings
from llmlb.world import World
from tests.conftest import run_in_virtual_time
from tests.fakes.house import NOW, run_inline
from tests.fakes.served import Served
from tests.fakes.upstream import FakeUpstream


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files beside this one, but not those in folders below, run in virtual time."""
    for item in items:
        beside = item.path.parent == Path(__file__).parent
        if beside and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time))


@pytest.fixture
def settings() -> dict[str, Any]:
    return {}


@pytest.fixture
async def unstarted(
    nursery: trio.Nursery,
    tmp_path: Path,
    settings: dict[str, Any],
) -> AsyncIterator[Served]:
    """An application in virtual time, before its start."""
    upstream = FakeUpstream()
    app = create_app(
        Settings(**{"data_dir": tmp_path, "database_url": "sqlite::memory:", **settings}),
        client=upstream,
        world=World(now=lambda: NOW, rng=random.Random(1)),
        run_in_thread=run_inline,
    )
    yield Served(app, upstream, nursery)
    structlog.reset_defaults()  # it logs to the standard error of this test


@pytest.fixture
async def served(unstarted: Served, nursery: trio.Nursery) -> AsyncIterator[Served]:
    """An application that serves; it is stopped in good order at the end."""
    await unstarted.lifespan.start(nursery)
    yield unstarted
    if not unstarted.lifespan.ended.is_set():
        await unstarted.lifespan.stop()
