"""The memory that all request bodies share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.bodies import BodyBudget


def test_what_fits_is_taken_and_given_back() -> None:
    budget = BodyBudget(10)

    assert budget.take(6)
    assert not budget.take(5)
    assert budget.take(4)
    assert not budget.take(1)
    budget.give_back(6)
    assert budget.take(5)
    assert budget.held_bytes == 9


def test_nothing_always_fits() -> None:
    budget = BodyBudget(0)
    assert budget.take(0)
    assert not budget.take(1)


@given(sizes=st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=50))
def test_it_never_holds_more_than_its_limit(sizes: list[tuple[int, bool]]) -> None:
    budget, held = BodyBudget(100), [0]
    for size, taking in sizes:
        if taking:
            before = budget.held_bytes
            taken = budget.take(size)
            assert taken == (before + size <= 100)
            held += [size] if taken else []
        elif len(held) > 1:
            budget.give_back(held.pop())
        assert budget.held_bytes == sum(held) <= 100
