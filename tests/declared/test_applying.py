from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
import trio

from llmlb.declared import apply_declared
from llmlb.errors import StartupError, StoreUnavailable
from llmlb.settings import Settings
from llmlb.store.opening import Store, open_store
from llmlb.types import DeviceInfo, DeviceType, Endpoint, EndpointId, Engine, Model, Status

T = TypeVar("T")

FreshStore = Callable[[], Awaitable[Store]]

NOW = datetime(2026, 3, 1, tzinfo=UTC)

OLD = [
    Endpoint(
        EndpointId("1"),
        "moves",
        "http://old",
        NOW,
        status=Status.ONLINE,
        engine=Engine.VLLM,
        device_info=DeviceInfo(DeviceType.GPU),
        models=(Model("m"),),
    ),
    Endpoint(EndpointId("2"), "swaps", "http://n2", NOW, declared=True),
    Endpoint(EndpointId("3"), "with", "http://n3", NOW, api_key="sk"),
    Endpoint(EndpointId("4"), "goes", "http://n4", NOW, declared=True),
    Endpoint(EndpointId("5"), "stays", "http://n5", NOW),
    Endpoint(EndpointId("6"), "new", "http://n6", NOW),
]
FILE = """
[[endpoints]]
name = "moves"
base_url = "http://moved"
[[endpoints]]
name = "with"
base_url = "http://n2"
extra_headers = { x-b = "1", x-a = "2" }
[[endpoints]]
name = "swaps"
base_url = "http://n3"
api_key = "sk"
max_concurrency = 2
[[endpoints]]
name = "new"
base_url = "http://new"
[[endpoints]]
name = "added"
base_url = "http://added"
"""


async def run_inline(sync_fn: Callable[[], T], /) -> T:
    await trio.lowlevel.checkpoint()
    return sync_fn()


class Crash(Exception):
    """The process is killed."""


class Fragile:
    """A store whose process is killed at the call number *fatal*."""

    def __init__(self, store: Store, fatal: int) -> None:
        self._store, self._left = store.endpoints, fatal

    @property
    def endpoints(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name != "all":
            self._left -= 1
        if self._left < 0:
            raise Crash
        return getattr(self._store, name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "llmlb.toml").write_text(FILE)
    return Settings(data_dir=tmp_path)


@pytest.fixture
async def fresh(tmp_path: Path) -> AsyncIterator[FreshStore]:
    """Opens stores that hold the old endpoints, and closes them in the end."""
    stores = []

    async def open_it() -> Store:
        store = await open_store("sqlite::memory:", data_dir=tmp_path, run_in_thread=run_inline)
        stores.append(store)
        for endpoint in OLD:
            await store.endpoints.insert(endpoint)
        return store

    yield open_it
    for store in stores:
        await store.close()


async def applied(settings: Settings, store: Any) -> None:
    await apply_declared(settings, store, environment={}, now=lambda: NOW)


async def test_the_store_agrees_with_the_file_afterwards(
    settings: Settings, fresh: FreshStore
) -> None:
    store = await fresh()
    with structlog.testing.capture_logs() as logs:
        await applied(settings, store)
    after = {e.name: e for e in await store.endpoints.all()}
    assert {(e.id, e.name, e.base_url) for e in after.values() if len(e.id) == 1} == {
        ("1", "moves", "http://moved"),
        ("2", "with", "http://n2"),
        ("3", "swaps", "http://n3"),
        ("5", "stays", "http://n5"),
        ("6", "new", "http://new"),
    }
    assert after.keys() == {"moves", "with", "swaps", "stays", "new", "added"}
    assert {e.name for e in after.values() if not e.declared} == {"stays"}
    moved = after["moves"]
    assert (moved.status, moved.engine, moved.device_info) == (Status.PENDING, None, None)
    assert moved.models == (Model("m"),)
    assert after["with"].extra_headers == (("x-b", "1"), ("x-a", "2"))
    assert after["swaps"].max_concurrency == 2
    assert [entry["endpoint"] for entry in logs if "removed" in entry["event"]] == ["goes"]
    assert "sk" not in {str(v) for entry in logs for v in entry.values()}


async def test_an_unmanaged_name_sake_is_renamed_and_that_is_said(
    tmp_path: Path, fresh: FreshStore
) -> None:
    (tmp_path / "llmlb.toml").write_text("[[endpoints]]\nname='stays'\nbase_url='http://n6'")
    store = await fresh()
    with structlog.testing.capture_logs() as logs:
        await applied(Settings(data_dir=tmp_path), store)
    names = {e.id: e.name for e in await store.endpoints.all()}
    assert (names[EndpointId("5")], names[EndpointId("6")]) == ("stays (2)", "stays")
    renamed = [(e["endpoint"], e["new_name"]) for e in logs if "renamed" in e["event"]]
    assert renamed == [("stays", "stays (2)")]


async def test_a_second_time_changes_nothing(settings: Settings, fresh: FreshStore) -> None:
    store = await fresh()
    await applied(settings, store)
    before = await store.endpoints.all()
    await applied(settings, Fragile(store, 0))
    assert await store.endpoints.all() == before


@pytest.mark.parametrize("fatal", range(9))
async def test_after_a_crash_the_next_start_arrives_at_the_same_end(
    settings: Settings, fresh: FreshStore, fatal: int
) -> None:
    undisturbed, store = await fresh(), await fresh()
    await applied(settings, undisturbed)
    with pytest.raises(Crash):
        await applied(settings, Fragile(store, fatal))
    await applied(settings, store)
    assert await store.endpoints.all() == await undisturbed.endpoints.all()


async def test_a_mistake_in_the_file_changes_nothing(tmp_path: Path, fresh: FreshStore) -> None:
    (tmp_path / "llmlb.toml").write_text("[[endpoints]]\nname = 'a'")
    store = await fresh()
    with pytest.raises(StartupError, match="base_url: is missing"):
        await applied(Settings(data_dir=tmp_path), store)
    assert len(await store.endpoints.all()) == len(OLD)


async def test_a_database_that_refuses_ends_the_start(settings: Settings) -> None:
    class Full:
        @property
        def endpoints(self) -> Any:
            return self

        async def all(self) -> list[Endpoint]:
            raise StoreUnavailable("The database is not available (its disk is full).")

    with pytest.raises(StartupError, match=r"could not be stored: .*its disk is full"):
        await applied(settings, Full())
