from __future__ import annotations

import sqlite3
from datetime import timedelta

import pytest

from llmlb.errors import StoreUnavailable
from llmlb.store.burst import Burst
from llmlb.store.opening import Store
from llmlb.types import MOST_STORED_RESPONSES, EndpointId, Whereabouts
from tests.store.conftest import NOW, MakeEndpoint, OpenStore

A = Whereabouts(EndpointId("a"), None, NOW)
B = Whereabouts(EndpointId("b"), "key-1", NOW + timedelta(microseconds=1))


async def write(store: Store, **responses: Whereabouts | None) -> None:
    await store.statistics.write(Burst(responses=responses))


async def test_whereabouts_survive_a_restart_exactly_and_in_order(opened: OpenStore) -> None:
    store = await opened()
    await write(store, resp_z=A, resp_y=B)
    await write(store, resp_x=A)
    await store.close()
    store = await opened()
    assert list((await store.responses.all()).items()) == [
        ("resp_z", A),
        ("resp_y", B),
        ("resp_x", A),
    ]


async def test_the_newest_word_replaces_the_older_one_and_its_place(store: Store) -> None:
    await write(store, first=A, second=A, third=A)
    await write(store, first=B, second=None, never=None)
    assert list((await store.responses.all()).items()) == [("third", A), ("first", B)]


async def test_whereabouts_outlive_their_endpoint(store: Store, endpoint: MakeEndpoint) -> None:
    one = endpoint()
    await store.endpoints.insert(one)
    await write(store, resp_1=Whereabouts(one.id, None, NOW))
    await store.endpoints.delete(one.id)
    assert (await store.responses.all())["resp_1"].endpoint_id == one.id


async def test_the_first_ones_written_make_room_whatever_the_clock_said(store: Store) -> None:
    whole = {f"resp_{number}": B for number in range(MOST_STORED_RESPONSES)}
    await store.statistics.write(Burst(responses=whole))
    assert len(await store.responses.all()) == MOST_STORED_RESPONSES
    await write(store, new=A, newer=A)  # made before all others, says their clock
    kept = list(await store.responses.all())
    assert len(kept) == MOST_STORED_RESPONSES
    assert (kept[0], kept[-1]) == ("resp_2", "newer")


async def test_a_refused_burst_leaves_the_whereabouts_as_they_were(store: Store) -> None:
    await write(store, resp_1=A)
    nameless = Whereabouts(None, None, NOW)  # type: ignore[arg-type]  # what the table refuses
    with pytest.raises(StoreUnavailable):
        await write(store, resp_1=None, resp_2=nameless)
    assert await store.responses.all() == {"resp_1": A}


async def test_entries_that_cannot_be_read_are_left_out(store: Store) -> None:
    await write(store, resp_1=A, resp_2=A)

    def spoil(opened: sqlite3.Connection) -> None:
        opened.execute("UPDATE stored_responses SET made_at = 'then' WHERE id = 'resp_1'")

    await store._database.run(spoil)
    assert await store.responses.all() == {"resp_2": A}
