"""A house whose database is in trouble: it serves on, and the database is made good afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from llmlb.accounting import Totals
from llmlb.errors import StoreUnavailable
from llmlb.store.opening import LOOK_EVERY_S, open_store
from llmlb.types import EndpointId, Mode
from tests.fakes.house import Scene, run_inline, scene_in
from tests.fakes.openai import completion
from tests.fakes.trouble import FOR_GOOD, PASSING, WHOLE, integrity
from tests.fakes.upstream import json_answer, replies

A_ID = EndpointId("id-a")


@asynccontextmanager
async def on_a_file(directory: Path) -> AsyncIterator[tuple[Scene, Path]]:
    """A house with one endpoint, on a database that is in this directory."""
    database = directory / "data" / "llmlb.db"
    async with scene_in(database.parent, database_url=f"sqlite:{database}") as scene:
        store = scene.house.store
        await store._database.run(lambda connection: connection.execute("PRAGMA busy_timeout = 9"))
        await scene.endpoint("a", slots=4)
        scene.on("a", replies(json_answer(completion())))
        yield scene, database


async def stored(database: Path) -> Totals:
    """What the next start would find of endpoint a."""
    store = await open_store(
        f"sqlite:{database}", data_dir=database.parent, run_in_thread=run_inline
    )
    try:
        return (await store.statistics.totals()).get(A_ID, Totals())
    finally:
        with trio.CancelScope(shield=True):  # it runs inline, and takes no time
            await store.close()


@pytest.mark.parametrize("name", PASSING)
async def test_requests_are_served_all_the_while_and_all_of_them_are_counted(
    tmp_path: Path, name: str
) -> None:
    async with on_a_file(tmp_path) as (scene, database):
        for _ in range(3):
            assert (await scene.ask()).status == 200
        await trio.sleep(1)
        with PASSING[name](scene.house.store, database):
            for _ in range(50):
                assert (await scene.ask()).status == 200
                await trio.sleep(3)
        await trio.sleep(LOOK_EVERY_S + 1)
        assert scene.house.store.health.condition.well
        assert scene.totals("a").successful_requests == 53
        kept = (await scene.house.store.statistics.totals())[A_ID]
        assert kept.successful_requests == 53, "not only at the stop"
    assert (await stored(database)).successful_requests == 53
    assert integrity(database) == WHOLE


@pytest.mark.parametrize("name", PASSING)
async def test_a_refused_change_is_made_neither_in_memory_nor_in_the_database(
    tmp_path: Path, name: str
) -> None:
    async with on_a_file(tmp_path) as (scene, database):
        registry, long = scene.house.registry, "n" * 50_000
        scene.lists("b", "tiny")
        await trio.sleep(1)
        before = (await registry.settled()).endpoints
        with PASSING[name](scene.house.store, database):
            with pytest.raises(StoreUnavailable):
                await scene.register("b", notes=long)
            with pytest.raises(StoreUnavailable):
                await registry.update(A_ID, lambda e: replace(e, notes=long))
            if name != "full":  # to delete takes no room
                with pytest.raises(StoreUnavailable):
                    await registry.remove(A_ID)
            assert (await registry.settled()).endpoints == before
        kept = {e.id: e for e in await scene.house.store.endpoints.all()}
        assert kept.keys() == before.keys()
        assert kept[A_ID].notes == before[A_ID].notes
        await scene.register("b", notes=long)
        await registry.update(A_ID, lambda e: replace(e, mode=Mode.DISABLED))
        kept = {e.id: e for e in await scene.house.store.endpoints.all()}
        assert kept.keys() == {A_ID, "id-b"}
        assert kept[A_ID].mode is Mode.DISABLED
    assert integrity(database) == WHOLE


@pytest.mark.parametrize("name", FOR_GOOD)
async def test_a_house_whose_file_is_gone_serves_on_and_stops_in_good_order(
    tmp_path: Path, name: str
) -> None:
    async with on_a_file(tmp_path) as (scene, database):
        await scene.ask()
        await trio.sleep(1)
        FOR_GOOD[name](database)
        for _ in range(20):
            assert (await scene.ask()).status == 200
            await trio.sleep(10)
        assert not scene.house.store.health.condition.well
        asked_at_s = trio.current_time()
    assert trio.current_time() - asked_at_s < 1
    expected = 1 if name == "file replaced" else 0
    assert (await stored(database)).successful_requests == expected
    assert integrity(database) == WHOLE
