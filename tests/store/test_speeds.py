"""Percentiles are as exact as is said, and merged days are as good as one."""

from __future__ import annotations

import sqlite3
from datetime import date, timedelta

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlb.accounting import Speed
from llmlb.store.burst import Burst, TimedAttempt
from llmlb.store.opening import Store
from llmlb.store.speeds import PERCENTILES, RELATIVE_ERROR, STEP, Sketch, Speeds
from llmlb.types import EndpointId
from tests.store.conftest import OpenStore

DAY = date(2026, 3, 1)


def timed(*speed: float, one: str = "a", model: str = "m", days: int = 0) -> TimedAttempt:
    return TimedAttempt(EndpointId(one), model, DAY + timedelta(days=days), Speed(*speed))


async def asked(store: Store, since: date = DAY, **narrowed: str) -> Speeds:
    wanted: dict[str, str | None] = {"endpoint_id": None, "model": None, **narrowed}
    return await store.statistics.speeds(
        since, endpoint_id=wanted["endpoint_id"], model=wanted["model"], limit=100
    )


# from a hundredth of a ms to ten hours, as close together or as far apart as may be
_values = st.floats(0.0, 3.6e7) | st.floats(0.0, 10.0) | st.sampled_from([0.0, 1.0, 250.0])


@settings(max_examples=150)
@given(st.lists(st.lists(_values, max_size=80), min_size=1, max_size=4))
def test_merged_sketches_are_as_near_to_the_values_themselves_as_is_said(
    days: list[list[float]],
) -> None:
    merged = Sketch()
    for values in days:
        sketch = Sketch()
        for value in values:
            sketch.add(value)
        again = Sketch.decoded(sketch.encoded())
        assert again is not None
        merged.merge(again)
    exact = sorted(value for values in days for value in values)
    assert merged.count == len(exact)
    found = merged.percentiles()
    if not exact:
        assert found == {}
        return
    for percentile in PERCENTILES:
        rank = max(int(percentile * len(exact) / 100 + 0.5), 1)
        value = exact[rank - 1]
        assert value - STEP <= found[percentile] <= value * (1 + RELATIVE_ERROR) + 2 * STEP


@given(st.binary(max_size=200) | st.text() | st.integers() | st.none())
def test_anything_else_is_no_sketch(said: object) -> None:
    assert Sketch.decoded(said) is None


@given(st.data())
def test_a_sketch_that_was_damaged_is_none(data: st.DataObject) -> None:
    sketch = Sketch()
    for value in (1.0, 20.0, 300.0):
        sketch.add(value)
    whole = sketch.encoded()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytes([whole[at] ^ data.draw(st.integers(1, 255))])
    for spoilt in (whole[:at], whole[:at] + changed + whole[at + 1 :]):
        again = Sketch.decoded(spoilt)
        # of zlib's own head some bits say nothing of what follows
        assert again is None or again.percentiles() == sketch.percentiles()


async def test_days_are_merged_by_endpoint_and_model_over_restarts(opened: OpenStore) -> None:
    store = await opened()
    await store.statistics.write(Burst(speeds=[timed(10.0, 5.0, 50.0), timed(20.0)]))
    await store.statistics.write(Burst(speeds=[timed(30.0, days=1), timed(7.0, model="n")]))
    await store.close()
    store = await opened()
    await store.statistics.write(Burst(speeds=[timed(40.0, days=1), timed(9.0, one="b")]))

    both = await asked(store)
    assert [(s.endpoint_id, s.model, s.latency_ms.count) for s in both.found] == [
        ("a", "m", 4),
        ("a", "n", 1),
        ("b", "m", 1),
    ]
    first = both.found[0]
    assert first.latency_ms.percentiles[50] == pytest.approx(20.0, rel=RELATIVE_ERROR)
    assert first.latency_ms.percentiles[99] == pytest.approx(40.0, rel=RELATIVE_ERROR)
    assert first.time_to_first_token_ms.percentiles[50] == pytest.approx(5.0, rel=RELATIVE_ERROR)
    assert first.tokens_per_s.count == 1
    (later,) = (await asked(store, DAY + timedelta(days=1))).found
    assert later.latency_ms.count == 2
    assert [s.model for s in (await asked(store, endpoint_id="a", model="n")).found] == ["n"]
    assert not both.left_out


async def test_a_damaged_sketch_is_left_out_told_of_and_begun_anew(store: Store) -> None:
    await store.statistics.write(Burst(speeds=[timed(10.0, 5.0), timed(3.0, one="b")]))

    def spoil(opened: sqlite3.Connection) -> None:
        opened.execute("UPDATE daily_speeds SET latency = x'00ff' WHERE endpoint_id = 'a'")

    await store._database.run(spoil)
    with structlog.testing.capture_logs() as logs:
        spoilt, whole = sorted((await asked(store)).found, key=lambda s: s.endpoint_id)
    assert (spoilt.latency_ms.count, spoilt.time_to_first_token_ms.count) == (0, 1)
    assert whole.latency_ms.count == 1
    assert [(entry["kind"], entry["of"]) for entry in logs] == [("latency", "2026-03-01 a m")]
    await store.statistics.write(Burst(speeds=[timed(8.0)]))
    (again,) = (await asked(store, endpoint_id="a")).found
    assert (again.latency_ms.count, again.time_to_first_token_ms.count) == (1, 1)


async def test_rows_are_bounded_and_the_oldest_go(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmlb.store.speeds.MOST_ROWS", 3)
    for n in range(5):
        # also with a clock that runs backwards
        await store.statistics.write(Burst(speeds=[timed(1.0, model=f"m{n}", days=-n)]))
    found = (await asked(store, date(2026, 1, 1))).found
    assert sorted(spread.model for spread in found) == ["m2", "m3", "m4"]


async def test_what_is_merged_at_once_is_bounded_and_the_latest_days_win(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmlb.store.speeds.MOST_MERGED", 2)
    monkeypatch.setattr("llmlb.store.speeds._statement", lambda _: LATEST_THREE)
    await store.statistics.write(Burst(speeds=[timed(1.0, days=n) for n in range(3)]))
    speeds = await asked(store)
    assert (speeds.left_out, speeds.found[0].latency_ms.count) == (True, 2)


LATEST_THREE = "SELECT * FROM daily_speeds WHERE day >= ? ORDER BY day DESC LIMIT 3"
