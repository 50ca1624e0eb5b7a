"""Who waits for what, in order of arrival."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from llmlb.actors.admission.line import Line


@dataclass(eq=False)
class Waiter:
    model: str
    place: int
    wanted: bool = True


def line_of(*waiters: Waiter) -> Line[Waiter]:
    line = Line[Waiter]()
    for waiter in waiters:
        line.join(waiter)
    return line


def test_an_empty_line_has_nobody() -> None:
    line = line_of()
    assert len(line) == 0
    assert line.models() == []
    assert line.by_model() == {}
    assert line.waiting_for("m") == 0
    assert list(line.queue("m")) == []
    line.prune("m")


def test_one_queue_per_model_each_in_order_of_place() -> None:
    third, first, second, other = (
        Waiter("m", 3),
        Waiter("m", 1),
        Waiter("m", 2),
        Waiter("n", 4),
    )
    line = line_of(third, other, first, second)
    assert list(line.queue("m")) == [first, second, third]
    assert list(line.queue("n")) == [other]
    assert len(line) == 4
    assert line.by_model() == {"m": 3, "n": 1}


def test_the_model_with_the_oldest_waiter_comes_first() -> None:
    line = line_of(Waiter("n", 5), Waiter("m", 6), Waiter("n", 7), Waiter("o", 1))
    assert line.models() == ["o", "n", "m"]


def test_a_waiter_whose_caller_has_left_counts_no_more_and_goes_at_the_next_look() -> None:
    stays, leaves = Waiter("m", 1), Waiter("m", 2)
    line = line_of(stays, leaves)
    leaves.wanted = False
    assert len(line) == 1
    assert line.waiting_for("m") == 1
    assert list(line.queue("m")) == [stays, leaves]
    line.prune("m")
    assert list(line.queue("m")) == [stays]
    stays.wanted = False
    assert line.by_model() == {}
    line.prune("m")
    assert line.models() == []


def test_leaving_takes_one_waiter_out_and_no_other() -> None:
    first, second = Waiter("m", 1), Waiter("m", 2)
    line = line_of(first, second)
    line.leave(first)
    line.leave(first)
    line.leave(Waiter("n", 9))
    assert list(line.queue("m")) == [second]
    line.leave(second)
    assert line.models() == []


def test_the_line_may_change_while_it_is_walked() -> None:
    waiters = [Waiter("m", n) for n in range(4)]
    line = line_of(*waiters)
    seen = []
    for waiter in line.queue("m"):
        seen.append(waiter)
        waiter.wanted = False
        line.prune("m")
        line.join(Waiter("m", 10))
    assert seen == waiters


@effort(max_examples=80)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("mno"), st.integers(0, 30), st.sampled_from(["join", "go", "out"])
        )
    )
)
def test_whatever_happens_the_line_is_what_a_sorted_list_would_be(
    steps: list[tuple[str, int, str]],
) -> None:
    line, waiters = Line[Waiter](), list[Waiter]()
    for model, place, step in steps:
        mine = [w for w in waiters if w.model == model]
        if step == "join":
            waiter = Waiter(model, place)
            line.join(waiter)
            waiters.append(waiter)
        elif mine and step == "go":
            mine[place % len(mine)].wanted = False
            line.prune(model)
            waiters = [w for w in waiters if w.wanted or w.model != model]
        elif mine:
            line.leave(mine[place % len(mine)])
            waiters.remove(mine[place % len(mine)])
        expected = {m: sorted(w.place for w in waiters if w.model == m) for m in "mno"}
        assert {m: [w.place for w in line.queue(m)] for m in "mno"} == expected
        assert len(line) == sum(w.wanted for w in waiters)
        assert set(line.models()) == {m for m, places in expected.items() if places}
        oldest = [expected[m][0] for m in line.models()]
        assert oldest == sorted(oldest)
