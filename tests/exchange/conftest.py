"""The core of the inference routes on a real house, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.fakes.house import Scene, scene_in


@pytest.fixture(autouse=True)
def _plain_log() -> Iterator[None]:
    """Faults are logged as text; drawn with all their frames they would take most of the time."""
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, renderer])
    yield
    structlog.reset_defaults()


@pytest.fixture
def settings() -> dict[str, Any]:
    """Settings that differ from the defaults; a test may parametrize or override them."""
    return {}


@pytest.fixture
async def scene(tmp_path: Path, settings: dict[str, Any]) -> AsyncIterator[Scene]:
    async with scene_in(tmp_path, **settings) as scene:
        yield scene
