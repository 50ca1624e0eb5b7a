"""Work that is done in virtual time, against endpoints that are fakes."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_in_virtual_time
from tests.fakes.house import Scene, scene_in


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        beside = item.path.parent == Path(__file__).parent
        if beside and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_in(tmp_path) as scene:
        yield scene


def line(**said: Any) -> bytes:
    """One line of what Ollama tells."""
    return json.dumps(said).encode() + b"\n"
