"""What a house was told outlives it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.house import House, open_house
from llmlb.http.engines.surveyor import HttpSurveyor
from llmlb.settings import Settings
from llmlb.store.opening import open_store
from llmlb.types import Endpoint, EndpointId, Whereabouts
from llmlb.world import World
from tests.fakes.house import NOW, run_inline
from tests.fakes.upstream import FakeUpstream

ONE = Endpoint(id=EndpointId("id-a"), name="a", base_url="http://a.lan", registered_at=NOW)


@asynccontextmanager
async def house_in(data_dir: Path, *, later: timedelta = timedelta(0)) -> AsyncIterator[House]:
    """A house on the database in *data_dir*; at the end of the block it falls, unless closed."""
    url = f"sqlite:{data_dir / 'llmlb.db'}"
    store = await open_store(url, data_dir=data_dir, run_in_thread=run_inline)
    world = World(now=lambda: NOW + later, rng=random.Random(1))
    try:
        settings = Settings(data_dir=data_dir)
        house = await open_house(settings, store, HttpSurveyor(FakeUpstream()), world=world)
        async with trio.open_nursery() as nursery:
            await nursery.start(house.run)
            yield house
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):  # it runs inline, and takes no time
            await store.close()


async def test_stored_responses_are_found_again_after_a_restart(tmp_path: Path) -> None:
    async with house_in(tmp_path) as house:
        house.response_made("resp_1", ONE, None)
        house.response_made("resp_2", ONE, "key-1")
        house.response_made("resp_3", ONE, None)
        await wait_all_tasks_blocked()
        house.response_gone("resp_3")
        house.close()
        await wait_all_tasks_blocked()
    async with house_in(tmp_path) as house:
        assert house.responses.whereabouts == {
            "resp_1": Whereabouts(ONE.id, None, NOW),
            "resp_2": Whereabouts(ONE.id, "key-1", NOW),
        }


async def test_a_house_that_falls_loses_at_most_a_second_of_them(tmp_path: Path) -> None:
    async with house_in(tmp_path) as house:
        house.response_made("resp_1", ONE, None)
        await trio.sleep(1)
        house.response_made("resp_2", ONE, None)
        await wait_all_tasks_blocked()
    async with house_in(tmp_path) as house:
        assert list(house.responses.whereabouts) == ["resp_1"]


async def test_what_grew_too_old_between_two_runs_leaves_the_store_as_well(tmp_path: Path) -> None:
    async with house_in(tmp_path) as house:
        house.response_made("resp_1", ONE, None)
        await trio.sleep(1)
    async with house_in(tmp_path, later=timedelta(days=31)) as house:
        assert house.responses.whereabouts == {}
        await trio.sleep(1)
        assert await house.store.responses.all() == {}


async def test_a_house_that_is_closed_takes_in_no_more_and_nobody_minds(tmp_path: Path) -> None:
    async with house_in(tmp_path) as house:
        house.close()
        await wait_all_tasks_blocked()
        house.response_made("resp_1", ONE, None)
        house.response_gone("resp_1")
        assert house.responses.whereabouts == {}
