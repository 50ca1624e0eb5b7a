"""Circuits: when they open, who is let through, what closes them, and what never counts."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmlb.actors.admission.circuits import (
    FAILURES_TO_OPEN,
    LONGEST_PAUSE_S,
    CircuitChange,
    Circuits,
    CircuitState,
)
from llmlb.types import EndpointId

A, B = EndpointId("id-a"), EndpointId("id-b")
CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


class Bench:
    """Circuits, a clock that is set by hand, and all that was told."""

    def __init__(self) -> None:
        self.told: list[CircuitChange] = []
        self.circuits = Circuits(random.Random(1), self.told.append)
        self.now_s = 100.0
        self._serial = 0

    def grant(self, endpoint_id: EndpointId = A) -> int:
        self._serial += 1
        self.circuits.granted(self._serial, endpoint_id, self.now_s)
        return self._serial

    def fail(self, *serials: int) -> float | None:
        """Fail *serials*, or a new lease; returns the pause that the last one brought."""
        pause_s = None
        for serial in serials or (self.grant(),):
            pause_s = self.circuits.failed(serial, A, self.now_s)
        return pause_s

    def open(self) -> float:
        """Let the circuit open; returns the pause."""
        pauses = [self.fail() for _ in range(FAILURES_TO_OPEN)]
        assert pauses[-1] is not None
        return pauses[-1]

    def wait_out(self) -> None:
        """Until a canary may go."""
        self.now_s = max(self.now_s, self.circuits.opens_until_s(A))

    @property
    def state(self) -> CircuitState:
        return self.circuits.state(A, self.now_s)

    @property
    def admits(self) -> bool:
        return self.circuits.admits(A, self.now_s)

    @property
    def states(self) -> list[CircuitState]:
        return [change.state for change in self.told]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_third_failure_in_a_row_opens_it(bench: Bench) -> None:
    assert bench.fail() is None
    assert bench.fail() is None
    assert (bench.state, bench.admits, bench.circuits.failures(A)) == (CLOSED, True, 2)
    pause_s = bench.fail()
    assert pause_s == pytest.approx(1, rel=0.2)
    assert (bench.state, bench.admits, bench.circuits.failures(A)) == (OPEN, False, 3)
    assert bench.circuits.opens_until_s(A) == bench.now_s + (pause_s or 0)
    assert bench.told == [CircuitChange(A, OPEN, 3, pause_s or 0)]


def test_one_circuit_is_not_anothers(bench: Bench) -> None:
    bench.open()
    assert bench.circuits.admits(B, bench.now_s)
    assert bench.circuits.state(B, bench.now_s) is CLOSED
    assert (bench.circuits.failures(B), bench.circuits.opens_until_s(B)) == (0, 0.0)


def test_a_success_ends_the_row(bench: Bench) -> None:
    for _ in range(3):
        bench.fail()
        bench.fail()
        bench.circuits.succeeded(bench.grant(), A)
        assert bench.circuits.failures(A) == 0
    assert bench.told == []


def test_a_success_that_was_under_way_before_the_failures_says_nothing(bench: Bench) -> None:
    old = bench.grant()
    bench.fail()
    bench.fail()
    bench.circuits.succeeded(old, A)
    assert bench.circuits.failures(A) == 2
    bench.fail()
    assert bench.state is OPEN
    later = bench.grant()
    bench.circuits.succeeded(old, A)
    assert bench.state is OPEN
    bench.circuits.succeeded(later, A)
    assert bench.state is CLOSED


def test_a_success_ends_what_failed_before_it_was_granted_and_no_more(bench: Bench) -> None:
    bench.fail()
    between, later = bench.grant(), bench.grant()
    bench.fail(later)
    bench.circuits.succeeded(between, A)
    assert bench.circuits.failures(A) == 1


def test_exactly_one_canary_is_let_through(bench: Bench) -> None:
    pause_s = bench.open()
    bench.now_s += pause_s - 0.001
    assert not bench.admits
    bench.now_s += 0.001
    assert (bench.state, bench.admits) == (HALF_OPEN, True)
    bench.grant()
    assert (bench.state, bench.admits) == (HALF_OPEN, False)
    bench.now_s += 1000
    assert not bench.admits, "however long it takes"
    assert bench.states == [OPEN, HALF_OPEN]


def test_a_canary_that_succeeds_closes_it_and_all_is_forgotten(bench: Bench) -> None:
    bench.open()
    bench.wait_out()
    bench.circuits.succeeded(bench.grant(), A)
    assert (bench.state, bench.circuits.failures(A)) == (CLOSED, 0)
    assert bench.states == [OPEN, HALF_OPEN, CLOSED]
    assert bench.open() == pytest.approx(1, rel=0.2), "the pause begins anew"


def test_each_canary_that_fails_doubles_the_pause_up_to_a_minute(bench: Bench) -> None:
    pauses = [bench.open()]
    for _ in range(8):
        bench.wait_out()
        pause_s = bench.fail()
        assert pause_s is not None
        pauses.append(pause_s)
    for nominal_s, pause_s in zip([1, 2, 4, 8, 16, 32, 60, 60, 60], pauses, strict=True):
        assert 0.8 * nominal_s <= pause_s <= min(LONGEST_PAUSE_S, 1.2 * nominal_s)
    assert len(set(pauses)) > 5, "there is jitter"


def test_a_canary_whose_end_says_nothing_makes_room_for_another(bench: Bench) -> None:
    bench.open()
    bench.wait_out()
    bench.circuits.ended(bench.grant(), A)
    assert (bench.state, bench.admits) == (HALF_OPEN, True)
    bench.circuits.ended(999, A)
    bench.circuits.ended(999, B)
    assert bench.admits


def test_what_was_under_way_when_it_opened_does_not_prolong_the_pause(bench: Bench) -> None:
    old = [bench.grant() for _ in range(5)]
    assert bench.fail(*old[:3]) is not None
    until_s = bench.circuits.opens_until_s(A)
    assert bench.fail(*old[3:]) is None
    assert bench.circuits.opens_until_s(A) == until_s
    assert bench.states == [OPEN]


def test_of_several_that_were_let_through_since_it_opened_one_failure_counts(bench: Bench) -> None:
    bench.open()
    forced = [bench.grant() for _ in range(5)]  # nothing better was there
    pause_s = bench.fail(forced[0])
    assert pause_s == pytest.approx(2, rel=0.2)
    assert bench.fail(*forced[1:]) is None


def test_an_answer_that_has_begun_closes_it_but_the_next_failure_opens_it(bench: Bench) -> None:
    bench.open()
    bench.wait_out()
    canary = bench.grant()
    assert bench.circuits.begun(canary, A)
    assert (bench.state, bench.circuits.failures(A)) == (CLOSED, 2)
    assert not bench.circuits.begun(canary, A)
    assert bench.fail(canary) == pytest.approx(2, rel=0.2), "it was not well for long"
    assert bench.states == [OPEN, HALF_OPEN, CLOSED, OPEN]


def test_an_answer_that_has_begun_and_ends_well_makes_all_forgotten(bench: Bench) -> None:
    bench.open()
    bench.wait_out()
    canary = bench.grant()
    bench.circuits.begun(canary, A)
    bench.circuits.succeeded(canary, A)
    assert bench.circuits.failures(A) == 0
    assert bench.open() == pytest.approx(1, rel=0.2)


def test_an_old_answer_that_begins_or_a_healthy_one_changes_nothing(bench: Bench) -> None:
    old = bench.grant()
    assert not bench.circuits.begun(old, A)
    bench.open()
    assert not bench.circuits.begun(old, A)
    assert bench.state is OPEN


# -- taken back


def test_failures_that_are_taken_back_never_open_it(bench: Bench) -> None:
    for _ in range(10):
        poison = bench.grant()
        bench.fail(poison)
        bench.circuits.taken_back(poison, A)
    assert (bench.told, bench.circuits.failures(A)) == ([], 0)


def test_to_take_back_what_opened_it_closes_it(bench: Bench) -> None:
    bench.fail()
    bench.fail()
    poison, straggler = bench.grant(), bench.grant()
    bench.fail(poison)
    bench.circuits.taken_back(poison, A)
    assert (bench.state, bench.circuits.failures(A)) == (CLOSED, 2)
    assert bench.states == [OPEN, CLOSED]
    assert bench.fail(straggler) == pytest.approx(1, rel=0.2), "a true failure counts, as the first"


def test_to_take_back_a_canary_lets_another_through_at_once(bench: Bench) -> None:
    bench.open()
    bench.wait_out()
    poison = bench.grant()
    bench.fail(poison)
    assert not bench.admits
    bench.circuits.taken_back(poison, A)
    assert (bench.state, bench.admits) == (HALF_OPEN, True)
    assert bench.fail() == pytest.approx(2, rel=0.2), "as if it had not been there"


def test_what_is_not_known_cannot_be_taken_back(bench: Bench) -> None:
    bench.circuits.taken_back(1, A)
    bench.open()
    bench.circuits.taken_back(999, A)
    assert (bench.state, bench.circuits.failures(A)) == (OPEN, 3)


def test_to_take_back_one_of_many_leaves_it_open(bench: Bench) -> None:
    bench.open()
    bench.wait_out()
    bench.fail()
    until_s = bench.circuits.opens_until_s(A)
    bench.circuits.taken_back(1, A)
    assert (bench.state, bench.circuits.failures(A)) == (OPEN, 3)
    assert bench.circuits.opens_until_s(A) == until_s


# -- endpoints that come back, and that go


def test_one_that_was_offline_is_tried_at_once_with_one_request(bench: Bench) -> None:
    bench.open()
    for _ in range(6):
        bench.wait_out()
        bench.fail()
    bench.wait_out()
    lost = bench.grant()
    assert not bench.admits
    bench.circuits.came_back(A)
    assert (bench.state, bench.admits) == (HALF_OPEN, True)
    bench.grant()
    assert not bench.admits
    assert bench.fail(lost) is None, "what was under way before is no news"
    assert bench.fail() == pytest.approx(1, rel=0.2), "the pause begins anew"


def test_one_that_was_offline_with_a_closed_circuit_is_as_it_was(bench: Bench) -> None:
    bench.circuits.came_back(A)
    bench.fail()
    bench.circuits.came_back(A)
    assert (bench.state, bench.circuits.failures(A)) == (CLOSED, 1)


def test_those_that_are_gone_are_forgotten(bench: Bench) -> None:
    bench.open()
    bench.circuits.retain({A, B})
    assert bench.state is OPEN
    bench.circuits.retain({B})
    assert (bench.state, bench.circuits.failures(A)) == (CLOSED, 0)


# -- whatever happens


class AnyHistory(RuleBasedStateMachine):
    """Leases of two endpoints that begin, end in any way and order, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[CircuitChange] = []
        self.circuits = Circuits(random.Random(0), self.told.append)
        self.now_s = 0.0
        self.serial = 0
        self.out: dict[int, EndpointId] = {}
        self.failed: list[tuple[int, EndpointId]] = []
        self.canaries: dict[EndpointId, set[int]] = {A: set(), B: set()}

    def is_(self, endpoint_id: EndpointId) -> CircuitState:
        return self.circuits.state(endpoint_id, self.now_s)

    @rule(endpoint_id=st.sampled_from([A, B]), forced=st.booleans())
    def grant(self, endpoint_id: EndpointId, forced: bool) -> None:
        admitted = self.circuits.admits(endpoint_id, self.now_s)
        assume(admitted or forced)
        was = self.is_(endpoint_id)
        self.serial += 1
        self.circuits.granted(self.serial, endpoint_id, self.now_s)
        self.out[self.serial] = endpoint_id
        if was is HALF_OPEN and admitted:
            assert not self.canaries[endpoint_id] & self.out.keys(), "one canary at a time"
            self.canaries[endpoint_id].add(self.serial)
            assert not self.circuits.admits(endpoint_id, self.now_s)
        elif was is not CLOSED:
            assert forced, "an open circuit lets nobody through by itself"

    def _end(self, nth: int) -> tuple[int, EndpointId]:
        serial = sorted(self.out)[nth % len(self.out)]
        return serial, self.out.pop(serial)

    @precondition(lambda self: self.out)
    @rule(nth=st.integers(0, 50))
    def fail(self, nth: int) -> None:
        serial, endpoint_id = self._end(nth)
        before, failures = self.is_(endpoint_id), self.circuits.failures(endpoint_id)
        told = len(self.told)
        pause_s = self.circuits.failed(serial, endpoint_id, self.now_s)
        self.failed.append((serial, endpoint_id))
        if pause_s is not None:
            assert 0.8 <= pause_s <= LONGEST_PAUSE_S
            assert self.is_(endpoint_id) is OPEN
            assert self.circuits.opens_until_s(endpoint_id) == self.now_s + pause_s
            assert self.told[told:] == [
                CircuitChange(endpoint_id, OPEN, self.circuits.failures(endpoint_id), pause_s)
            ]
            self.canaries[endpoint_id].clear()
        elif before is CLOSED:
            assert self.circuits.failures(endpoint_id) <= failures + 1
            assert self.told[told:] == []

    @precondition(lambda self: self.out)
    @rule(nth=st.integers(0, 50))
    def succeed(self, nth: int) -> None:
        serial, endpoint_id = self._end(nth)
        self.circuits.succeeded(serial, endpoint_id)
        if serial == self.serial:
            assert self.is_(endpoint_id) is CLOSED, "nothing is newer than this success"

    @precondition(lambda self: self.out)
    @rule(nth=st.integers(0, 50))
    def end(self, nth: int) -> None:
        serial, endpoint_id = self._end(nth)
        before = self.is_(endpoint_id), self.circuits.failures(endpoint_id)
        self.circuits.ended(serial, endpoint_id)
        assert before == (self.is_(endpoint_id), self.circuits.failures(endpoint_id))

    @precondition(lambda self: self.out)
    @rule(nth=st.integers(0, 50))
    def begin(self, nth: int) -> None:
        serial = sorted(self.out)[nth % len(self.out)]
        if self.circuits.begun(serial, self.out[serial]):
            assert self.is_(self.out[serial]) is CLOSED
            self.canaries[self.out[serial]].clear()

    @precondition(lambda self: self.failed)
    @rule(nth=st.integers(0, 50))
    def take_back(self, nth: int) -> None:
        serial, endpoint_id = self.failed.pop(nth % len(self.failed))
        before = self.circuits.failures(endpoint_id)
        self.circuits.taken_back(serial, endpoint_id)
        assert before - 1 <= self.circuits.failures(endpoint_id) <= before

    @rule(seconds=st.sampled_from([0.1, 1.2, 5.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(endpoint_id=st.sampled_from([A, B]))
    def come_back(self, endpoint_id: EndpointId) -> None:
        self.circuits.came_back(endpoint_id)
        assert self.circuits.admits(endpoint_id, self.now_s)
        self.canaries[endpoint_id].clear()

    @invariant()
    def a_closed_circuit_admits_and_an_open_one_does_not(self) -> None:
        for endpoint_id in (A, B):
            state, admits = self.is_(endpoint_id), self.circuits.admits(endpoint_id, self.now_s)
            assert self.circuits.failures(endpoint_id) >= 0
            if state is CLOSED:
                assert admits
            elif state is OPEN:
                assert not admits
                assert self.circuits.failures(endpoint_id) >= FAILURES_TO_OPEN
                left_s = self.circuits.opens_until_s(endpoint_id) - self.now_s
                assert 0 < left_s <= LONGEST_PAUSE_S, "it is tried again within a minute"
            else:
                out = self.canaries[endpoint_id] & self.out.keys()
                assert len(out) == (not admits), "it admits unless its canary is out"

    @invariant()
    def each_change_differs_from_the_one_before(self) -> None:
        for endpoint_id in (A, B):
            states = [c.state for c in self.told if c.endpoint_id == endpoint_id]
            for before, after in zip([CLOSED, *states], states, strict=False):
                assert after is not CLOSED or before is not CLOSED
                assert after is not HALF_OPEN or before is not CLOSED


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
