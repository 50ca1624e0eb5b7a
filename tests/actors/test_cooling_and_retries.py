"""Endpoints that asked to be left alone, and how many requests may be tried again at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.actors.admission.cooling import LONGEST_S, Cooling
from llmlb.actors.admission.retries import RetryBudget
from llmlb.types import EndpointId

A, B = EndpointId("id-a"), EndpointId("id-b")


def test_an_endpoint_cools_for_as_long_as_it_asked() -> None:
    cooling = Cooling()
    assert cooling.cool(A, 7.0, 100.0) == 7.0
    assert [cooling.left_s(A, now_s) for now_s in (100.0, 106.0, 107.0, 200.0)] == [7, 1, 0, 0]
    assert cooling.left_s(B, 100.0) == 0


def test_a_later_wish_does_not_shorten_an_earlier_one() -> None:
    cooling = Cooling()
    cooling.cool(A, 60.0, 100.0)
    cooling.cool(A, 5.0, 110.0)
    assert cooling.left_s(A, 110.0) == 50
    cooling.cool(A, 90.0, 110.0)
    assert cooling.left_s(A, 110.0) == 90


def test_the_wish_is_bounded() -> None:
    cooling = Cooling()
    assert cooling.cool(A, 86_400.0, 0.0) == LONGEST_S
    assert cooling.left_s(A, 0.0) == LONGEST_S


def test_the_first_that_has_cooled_counts() -> None:
    cooling = Cooling()
    cooling.cool(A, 60.0, 0.0)
    cooling.cool(B, 20.0, 0.0)
    assert cooling.shortest_s([A, B], 5.0) == 15
    assert cooling.shortest_s([A], 5.0) == 55
    assert cooling.shortest_s([], 5.0) == 0


def test_those_that_are_gone_or_have_cooled_are_forgotten() -> None:
    cooling = Cooling()
    cooling.cool(A, 60.0, 0.0)
    cooling.cool(B, 20.0, 0.0)
    cooling.retain({A, B}, 30.0)
    assert (cooling.left_s(A, 0.0), cooling.left_s(B, 0.0)) == (60, 0)
    cooling.retain({B}, 30.0)
    assert cooling.left_s(A, 0.0) == 0


@pytest.mark.parametrize(
    ("in_flight", "most"), [(0, 3), (1, 3), (15, 3), (19, 3), (20, 4), (24, 4), (25, 5), (500, 100)]
)
def test_a_fifth_of_the_requests_in_flight_may_be_retries_but_three_always(
    in_flight: int, most: int
) -> None:
    budget = RetryBudget()
    for serial in range(most):
        assert budget.allows(in_flight)
        budget.take(serial)
    assert not budget.allows(in_flight)
    budget.settle(0)
    budget.settle(0)
    assert budget.allows(in_flight)
    assert len(budget) == most - 1


@given(
    steps=st.lists(st.tuples(st.sampled_from(["ask", "settle"]), st.integers(0, 40))),
    in_flight=st.integers(0, 100),
)
def test_never_more_than_the_budget_are_retried(
    steps: list[tuple[str, int]], in_flight: int
) -> None:
    budget = RetryBudget()
    for step, serial in steps:
        if step == "settle":
            budget.settle(serial)
        elif budget.allows(in_flight):
            budget.take(serial)
        assert len(budget) <= max(3, 0.2 * in_flight)
