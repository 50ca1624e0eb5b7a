"""The EMAs, what is told of them, and what restores and resets them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta

import pytest
import trio
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from llmlb.accounting import Speed
from llmlb.actors.latency import KnownLatency, LatencyTracker, Observed, Sample
from llmlb.actors.mailbox import ActorGone
from llmlb.routing import Measured
from llmlb.types import Api, EndpointId
from tests.actors.conftest import A_ID, CHAT, NOW

B_ID = EndpointId("id-b")
EMBED = Api.EMBEDDINGS


class Tracked:
    """A tracker, and what it told of its measurements."""

    def __init__(self, *known: KnownLatency) -> None:
        self.told: list[tuple[EndpointId, str | None, Api | None, float]] = []
        self.tracker = LatencyTracker(
            known, on_measured=lambda *measured: self.told.append(measured)
        )

    def sees(self, ms: float, model: str = "m", api: Api = CHAT, one: EndpointId = A_ID) -> None:
        self.tracker.observed(Observed(one, model, api, Speed(ms), NOW))

    def own(self, one: EndpointId = A_ID) -> float | None:
        return self.tracker.standings.latency_ms(one)

    def exact(self, model: str = "m", api: Api = CHAT, one: EndpointId = A_ID) -> float | None:
        standing = self.tracker.standings.standing(one, model, api)
        return standing and standing.latency_ms


@pytest.fixture
async def tracked(nursery: trio.Nursery) -> Tracked:
    tracked = Tracked()
    await nursery.start(tracked.tracker.run)
    return tracked


async def test_the_first_sample_is_taken_as_it_is_and_the_next_counts_a_fifth(
    tracked: Tracked,
) -> None:
    assert tracked.own() is None
    assert tracked.exact() is None
    tracked.sees(100.0)
    await wait_all_tasks_blocked()
    assert tracked.own() == 100.0
    tracked.sees(200.0)
    await wait_all_tasks_blocked()
    assert tracked.own() == pytest.approx(120.0)
    assert tracked.exact() == pytest.approx(120.0)


def closed_form(samples: list[float]) -> float:
    """x₁·0.8ⁿ⁻¹ + Σ 0.2·xᵢ·0.8ⁿ⁻ⁱ: the EMA without the recursion that the product uses."""
    n = len(samples)
    weights = [0.8 ** (n - 1), *(0.2 * 0.8 ** (n - 1 - i) for i in range(1, n))]
    return math.fsum(w * x for w, x in zip(weights, samples, strict=True))


@effort(max_examples=40)
@given(st.lists(st.floats(0, 1e7), min_size=1, max_size=60))
def test_the_ema_is_what_its_closed_form_says(samples: list[float]) -> None:
    async def measure() -> float | None:
        tracked = Tracked()
        for sample in samples:
            tracked.sees(sample)
        tracked.tracker.close()
        await tracked.tracker.run()
        return tracked.own()

    measured = trio.run(measure, clock=MockClock(autojump_threshold=0))
    assert measured == pytest.approx(closed_form(samples), rel=1e-9, abs=1e-9)


async def test_models_and_apis_are_measured_apart_and_the_endpoint_over_all(
    tracked: Tracked,
) -> None:
    tracked.sees(100.0, "m", CHAT)
    tracked.sees(10.0, "m", EMBED)
    tracked.sees(1000.0, "n", CHAT)
    tracked.sees(5.0, one=B_ID)
    await wait_all_tasks_blocked()
    assert tracked.exact("m", CHAT) == 100.0
    assert tracked.exact("m", EMBED) == 10.0
    assert tracked.exact("n", CHAT) == 1000.0
    assert tracked.own() == pytest.approx(0.2 * 1000 + 0.8 * (0.2 * 10 + 0.8 * 100))
    assert tracked.exact("never asked", CHAT) == tracked.own()
    assert tracked.own(B_ID) == 5.0


async def test_each_sample_tells_both_emas_to_be_written_behind(tracked: Tracked) -> None:
    tracked.sees(100.0)
    tracked.sees(200.0, "n")
    await wait_all_tasks_blocked()
    assert tracked.told == [
        (A_ID, None, None, 100.0),
        (A_ID, "m", CHAT, 100.0),
        (A_ID, None, None, pytest.approx(120.0)),
        (A_ID, "n", CHAT, 200.0),
    ]


async def test_a_sample_carries_the_second_it_came_in(tracked: Tracked) -> None:
    await trio.sleep(41)
    tracked.sees(100.0)
    await wait_all_tasks_blocked()
    assert tracked.tracker.standings.by_endpoint[A_ID] == Measured(100.0, 41)
    assert tracked.tracker.standings.standing(A_ID, "m", CHAT) == Measured(100.0, 41)


async def test_offline_is_infinitely_slow_and_the_next_sample_is_taken_as_it_is(
    tracked: Tracked,
) -> None:
    for _ in range(3):
        tracked.sees(100.0)
    tracked.tracker.went_offline(A_ID)
    await wait_all_tasks_blocked()
    assert tracked.own() == math.inf
    assert tracked.exact() is None, "offline with a value counts as unmeasured"
    tracked.sees(70.0)
    await wait_all_tasks_blocked()
    assert tracked.own() == 70.0
    assert tracked.exact() == 70.0


async def test_offline_leaves_nothing_of_the_models_neither_here_nor_in_the_database(
    tracked: Tracked,
) -> None:
    tracked.sees(100.0, "m")
    tracked.sees(100.0, "n", EMBED)
    tracked.sees(100.0, one=B_ID)
    await wait_all_tasks_blocked()
    tracked.told.clear()
    tracked.tracker.went_offline(A_ID)
    await wait_all_tasks_blocked()
    assert tracked.exact("m") is None
    assert tracked.exact("n", EMBED) is None
    assert tracked.exact(one=B_ID) == 100.0
    assert sorted(tracked.told, key=str) == sorted(
        [
            (A_ID, None, None, math.inf),
            (A_ID, "m", CHAT, math.inf),
            (A_ID, "n", EMBED, math.inf),
        ],
        key=str,
    )


async def test_going_offline_twice_or_unmeasured_is_offline(tracked: Tracked) -> None:
    tracked.tracker.went_offline(A_ID)
    tracked.tracker.went_offline(A_ID)
    await wait_all_tasks_blocked()
    assert tracked.own() == math.inf
    assert tracked.told == [(A_ID, None, None, math.inf)] * 2


async def test_another_server_at_its_place_starts_unmeasured_also_after_a_restart(
    tracked: Tracked,
) -> None:
    tracked.sees(100.0)
    tracked.sees(100.0, one=B_ID)
    await wait_all_tasks_blocked()
    tracked.told.clear()
    tracked.tracker.forget(A_ID)
    tracked.tracker.forget(EndpointId("never measured"))
    await wait_all_tasks_blocked()
    assert tracked.own() is None
    assert tracked.exact() is None
    assert tracked.tracker.history(A_ID) == ()
    assert tracked.own(B_ID) == 100.0
    # inf in the database: nothing of the old server comes back with the next start
    assert tracked.told == [(A_ID, None, None, math.inf), (A_ID, "m", CHAT, math.inf)]


async def test_known_latencies_are_restored_and_not_told_again(nursery: trio.Nursery) -> None:
    tracked = Tracked(
        KnownLatency(A_ID, None, None, 120.0),
        KnownLatency(A_ID, "m", CHAT, 80.0),
        KnownLatency(B_ID, None, None, math.inf),
    )
    await trio.sleep(1000)
    await nursery.start(tracked.tracker.run)
    assert tracked.own() == 120.0
    assert tracked.tracker.standings.standing(A_ID, "m", CHAT) == Measured(80.0, 1000)
    assert tracked.own(B_ID) == math.inf
    assert tracked.told == []
    tracked.sees(180.0)
    await wait_all_tasks_blocked()
    assert tracked.own() == pytest.approx(132.0)
    assert tracked.exact() == pytest.approx(100.0)


async def test_a_model_that_was_reset_is_restored_as_unmeasured(nursery: trio.Nursery) -> None:
    tracked = Tracked(
        KnownLatency(A_ID, None, None, math.inf), KnownLatency(A_ID, "m", CHAT, math.inf)
    )
    await nursery.start(tracked.tracker.run)
    assert tracked.exact("m") is None
    tracked.sees(50.0, "other")
    await wait_all_tasks_blocked()
    assert tracked.exact("m") == 50.0, "the endpoint's own value stands in"


async def test_offline_and_a_restart_bring_nothing_of_the_old_values_back(
    nursery: trio.Nursery,
) -> None:
    before = Tracked()
    await nursery.start(before.tracker.run)
    before.sees(100.0)
    before.tracker.went_offline(A_ID)
    await wait_all_tasks_blocked()
    written = {told[:3]: told[3] for told in before.told}
    after = Tracked(*(KnownLatency(*key, ms) for key, ms in written.items()))
    await nursery.start(after.tracker.run)
    assert after.own() == math.inf
    assert after.exact() is None


async def test_the_history_has_the_samples_themselves_oldest_first(tracked: Tracked) -> None:
    assert tracked.tracker.history(A_ID) == ()
    for n, ms in enumerate([100.0, 300.0]):
        tracked.tracker.observed(Observed(A_ID, "m", CHAT, Speed(ms), NOW + timedelta(seconds=n)))
    tracked.tracker.went_offline(A_ID)
    await wait_all_tasks_blocked()
    assert tracked.tracker.history(A_ID) == (
        Sample(NOW, Speed(100.0)),
        Sample(NOW + timedelta(seconds=1), Speed(300.0)),
    )


async def test_the_standings_can_only_be_read(tracked: Tracked) -> None:
    def write_to(table: object) -> None:
        table["x"] = 1  # type: ignore[index]  # that is the point

    for table in (tracked.tracker.standings.by_endpoint, tracked.tracker.standings.by_model):
        with pytest.raises(TypeError):
            write_to(table)


async def test_a_closed_tracker_takes_in_what_it_was_told_and_nothing_more() -> None:
    tracked = Tracked()
    tracked.sees(100.0)
    tracked.tracker.close()
    await tracked.tracker.run()
    assert tracked.own() == 100.0
    with pytest.raises(ActorGone):
        tracked.sees(100.0)


def ids_of(known: Iterable[KnownLatency]) -> set[EndpointId]:
    return {k.endpoint_id for k in known}


_known = st.builds(
    KnownLatency,
    st.sampled_from([A_ID, B_ID]),
    st.sampled_from([None, "m", "n"]),
    st.sampled_from([None, CHAT, EMBED]),
    st.floats(0, 1e6) | st.just(math.inf),
)


@effort(max_examples=40)
@given(st.lists(_known, max_size=8), st.sampled_from(["m", "n", "o"]))
def test_whatever_is_restored_no_standing_is_infinite(
    known: list[KnownLatency], model: str
) -> None:
    async def restore() -> None:
        tracked = Tracked(*known)
        tracked.tracker.close()
        await tracked.tracker.run()
        for one in ids_of(known):
            for api in (CHAT, EMBED, None):
                standing = tracked.tracker.standings.standing(one, model, api)
                assert standing is None or math.isfinite(standing.latency_ms)

    trio.run(restore, clock=MockClock(autojump_threshold=0))
