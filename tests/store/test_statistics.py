from __future__ import annotations

import math
import sqlite3
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlb.accounting import Totals
from llmlb.errors import StoreUnavailable
from llmlb.store.burst import Burst, StatKey, StoredLatency
from llmlb.store.connection import connect, prepare
from llmlb.store.database import transaction
from llmlb.store.opening import Store
from llmlb.store.statistics import _totals, _write
from llmlb.types import Api, EndpointId
from tests.store.conftest import NOW, MakeEndpoint, OpenStore

ONE = Totals(3, 2, 1, 0, 100, 50, 150, 12.5)
DAY = date(2026, 3, 1)


def key(endpoint_id: str, model: str = "m", api: Api = Api.EMBEDDINGS, day: date = DAY) -> StatKey:
    return StatKey(EndpointId(endpoint_id), model, api, day)


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
_totals_strategy = st.builds(
    Totals, _counts, _counts, _counts, _counts, _counts, _counts, _counts, st.just(0.0)
)
_keys = st.builds(
    StatKey,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["m", "n"]),
    st.sampled_from(Api),
    st.dates(date(2026, 1, 1), date(2026, 1, 3)),
)


@settings(max_examples=50)
@given(st.lists(st.dictionaries(_keys, _totals_strategy, max_size=4), max_size=5))
def test_any_bursts_add_up(bursts: list[dict[StatKey, Totals]]) -> None:
    connection = connect(":memory:")
    prepare(connection, file="in memory", now=NOW)
    requests: dict[str, int] = {}
    for totals in bursts:
        with transaction(connection) as statements:
            _write(statements, Burst(totals=totals))
        for stat_key, counted in totals.items():
            endpoint_id = stat_key.endpoint_id
            requests[endpoint_id] = requests.get(endpoint_id, 0) + counted.total_requests
    with transaction(connection) as statements:
        stored = _totals(statements)
    connection.close()
    assert {k: v.total_requests for k, v in stored.items()} == requests
