"""Stores to test with: on a real file or in memory, without threads, at a fixed instant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
import trio

from llmlb.store.opening import Store, open_store
from llmlb.types import Endpoint, EndpointId

T = TypeVar("T")

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)

OpenStore = Callable[..., Awaitable[Store]]
MakeEndpoint = Callable[..., Endpoint]


async def run_inline(sync_fn: Callable[[], T], /) -> T:
    """In place of a thread: the clock of a test must not jump while a statement runs."""
    await trio.lowlevel.checkpoint()
    return sync_fn()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "data" / "llmlb.db"


@pytest.fixture
async def opened(database: Path) -> AsyncIterator[OpenStore]:
    """Opens the database, as often as wanted; what is still open at the end is closed."""
    stores = []

    async def open_it(url: str | None = None, **options: Any) -> Store:
        options.setdefault("run_in_thread", run_inline)
        options.setdefault("now", lambda: NOW)
        options.setdefault("data_dir", database.parent)
        store = await open_store(url or f"sqlite:{database}", **options)
        stores.append(store)
        return store

    yield open_it
    for store in stores:
        await store.close()


@pytest.fixture
async def store(opened: OpenStore) -> Store:
    return await opened("sqlite::memory:")


@pytest.fixture
def endpoint() -> MakeEndpoint:
    """Makes endpoints that differ in everything that must differ."""
    numbers = iter(range(1, 1000))

    def make(**fields: Any) -> Endpoint:
        number = next(numbers)
        fields.setdefault("id", EndpointId(str(uuid4())))
        fields.setdefault("name", f"endpoint {number}")
        fields.setdefault("base_url", f"http://10.0.0.{number}:8080")
        fields.setdefault("registered_at", NOW)
        return Endpoint(**fields)

    return make
