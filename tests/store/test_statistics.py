from __future__ import annotations

import math
import sqlite3
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlb.accounting import Totals
from llmlb.errors import StoreUnavailable
from llmlb.minutes import MinuteCount
from llmlb.store.adding_up import stored_sums
from llmlb.store.burst import Burst, StatKey, StoredLatency, UsageKey
from llmlb.store.connection import connect, prepare
from llmlb.store.database import transaction
from llmlb.store.opening import Store
from llmlb.store.statistics import _write
from llmlb.store.sums import By, Unit, Wanted, with_unwritten
from llmlb.types import Api, EndpointId
from tests.store.conftest import NOW, MakeEndpoint, OpenStore

ONE = Totals(3, 2, 1, 0, 100, 50, 150, 12.5)
DAY = date(2026, 3, 1)
FIRST, FIRST_MAY = date(2026, 3, 30), date(2026, 5, 1)

Rows = list[tuple[StatKey | UsageKey, Totals]]


def key(endpoint_id: str, model: str = "m", api: Api = Api.EMBEDDINGS, day: date = DAY) -> StatKey:
    return StatKey(EndpointId(endpoint_id), model, api, day)


def usage_key(model: str = "m", key_id: str = "k", day: date = DAY) -> UsageKey:
    return UsageKey("a", model, Api.EMBEDDINGS, day, key_id)


async def test_totals_add_up_over_bursts_models_days_and_restarts(opened: OpenStore) -> None:
    store = await opened()
    await store.statistics.write(Burst(totals={key("a"): ONE, key("b"): ONE}))
    await store.statistics.write(Burst(totals={key("a"): ONE}))
    await store.close()
    store = await opened()
    other_model, other_day = key("a", model="n"), key("a", day=date(2026, 3, 2))
    other_api = key("a", api=Api.CHAT_COMPLETIONS)
    await store.statistics.write(
        Burst(totals=dict.fromkeys((other_model, other_day, other_api), ONE))
    )
    assert await store.statistics.totals() == {
        "a": Totals(15, 10, 5, 0, 500, 250, 750, 62.5),
        "b": ONE,
    }


async def test_totals_outlive_their_endpoint(store: Store, endpoint: MakeEndpoint) -> None:
    gone = endpoint()
    await store.endpoints.insert(gone)
    await store.statistics.write(Burst(totals={key(gone.id): ONE}))
    await store.endpoints.delete(gone.id)
    await store.statistics.write(Burst(totals={key(gone.id): ONE}))
    assert (await store.statistics.totals())[gone.id].total_requests == 6


@pytest.mark.parametrize("latency_ms", [0.0, 0.1, 240.125, math.inf])
async def test_latencies_survive_a_restart_exactly(
    opened: OpenStore, endpoint: MakeEndpoint, latency_ms: float
) -> None:
    store = await opened()
    one = endpoint()
    await store.endpoints.insert(one)
    by_model = {(one.id, "m", Api.COMPLETIONS): latency_ms}
    for earlier in (5.0, latency_ms):
        await store.statistics.write(
            Burst(
                latencies={one.id: earlier},
                model_latencies=dict.fromkeys(by_model, earlier),
            )
        )
    await store.close()
    store = await opened()
    assert await store.statistics.latencies() == [
        StoredLatency(one.id, None, None, latency_ms),
        StoredLatency(one.id, "m", Api.COMPLETIONS, latency_ms),
    ]
    assert await store.endpoints.all() == [replace(one, latency_ms=latency_ms)]


async def test_an_unmeasured_endpoint_has_no_latency(store: Store, endpoint: MakeEndpoint) -> None:
    await store.endpoints.insert(endpoint())
    assert await store.statistics.latencies() == []


async def test_latencies_of_a_deleted_endpoint_are_gone_and_do_not_come_back(
    store: Store, endpoint: MakeEndpoint
) -> None:
    gone = endpoint(latency_ms=5.0)
    burst = Burst(
        totals={key(gone.id): ONE},
        latencies={gone.id: 1.0},
        model_latencies={(gone.id, "m", Api.EMBEDDINGS): 1.0},
    )
    await store.endpoints.insert(gone)
    await store.statistics.write(burst)
    await store.endpoints.delete(gone.id)
    await store.statistics.write(burst)
    assert await store.statistics.latencies() == []
    assert (await store.statistics.totals())[gone.id].total_requests == 6


async def test_a_burst_is_written_whole_or_not_at_all(store: Store, endpoint: MakeEndpoint) -> None:
    one = endpoint()
    await store.endpoints.insert(one)
    not_a_number = {(one.id, "m", Api.EMBEDDINGS): math.nan}
    with pytest.raises(StoreUnavailable):
        await store.statistics.write(
            Burst({key(one.id): ONE}, {one.id: 1.0}, model_latencies=not_a_number)
        )
    assert await store.statistics.totals() == {}
    assert await store.statistics.latencies() == []


async def test_more_tokens_than_fit_do_not_stop_the_statistics(store: Store) -> None:
    absurd = Totals(1, 1, 0, 0, 10**30, 2**63 - 1, 10**18, 1.0)
    for model in ("m", "n"):
        for _ in range(3):
            await store.statistics.write(Burst(totals={key("a", model=model): absurd}))
    totals = (await store.statistics.totals())[EndpointId("a")]
    assert totals.total_requests == 6
    assert totals.input_tokens == pytest.approx(6 * 2**63)


async def test_an_empty_burst_is_nothing(store: Store) -> None:
    await store.statistics.write(Burst())
    assert await store.statistics.totals() == {}


async def test_unreadable_latencies_are_left_out(store: Store, endpoint: MakeEndpoint) -> None:
    one = endpoint(latency_ms=4.0)
    await store.endpoints.insert(one)
    by_model = {(one.id, model, Api.EMBEDDINGS): 5.0 for model in "abc"}
    await store.statistics.write(Burst(model_latencies=by_model))

    def spoil(opened: sqlite3.Connection) -> None:
        opened.execute("UPDATE endpoints SET latency_ms = 'fast'")
        opened.execute("UPDATE model_latencies SET latency_ms = 'fast' WHERE model = 'a'")
        opened.execute("UPDATE model_latencies SET api = 'telepathy' WHERE model = 'b'")

    await store._database.run(spoil)
    assert [row.model for row in await store.statistics.latencies()] == ["c"]


_counts = st.integers(0, 10**9)
_totals = st.builds(Totals, *[_counts] * 7, _counts.map(float), *[_counts] * 3)
_ids, _models, _days = st.sampled_from("ab"), st.sampled_from("mn"), st.dates(FIRST, FIRST_MAY)
_attempts = st.builds(StatKey, _ids, _models, st.sampled_from(Api), _days)
_requests = st.builds(UsageKey, _ids, _models, st.sampled_from(Api), _days, st.sampled_from("kl"))


@st.composite
def _questions(draw: st.DrawFn) -> Wanted:
    unit = draw(st.sampled_from(Unit))
    known = [by for by in By if by is not By.KEY or unit is Unit.REQUESTS]
    return Wanted(
        unit,
        tuple(draw(st.lists(st.sampled_from(known), unique=True, max_size=4))),
        endpoint_id=draw(st.none() | _ids),
        model=draw(st.none() | _models),
        key_id=draw(st.none() | st.sampled_from("kl")) if unit is Unit.REQUESTS else None,
        since=draw(st.none() | _days),
    )


def _rows(burst: Burst, unit: Unit) -> Rows:
    return [*(burst.totals if unit is Unit.ATTEMPTS else burst.usage).items()]


_bursts = st.builds(
    Burst,
    totals=st.dictionaries(_attempts, _totals, max_size=4),
    usage=st.dictionaries(_requests, _totals, max_size=4),
)


@settings(max_examples=40)
@given(st.lists(_bursts, max_size=5), st.integers(0, 5), st.lists(_questions(), min_size=1))
def test_written_or_not_everything_adds_up_by_anything(
    bursts: list[Burst], written: int, questions: list[Wanted]
) -> None:
    connection = connect(":memory:")
    prepare(connection, file="in memory", now=NOW)
    for burst in bursts[:written]:
        with transaction(connection) as statements:
            _write(statements, burst)
    for wanted in questions:
        with transaction(connection) as statements:
            stored = stored_sums(statements, wanted)
        every = [row for burst in bursts for row in _rows(burst, wanted.unit)]
        waiting = [row for burst in bursts[written:] for row in _rows(burst, wanted.unit)]
        found = with_unwritten(stored, wanted, waiting)
        assert found == with_unwritten({}, wanted, every)
        assert list(found) == list(with_unwritten({}, wanted, every)), "in the same order"
        unbound = replace(wanted, by=())
        assert sum(found.values(), Totals()) == sum(
            with_unwritten({}, unbound, every).values(), Totals()
        )
    connection.close()


async def test_a_group_beyond_the_limit_is_left_out_and_never_shown_in_part(store: Store) -> None:
    rows = {usage_key(model=f"m{n}"): Totals(n, n) for n in range(1, 6)}
    await store.statistics.write(Burst(usage=rows))
    wanted = Wanted(Unit.REQUESTS, (By.MODEL,), limit=3)
    stored = await store.statistics.sums(wanted)
    assert list(stored) == [("m5",), ("m4",), ("m3",)]
    waiting: Rows = [(usage_key(model="m1"), Totals(100)), (usage_key(model="m3"), Totals(3))]
    found = with_unwritten(stored, wanted, waiting)
    assert {group: totals.total_requests for group, totals in found.items()} == {
        ("m3",): 6,
        ("m5",): 5,
        ("m4",): 4,
    }


async def test_the_last_hour_survives_a_restart_and_nothing_older_is_kept(
    opened: OpenStore,
) -> None:
    store = await opened()
    hour = timedelta(hours=1)
    for at, count in ((NOW - 2 * hour, 1), (NOW + 48 * hour, 2), (NOW, 3), (NOW, 4)):
        await store.statistics.write(Burst(minutes={at: MinuteCount(count, 0, 1)}))
    await store.close()
    store = await opened()
    assert await store.statistics.minutes() == [(NOW, MinuteCount(4, 0, 1))]
