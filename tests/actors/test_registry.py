"""What an operator changes: checked, durable, then told, one change at a time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.mailbox import ActorGone
from llmlb.catalog import Catalog
from llmlb.errors import Conflict, InvalidRequest, LbError, NotFound, StoreUnavailable
from llmlb.types import (
    DeviceInfo,
    DeviceReport,
    DeviceType,
    Endpoint,
    EndpointId,
    Engine,
    Mode,
    Model,
    Status,
    Survey,
)
from tests.actors.conftest import FakeEndpointStore, Latencies, Registered, endpoint, initialising

FULL = StoreUnavailable("The database is not available (its disk is full).")


def new(name: str = "a", **changes: Any) -> Endpoint:
    """An endpoint as it is when it is registered."""
    return replace(initialising(endpoint(name)), models=(), **changes)


async def attempt(work: Callable[[], Awaitable[Any]]) -> LbError | None:
    try:
        await work()
    except LbError as error:
        return error
    return None


# -- registering


async def test_registering_is_durable_before_it_is_answered(registered: Registered) -> None:
    registered.store.takes_s = 3
    a = new("a")
    assert await registered.registry.register(a) == a
    assert trio.current_time() == 3
    assert registered.store.rows == {a.id: a}
    assert registered.registry.catalog.endpoints == {a.id: a}
    assert registered.told[-2:] == [("catalog", ("a",)), ("watch", a)]


async def test_until_it_is_durable_nobody_hears_of_it(registered: Registered) -> None:
    registered.store.takes_s = 3
    told_before = list(registered.told)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registered.registry.register, new("a"))
        await trio.sleep(2)
        assert registered.registry.catalog.endpoints == {}
        assert registered.told == told_before


async def test_a_disabled_newcomer_is_not_watched(registered: Registered) -> None:
    await registered.registry.register(new("a", mode=Mode.DISABLED))
    assert registered.told[-1] == ("catalog", ("a",))


@pytest.mark.parametrize(
    ("changes", "param"), [({"base_url": "http://b:1"}, "name"), ({"name": "b"}, "base_url")]
)
async def test_a_taken_name_or_url_is_refused_and_named(
    registered: Registered, changes: dict[str, str], param: str
) -> None:
    await registered.registry.register(new("a"))
    begun = list(registered.store.begun)
    twin = replace(new("a"), id=EndpointId("id-twin"), **changes)  # type: ignore[arg-type]
    with pytest.raises(Conflict) as refusal:
        await registered.registry.register(twin)
    assert refusal.value.param == param
    assert "a" in str(refusal.value)
    assert registered.store.begun == begun, "nothing was written"
    assert list(registered.registry.catalog.endpoints) == ["id-a"]


async def test_of_many_that_register_the_same_url_exactly_one_wins(
    registered: Registered,
) -> None:
    registered.store.takes_s = 1
    outcomes: dict[str, LbError | None] = {}

    async def register(name: str) -> None:
        one = new(name, base_url="http://same:1")
        outcomes[name] = await attempt(lambda: registered.registry.register(one))

    async with trio.open_nursery() as nursery:
        for name in "abcdefgh":
            nursery.start_soon(register, name)
    (winner,) = [name for name, error in outcomes.items() if error is None]
    losers = [error for error in outcomes.values() if error is not None]
    assert all(isinstance(error, Conflict) and error.param == "base_url" for error in losers)
    assert [e.name for e in registered.store.rows.values()] == [winner]
    assert [e.name for e in registered.registry.catalog.endpoints.values()] == [winner]
    assert trio.current_time() == 1, "the losers were refused without a write"


async def test_if_the_first_cannot_be_written_the_next_with_its_url_may(
    registered: Registered,
) -> None:
    registered.store.takes_s, registered.store.refusal = 1, FULL
    errors: list[LbError | None] = []

    async def register(name: str) -> None:
        one = new(name, base_url="http://same:1")
        errors.append(await attempt(lambda: registered.registry.register(one)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(register, "a")
        await wait_all_tasks_blocked()
        nursery.start_soon(register, "b")
        await trio.sleep(1)
        await wait_all_tasks_blocked()
        registered.store.refusal = None
    assert errors == [FULL, None]
    assert [e.name for e in registered.registry.catalog.endpoints.values()] == ["b"]


async def test_what_the_store_itself_refuses_reaches_the_caller(registered: Registered) -> None:
    registered.store.refusal = Conflict("There is already an endpoint with this id.", param="id")
    with pytest.raises(Conflict) as refusal:
        await registered.registry.register(new("a"))
    assert refusal.value.param == "id"
    assert registered.registry.catalog.endpoints == {}


async def test_a_store_failure_changes_nothing_and_reaches_the_caller(
    registered: Registered,
) -> None:
    a = await registered.registry.register(new("a"))
    before, told = registered.registry.catalog, list(registered.told)
    registered.store.refusal = FULL
    for change in (
        lambda: registered.registry.register(new("b")),
        lambda: registered.registry.update(a.id, lambda e: replace(e, base_url="http://x:1")),
        lambda: registered.registry.remove(a.id),
    ):
        assert await attempt(change) is FULL
    assert registered.registry.catalog is before
    assert registered.told == told
    assert registered.store.rows == {a.id: a}


async def test_writes_keep_the_order_in_which_they_were_asked_for(registered: Registered) -> None:
    registered.store.takes_s = 1
    registry = registered.registry
    async with trio.open_nursery() as nursery:
        for ask in (
            lambda: registry.register(new("a")),
            lambda: registry.register(new("b")),
            lambda: registry.update(EndpointId("id-a"), lambda e: replace(e, name="renamed")),
            lambda: registry.remove(EndpointId("id-b")),
            lambda: registry.register(new("b")),
        ):
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
    assert registered.store.begun == [
        ("insert a", 0),
        ("insert b", 1),
        ("update renamed", 2),
        ("delete b", 3),
        ("insert b", 4),
    ]
    assert [e.name for e in registry.catalog.endpoints.values()] == ["renamed", "b"]


# -- updating


async def test_an_update_is_durable_before_it_is_answered(registered: Registered) -> None:
    a = await registered.registry.register(new("a"))
    registered.store.takes_s = 2
    updated = await registered.registry.update(a.id, lambda e: replace(e, notes="under the desk"))
    assert trio.current_time() == 2
    assert updated.notes == "under the desk"
    assert registered.store.rows == {a.id: updated}
    assert registered.registry.catalog.endpoints == {a.id: updated}


async def test_what_is_observed_while_an_update_is_written_is_kept(
    registered: Registered,
) -> None:
    a = await registered.registry.register(new("a"))
    registered.store.takes_s = 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registered.registry.update, a.id, lambda e: replace(e, notes="n"))
        await trio.sleep(1)
        registered.registry.probed(a, None)
    now = registered.registry.catalog.endpoints[a.id]
    assert (now.notes, now.status) == ("n", Status.ONLINE)
    await trio.sleep(3)
    assert registered.store.rows[a.id] == now


@pytest.mark.parametrize(
    ("taken", "param"), [({"name": "b"}, "name"), ({"base_url": "http://b:1"}, "base_url")]
)
async def test_an_update_may_not_take_anothers_name_or_url_but_may_keep_its_own(
    registered: Registered, taken: dict[str, Any], param: str
) -> None:
    a = await registered.registry.register(new("a"))
    await registered.registry.register(new("b"))
    with pytest.raises(Conflict) as refusal:
        await registered.registry.update(a.id, lambda e: replace(e, **taken))
    assert refusal.value.param == param
    assert await registered.registry.update(a.id, lambda e: e) == a


async def test_what_the_change_itself_refuses_reaches_the_caller(registered: Registered) -> None:
    a = await registered.registry.register(new("a"))
    begun = list(registered.store.begun)

    def refuse(_: Endpoint) -> Endpoint:
        raise InvalidRequest("No.", param="api_key")

    with pytest.raises(InvalidRequest):
        await registered.registry.update(a.id, refuse)
    assert registered.store.begun == begun


async def test_what_is_not_there_is_not_found(registered: Registered) -> None:
    nowhere = EndpointId("id-nowhere")
    with pytest.raises(NotFound):
        await registered.registry.update(nowhere, lambda e: e)
    with pytest.raises(NotFound):
        await registered.registry.remove(nowhere)


OTHER_SERVER = {
    "url": {"base_url": "http://elsewhere:1"},
    "key": {"api_key": "sk-other"},
    "headers": {"extra_headers": (("x-tenant", "two"),)},
    "verification": {"tls_verify": False},
    "authorities": {"ca_certificate": "PEM"},
}


@pytest.mark.parametrize("changes", OTHER_SERVER.values(), ids=OTHER_SERVER.keys())
async def test_another_server_at_its_place_is_pending_forgotten_and_watched_anew(
    registered: Registered, changes: dict[str, Any]
) -> None:
    a = await registered.registry.register(new("a"))
    registered.registry.probed(a, None)
    registered.registry.synced(a, Survey(Engine.VLLM, (Model("m"),), 64))
    registered.registry.described(a, DeviceReport(DeviceInfo(DeviceType.CPU), "no GPU"))
    await wait_all_tasks_blocked()
    registered.told.clear()
    updated = await registered.registry.update(a.id, lambda e: replace(e, **changes))
    assert updated == replace(
        a, **changes, models=(Model("m"),), last_seen_at=updated.last_seen_at
    ), "its models stay until the first sync, so that requests for them wait"
    assert updated.initialising
    assert registered.told == [("catalog", ("a",)), ("forget", a.id), ("watch", updated)]
    await wait_all_tasks_blocked()
    assert registered.store.rows[a.id] == updated, "what was observed of the old one is unwritten"


async def test_nothing_observed_of_the_old_server_outlives_a_restart_of_a_disabled_endpoint(
    registered: Registered,
) -> None:
    a = await registered.registry.register(new("a"))
    registered.registry.probed(a, None)
    registered.registry.described(a, DeviceReport(DeviceInfo(DeviceType.GPU)))
    await wait_all_tasks_blocked()
    assert registered.store.rows[a.id].device_info is not None

    def moved(e: Endpoint) -> Endpoint:
        return replace(e, mode=Mode.DISABLED, base_url="http://elsewhere:1")

    await registered.registry.update(a.id, moved)
    await wait_all_tasks_blocked()
    row = registered.store.rows[a.id]
    assert row.status is Status.PENDING
    assert row.device_info is None


async def test_a_change_of_notes_disturbs_nobody(registered: Registered) -> None:
    a = await registered.registry.register(new("a"))
    registered.registry.probed(a, None)
    await registered.registry.settled()
    registered.told.clear()
    updated = await registered.registry.update(a.id, lambda e: replace(e, notes="n", name="b"))
    assert updated.status is Status.ONLINE
    assert registered.told == [("catalog", ("b",))]


async def test_another_interval_is_told_to_whoever_watches(registered: Registered) -> None:
    a = await registered.registry.register(new("a"))
    updated = await registered.registry.update(
        a.id, lambda e: replace(e, health_check_interval_s=99)
    )
    assert registered.told[-1] == ("watch", updated)


async def test_disabling_unwatches_enabling_watches_draining_does_neither(
    registered: Registered,
) -> None:
    a = await registered.registry.register(new("a"))

    async def becomes(mode: Mode) -> tuple[str, ...]:
        registered.told.clear()
        await registered.registry.update(a.id, lambda e: replace(e, mode=mode))
        return tuple(what for what, _ in registered.told)

    assert await becomes(Mode.DRAINING) == ("catalog",)
    assert await becomes(Mode.DISABLED) == ("catalog", "unwatch")
    assert await becomes(Mode.DISABLED) == ("catalog", "unwatch")
    assert await becomes(Mode.DRAINING) == ("catalog", "watch")
    assert await becomes(Mode.ENABLED) == ("catalog",)


# -- removing


async def test_removing_is_durable_before_it_is_answered_and_is_told_to_all(
    registered: Registered,
) -> None:
    a = await registered.registry.register(new("a"))
    registered.told.clear()
    registered.store.takes_s = 2
    await registered.registry.remove(a.id)
    assert trio.current_time() == 2
    assert registered.store.rows == {}
    assert registered.registry.catalog.endpoints == {}
    assert registered.told == [("catalog", ()), ("unwatch", a.id), ("forget", a.id)]
    with pytest.raises(NotFound):
        await registered.registry.remove(a.id)


async def test_what_a_probe_says_of_an_endpoint_that_is_being_removed_is_not_written(
    registered: Registered,
) -> None:
    a = await registered.registry.register(new("a"))
    registered.store.takes_s = 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registered.registry.remove, a.id)
        await trio.sleep(1)
        registered.registry.probed(a, None)
    registered.registry.probed(a, None)
    await trio.sleep(10)
    assert [what for what, _ in registered.store.begun] == ["insert a", "delete a"]
    assert registered.registry.catalog.endpoints == {}


# -- callers who leave


@pytest.mark.parametrize("change", ["register", "update", "remove"])
async def test_a_change_whose_caller_leaves_during_the_write_is_made_all_the_same(
    registered: Registered, change: str
) -> None:
    a = await registered.registry.register(new("a"))
    registered.store.takes_s = 2
    with trio.move_on_after(1) as patience:
        if change == "register":
            await registered.registry.register(new("b"))
        elif change == "update":
            await registered.registry.update(a.id, lambda e: replace(e, notes="n"))
        else:
            await registered.registry.remove(a.id)
    assert patience.cancelled_caught
    await trio.sleep(2)
    assert registered.store.rows == dict(registered.registry.catalog.endpoints)
    now = [(e.name, e.notes) for e in registered.store.rows.values()]
    assert now == {"register": [("a", None), ("b", None)], "update": [("a", "n")]}.get(change, [])


@pytest.mark.parametrize("seed", range(150))
async def test_catalog_and_database_agree_however_callers_are_cancelled(
    registered: Registered, seed: int
) -> None:
    registry, store = registered.registry, registered.store

    async def somebody(rng: random.Random) -> None:
        one = EndpointId(f"id-{rng.choice('abc')}")
        changes: dict[str, Any] = {
            "name": rng.choice("abcd"),
            "base_url": f"http://{rng.choice('abcd')}:1",
            "api_key": rng.choice([None, "k"]),
            "mode": rng.choice(list(Mode)),
        }
        await trio.sleep(rng.random() * 3)
        with trio.move_on_after(rng.random() * 2):
            match rng.randrange(5):
                case 0:
                    asked: Any = registry.register(
                        new(rng.choice("abc"), base_url=changes["base_url"])
                    )
                case 1:
                    asked = registry.remove(one)
                case 2:
                    asked = registry.update(one, lambda e: replace(e, **changes))
                case _:
                    asked = registry.settled()
                    if seen := registry.catalog.endpoints.get(one):
                        registry.probed(seen, rng.choice([None, "no answer"]))
            try:
                await asked
            except (Conflict, NotFound, StoreUnavailable):
                return

    async def weather(rng: random.Random) -> None:
        while True:
            store.takes_s = rng.choice([0.0, 0.1, 0.5])
            store.refusal = rng.choice([None, None, FULL])
            await trio.sleep(rng.random())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(weather, random.Random(seed))
        async with trio.open_nursery() as callers:
            for n in range(20):
                callers.start_soon(somebody, random.Random(1000 * seed + n))
        nursery.cancel_scope.cancel()
    store.takes_s, store.refusal = 0.0, None
    await trio.sleep(10)
    for one in registry.catalog.endpoints.values():
        registry.probed(one, None)
    await wait_all_tasks_blocked()
    assert store.rows == dict(registry.catalog.endpoints)
    endpoints = registry.catalog.endpoints.values()
    for unique in ({e.name for e in endpoints}, {e.base_url for e in endpoints}):
        assert len(unique) == len(endpoints)


# -- the catalog


async def test_the_catalog_is_a_frozen_view_that_later_changes_leave_alone(
    registered: Registered,
) -> None:
    a = await registered.registry.register(new("a"))
    registered.registry.probed(a, None)
    registered.registry.synced(a, Survey(Engine.VLLM, (Model("m"), Model("n"))))
    before = await registered.registry.settled()
    assert [e.id for e in before.offering("m")] == [a.id]
    with pytest.raises(TypeError):
        before.endpoints[a.id] = a  # type: ignore[index]  # that is the point
    with pytest.raises(FrozenInstanceError):
        before.by_model = {}  # type: ignore[misc]  # that is the point
    await registered.registry.remove(a.id)
    assert list(before.endpoints) == [a.id]
    assert registered.registry.catalog.endpoints == {}
    assert registered.registry.catalog.offering("m") == ()


async def test_every_published_catalog_agrees_with_itself(registered: Registered) -> None:
    for name in "abc":
        one = await registered.registry.register(new(name))
        registered.registry.probed(one, None)
        registered.registry.synced(one, Survey(Engine.VLLM, (Model("m"), Model(name))))
    await registered.registry.settled()
    await registered.registry.remove(EndpointId("id-b"))
    for catalog in registered.catalogs:
        assert catalog == Catalog.of(catalog.endpoints)
    assert [e.name for e in registered.registry.catalog.offering("m")] == ["a", "c"]


async def test_at_the_start_all_is_published_and_what_is_not_disabled_is_watched(
    nursery: trio.Nursery,
) -> None:
    a, b = initialising(endpoint("a")), endpoint("b", mode=Mode.DISABLED)
    registered = Registered(FakeEndpointStore(a, b), Latencies())
    await nursery.start(registered.registry.run)
    assert registered.told == [("catalog", ("a", "b")), ("watch", a)]


async def test_a_closed_registry_refuses_all(registered: Registered) -> None:
    registered.registry.close()
    for ask in (registered.registry.settled, lambda: registered.registry.register(new("a"))):
        with pytest.raises(ActorGone):
            await ask()
