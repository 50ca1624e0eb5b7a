"""Virtual time and a whole town for everything in this folder."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_in_virtual_time
from tests.security.town import Town, settle_in, town_in

SLOW = frozenset(
    {
        "test_bombs.py",
        "test_browser.py",
        "test_injection.py",
        "test_matrix.py",
        "test_redos.py",
    }
)
"""Thousands of hostile inputs, which are tried once, on one Python."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        beside = item.path.is_relative_to(Path(__file__).parent)
        if beside and item.path.name in SLOW:
            item.add_marker(pytest.mark.adversary)
        if beside and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time))


@pytest.fixture
def settings() -> dict[str, Any]:
    return {}


@pytest.fixture
async def bare(tmp_path: Path, settings: dict[str, Any]) -> AsyncIterator[Town]:
    """An application without users."""
    async with town_in(tmp_path, **settings) as town:
        yield town


@pytest.fixture
async def town(bare: Town) -> Town:
    """An application with users, keys and an endpoint."""
    await settle_in(bare)
    return bare
