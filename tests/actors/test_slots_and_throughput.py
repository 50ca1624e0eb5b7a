"""Which leases are out, and how many requests a minute completes."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from llmlb.actors.admission.slots import Slots
from llmlb.actors.admission.throughput import WINDOW_S, Throughput
from llmlb.types import EndpointId
from tests.actors.conftest import endpoint

A, B = EndpointId("id-a"), EndpointId("id-b")


# -- slots


def test_there_is_room_until_the_capacity_is_reached() -> None:
    slots, a = Slots(), endpoint("a", max_concurrency=2)
    assert slots.has_room(a)
    slots.take(1, A)
    assert slots.has_room(a)
    slots.take(2, A)
    assert not slots.has_room(a)
    assert slots.give_back(1) == A
    assert slots.has_room(a)


def test_a_lease_can_be_given_back_once() -> None:
    slots = Slots()
    slots.take(1, A)
    slots.take(2, A)
    assert slots.give_back(1) == A
    assert slots.give_back(1) is None
    assert slots.give_back(99) is None
    assert slots.in_flight == {A: 1}


def test_an_endpoint_without_leases_is_not_mentioned() -> None:
    slots = Slots()
    slots.take(1, A)
    slots.give_back(1)
    assert slots.in_flight == {}


def test_the_last_lease_is_the_last_turn_also_after_it_is_back() -> None:
    slots = Slots()
    slots.take(1, A)
    slots.take(2, B)
    slots.take(3, A)
    slots.give_back(3)
    assert slots.last_turn == {A: 3, B: 2}


def test_turns_of_endpoints_that_are_gone_are_forgotten_their_leases_are_not() -> None:
    slots = Slots()
    slots.take(1, A)
    slots.take(2, B)
    slots.retain({B: endpoint("b")})
    assert slots.last_turn == {B: 2}
    assert slots.in_flight == {A: 1, B: 1}
    assert slots.give_back(1) == A


def test_the_views_can_only_be_read() -> None:
    slots = Slots()
    for view in (slots.in_flight, slots.last_turn):
        assert isinstance(view, MappingProxyType)


@effort(max_examples=80)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 12), st.sampled_from([A, B]))))
def test_in_flight_is_always_the_live_leases_counted(
    steps: list[tuple[bool, int, EndpointId]],
) -> None:
    slots, live, serial = Slots(), dict[int, EndpointId](), 0
    for takes, which, where in steps:
        if takes:
            serial += 1
            slots.take(serial, where)
            live[serial] = where
        else:
            assert slots.give_back(which) == live.pop(which, None)
        assert dict(slots.in_flight) == dict(Counter(live.values()))


# -- throughput


def test_nothing_completed_is_no_throughput() -> None:
    assert Throughput().per_s("m", 5.0) == 0


def test_completions_are_counted_per_model_over_a_minute() -> None:
    throughput = Throughput()
    for second in range(30):
        throughput.completed("m", second + 0.5)
        throughput.completed("m", second + 0.6)
    throughput.completed("n", 1.0)
    assert throughput.per_s("m", 30) == pytest.approx(1.0)
    assert throughput.per_s("n", 30) == pytest.approx(1 / 60)
    assert throughput.per_s("m", 74.5) == pytest.approx(0.5)
    assert throughput.per_s("m", 200) == 0
    assert throughput.per_s("m", 200) == 0, "and is forgotten"


def test_models_that_nobody_lists_are_forgotten() -> None:
    throughput = Throughput()
    throughput.completed("m", 1)
    throughput.completed("n", 1)
    throughput.retain(lambda model: model == "n", 2)
    assert throughput.per_s("m", 2) == 0
    assert throughput.per_s("n", 2) > 0
    throughput.retain(lambda model: True, 62)
    assert throughput._buckets == {}


@effort(max_examples=80)
@given(st.lists(st.floats(0, 40), max_size=60))
def test_the_count_is_right_to_the_second_and_its_memory_is_bounded(gaps: list[float]) -> None:
    throughput, times, now_s = Throughput(), list[float](), 0.0
    for gap in gaps:
        now_s += gap
        throughput.completed("m", now_s)
        times.append(now_s)
        counted = throughput.per_s("m", now_s) * WINDOW_S
        assert sum(t > now_s - WINDOW_S + 1 for t in times) <= round(counted, 6)
        assert round(counted, 6) <= sum(t > now_s - WINDOW_S for t in times)
        assert len(throughput._buckets["m"]) <= WINDOW_S + 1
