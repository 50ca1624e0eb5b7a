"""The arithmetic of balancing: order, admission, probes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from llmlb.routing import (
    STALE_AFTER_S,
    Accept,
    AcceptWithDelay,
    Measured,
    Reject,
    Standings,
    admission_control,
    after_probe,
    after_refusal,
    eligible,
    ema,
    hopeful,
    order,
    retry_after_s,
)
from llmlb.types import Api, Endpoint, EndpointId, Mode, Model, Status

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CHAT, EMBED = Api.CHAT_COMPLETIONS, Api.EMBEDDINGS
EFFORT = effort(max_examples=150)


def endpoint(name: str = "a", **changes: object) -> Endpoint:
    online = Endpoint(
        id=EndpointId(f"id-{name}"),
        name=name,
        base_url=f"http://{name}:1",
        registered_at=NOW,
        status=Status.ONLINE,
        models=(Model("m"),),
        probed=True,
        synced=True,
    )
    return replace(online, **changes)  # type: ignore[arg-type]  # a test names real fields


def ordered(
    *candidates: Endpoint,
    latency_ms: Mapping[str, float] | None = None,
    standings: Standings | None = None,
    busy: Mapping[str, int] | None = None,
    turns: Mapping[str, int] | None = None,
    now_s: float = 0.0,
    at_s: float = 0.0,
) -> list[str]:
    by_endpoint = {
        EndpointId(f"id-{n}"): Measured(ms, at_s) for n, ms in (latency_ms or {}).items()
    }
    found = order(
        candidates,
        own_id=lambda _: "m",
        api=CHAT,
        standings=standings or Standings(by_endpoint),
        in_flight={EndpointId(f"id-{n}"): count for n, count in (busy or {}).items()},
        last_turn={EndpointId(f"id-{n}"): turn for n, turn in (turns or {}).items()},
        now_s=now_s,
    )
    return [e.name for e in found]


A, B, C, D = (endpoint(n) for n in "abcd")


# -- the EMA


@EFFORT
@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_an_ema_lies_between_the_previous_value_and_the_sample(old: float, new: float) -> None:
    folded = ema(old, new)
    assert min(old, new) <= folded * (1 + 1e-12) + 1e-300
    assert folded <= max(old, new) * (1 + 1e-12)
    assert folded == pytest.approx(old + (new - old) / 5, rel=1e-9, abs=1e-6)


@EFFORT
@given(st.floats(0, 1e9), st.sampled_from([None, math.inf]))
def test_the_first_sample_is_taken_as_it_is_also_after_offline(
    sample: float, before: float | None
) -> None:
    assert ema(before, sample) == sample


@EFFORT
@given(st.floats(0, 1e6), st.integers(1, 60))
def test_equal_samples_leave_the_ema_where_it_is(sample: float, n: int) -> None:
    value: float | None = None
    for _ in range(n):
        value = ema(value, sample)
    assert value == pytest.approx(sample)


# -- the order


def test_the_lowest_latency_comes_first() -> None:
    assert ordered(A, B, C, latency_ms={"a": 300, "b": 10, "c": 100}) == ["b", "c", "a"]


def test_an_unmeasured_idle_endpoint_comes_first_and_a_busy_one_last() -> None:
    assert ordered(A, B, C, latency_ms={"a": 1, "b": 2}) == ["c", "a", "b"]
    assert ordered(A, B, C, latency_ms={"a": 1, "b": 2}, busy={"c": 1}) == ["a", "b", "c"]


def test_of_the_unmeasured_and_busy_the_least_busy_comes_first() -> None:
    assert ordered(A, B, C, busy={"a": 3, "b": 1, "c": 2}) == ["b", "c", "a"]


def test_online_with_an_infinite_latency_counts_as_unmeasured() -> None:
    assert ordered(A, B, latency_ms={"a": 1, "b": math.inf}) == ["b", "a"]
    assert ordered(A, B, latency_ms={"a": 1, "b": math.inf}, busy={"b": 1}) == ["a", "b"]


def test_a_stale_idle_endpoint_is_explored_again() -> None:
    latency = {"a": 1.0, "b": 500.0}
    almost = math.nextafter(STALE_AFTER_S, 0)
    assert ordered(A, B, latency_ms=latency, now_s=almost) == ["a", "b"]
    assert ordered(A, B, latency_ms=latency, turns={"a": 1}, now_s=STALE_AFTER_S) == ["b", "a"]
    assert ordered(A, B, latency_ms=latency, turns={"b": 1}, now_s=STALE_AFTER_S) == ["a", "b"]


def test_a_stale_busy_endpoint_keeps_its_latency() -> None:
    names = ordered(A, B, latency_ms={"a": 500, "b": 1}, busy={"a": 1}, now_s=STALE_AFTER_S)
    assert names == ["b", "a"]


def test_equals_take_turns_whoever_was_chosen_longest_ago_first() -> None:
    latency = dict.fromkeys("abcd", 50.0)
    assert ordered(A, B, C, D, latency_ms=latency, turns={"a": 4, "b": 9, "c": 2}) == list("dcab")
    assert ordered(A, B, C, turns={"a": 4, "b": 2, "c": 3}) == list("bca")


def test_the_most_exact_latency_decides() -> None:
    standings = Standings(
        {A.id: Measured(10, 0), B.id: Measured(20, 0)},
        {(A.id, "m", CHAT): Measured(90, 0), (A.id, "m", EMBED): Measured(1, 0)},
    )
    assert ordered(A, B, standings=standings) == ["b", "a"]


def test_a_standing_is_the_most_exact_finite_value() -> None:
    standings = Standings(
        {A.id: Measured(10, 1), B.id: Measured(math.inf, 1)}, {(A.id, "m", CHAT): Measured(0.0, 2)}
    )
    assert standings.standing(A.id, "m", CHAT) == Measured(0.0, 2)
    assert standings.standing(A.id, "m", EMBED) == Measured(10, 1)
    assert standings.standing(A.id, "m", None) == Measured(10, 1)
    assert standings.standing(A.id, "n", CHAT) == Measured(10, 1)
    assert standings.standing(B.id, "m", CHAT) is None
    assert standings.standing(C.id, "m", CHAT) is None
    assert standings.latency_ms(A.id) == 10
    assert standings.latency_ms(B.id) == math.inf
    assert standings.latency_ms(C.id) is None


_latencies = st.dictionaries(
    st.sampled_from("abcdef"), st.floats(0, 1e6) | st.just(math.inf), max_size=6
)
_counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5), max_size=6)
_candidates = st.lists(st.sampled_from("abcdef"), unique=True)


@EFFORT
@given(_candidates, _latencies, _counts, _counts, st.floats(0, 2 * STALE_AFTER_S))
def test_the_order_is_a_permutation_with_the_specified_classes_in_turn(
    names: list[str],
    latency_ms: dict[str, float],
    busy: dict[str, int],
    turns: dict[str, int],
    now_s: float,
) -> None:
    found = ordered(
        *(endpoint(n) for n in names), latency_ms=latency_ms, busy=busy, turns=turns, now_s=now_s
    )
    assert sorted(found) == sorted(names)

    def kind(name: str) -> str:
        measured, works = math.isfinite(latency_ms.get(name, math.inf)), busy.get(name, 0) > 0
        stale = now_s >= STALE_AFTER_S
        if measured and (works or not stale):
            return "measured"
        return "last" if works else "explored"

    kinds = [kind(n) for n in found]
    assert kinds == sorted(kinds, key=["explored", "measured", "last"].index)
    for one, other in pairwise(found):
        if kind(one) == kind(other) == "measured":
            assert latency_ms[one] <= latency_ms[other]
            if latency_ms[one] == latency_ms[other]:
                assert turns.get(one, -1) <= turns.get(other, -1)
        if kind(one) == kind(other) == "explored":
            assert turns.get(one, -1) <= turns.get(other, -1)


@EFFORT
@given(_candidates.filter(len), st.integers(2, 5))
def test_equals_that_are_chosen_in_turn_are_chosen_equally_often(
    names: list[str], rounds: int
) -> None:
    endpoints = [endpoint(n) for n in names]
    turns: dict[str, int] = {}
    chosen = []
    for turn in range(rounds * len(names)):
        first = ordered(*endpoints, latency_ms=dict.fromkeys(names, 7.0), turns=turns)[0]
        turns[first] = turn
        chosen.append(first)
    assert {chosen.count(n) for n in names} == {rounds}


# -- who may be asked


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("probed", [True, False])
@pytest.mark.parametrize("synced", [True, False])
def test_only_what_is_enabled_online_probed_and_synced_is_eligible(
    mode: Mode, status: Status, probed: bool, synced: bool
) -> None:
    one = endpoint(mode=mode, status=status, probed=probed, synced=synced)
    serves = mode is Mode.ENABLED and status is Status.ONLINE and probed and synced
    assert eligible([one]) == ([one] if serves else [])
    known_to_be_down = status in (Status.OFFLINE, Status.ERROR) and probed
    assert hopeful([one]) is (mode is Mode.ENABLED and not known_to_be_down)


def test_eligible_keeps_the_order_and_hopeful_needs_only_one() -> None:
    down = endpoint("down", status=Status.OFFLINE)
    assert eligible([C, down, A]) == [C, A]
    assert hopeful([down, A])
    assert not hopeful([down])
    assert not hopeful([])


# -- admission control


@EFFORT
@given(st.integers(5, 100_000), st.data())
def test_admission_grows_stricter_and_delays_by_10_to_99_ms(most: int, data: st.DataObject) -> None:
    fewer = data.draw(st.integers(0, most))
    more = data.draw(st.integers(fewer, most + 5))

    def strictness(waiters: int) -> int:
        match admission_control(waiters, most):
            case Accept():
                return 0
            case AcceptWithDelay(delay_ms):
                assert isinstance(delay_ms, int)
                assert 10 <= delay_ms <= 99
                return delay_ms
            case Reject():
                return 100

    assert strictness(fewer) <= strictness(more)
    assert strictness(most) == 100


@EFFORT
@given(st.integers(5, 100_000))
def test_admission_changes_exactly_at_a_half_and_at_four_fifths(most: int) -> None:
    half, fifths = most // 2, most * 4 // 5
    assert admission_control(0, most) == Accept()
    assert admission_control(half - 1, most) == Accept()
    assert admission_control(half, most) == AcceptWithDelay(10)
    assert isinstance(admission_control(fifths - 1, most), AcceptWithDelay)
    assert admission_control(fifths, most) == Reject()


def test_the_delays_of_a_hundred_places_are_those_of_the_specification() -> None:
    delays = [admission_control(w, 100) for w in range(50, 80)]
    assert delays == [AcceptWithDelay(10 + 90 * (w - 50) // 30) for w in range(50, 80)]
    assert delays[-1] == AcceptWithDelay(97)


@pytest.mark.parametrize(
    ("most", "decisions"),
    [
        (0, [Reject(), Reject()]),
        (1, [Reject(), Reject()]),
        (2, [Accept(), Reject()]),
        (3, [Accept(), AcceptWithDelay(10), Reject()]),
        (4, [Accept(), Accept(), AcceptWithDelay(10), Reject()]),
        (5, [Accept(), Accept(), AcceptWithDelay(10), AcceptWithDelay(55), Reject()]),
    ],
)
def test_small_lines_have_their_steps_too(most: int, decisions: list[object]) -> None:
    assert [admission_control(w, most) for w in range(len(decisions))] == decisions


# -- Retry-After


@pytest.mark.parametrize(
    ("ahead", "per_s", "latency_ms", "expected"),
    [
        (10, 2.0, None, 5),
        (10, 3.0, 9e9, 4),
        (0, 2.0, None, 1),
        (1000, 0.1, None, 60),
        (10, 0.0, 2500.0, 3),
        (10, 0.0, 0.0, 1),
        (10, 0.0, 1e9, 60),
        (10, 0.0, None, 5),
        (10, 0.0, math.inf, 5),
    ],
)
def test_retry_after_is_the_honest_estimate(
    ahead: int, per_s: float, latency_ms: float | None, expected: int
) -> None:
    said = retry_after_s(waiters_ahead=ahead, completions_per_s=per_s, latency_ms=latency_ms)
    assert said == expected


@EFFORT
@given(
    st.integers(0, 10**6),
    st.floats(0, 1e9),
    st.none() | st.floats(0, allow_nan=False, allow_infinity=True),
)
def test_retry_after_is_always_a_whole_number_from_1_to_60(
    ahead: int, per_s: float, latency_ms: float | None
) -> None:
    said = retry_after_s(waiters_ahead=ahead, completions_per_s=per_s, latency_ms=latency_ms)
    assert isinstance(said, int)
    assert 1 <= said <= 60


def test_retry_after_survives_the_slowest_line_there_is() -> None:
    slowest = math.nextafter(0, 1)
    assert retry_after_s(waiters_ahead=10, completions_per_s=slowest, latency_ms=None) == 60


# -- what a probe means: reference §5.1


@pytest.mark.parametrize("before", Status)
@pytest.mark.parametrize("probed", [True, False])
def test_a_good_probe_means_online(before: Status, probed: bool) -> None:
    one = endpoint(status=before, probed=probed, error_count=1, last_error="dead")
    after = after_probe(one, at=NOW, failure=None)
    assert after == replace(
        one, status=Status.ONLINE, probed=True, error_count=0, last_error=None, last_seen_at=NOW
    )


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (Status.PENDING, Status.OFFLINE),
        (Status.ONLINE, Status.ERROR),
        (Status.ERROR, Status.OFFLINE),
        (Status.OFFLINE, Status.OFFLINE),
    ],
)
def test_a_failed_probe_means_error_then_offline(before: Status, expected: Status) -> None:
    one = endpoint(status=before, probed=False, latency_ms=40.0, last_seen_at=NOW)
    after = after_probe(one, at=NOW, failure="dead")
    assert (after.status, after.last_error, after.probed) == (expected, "dead", True)
    assert after.last_seen_at == NOW, "when it last answered"
    if expected is Status.ERROR:
        assert (after.error_count, after.latency_ms, after.synced) == (1, 40.0, True)
    else:
        assert (after.error_count, after.latency_ms, after.synced) == (0, math.inf, False)


@EFFORT
@given(st.sampled_from(Status), st.lists(st.booleans(), min_size=1, max_size=8))
def test_two_failures_in_a_row_mean_offline_and_one_success_means_online(
    before: Status, answers: list[bool]
) -> None:
    one = endpoint(status=before)
    for good in answers:
        one = after_probe(one, at=NOW, failure=None if good else "dead")
    if answers[-1]:
        assert one.status is Status.ONLINE
    elif answers[-2:] == [False, False]:
        assert one.status is Status.OFFLINE
    else:
        assert one.status in (Status.ERROR, Status.OFFLINE)


@pytest.mark.parametrize(
    ("before", "count", "expected", "expected_count"),
    [
        (Status.ONLINE, 0, Status.ERROR, 1),
        (Status.ERROR, 1, Status.ERROR, 2),
        (Status.PENDING, 0, Status.PENDING, 0),
        (Status.OFFLINE, 0, Status.OFFLINE, 0),
    ],
)
def test_a_refusal_means_error_for_what_seemed_to_serve(
    before: Status, count: int, expected: Status, expected_count: int
) -> None:
    one = endpoint(status=before, error_count=count)
    after = after_refusal(one, "It refuses the key.")
    assert after == replace(
        one, status=expected, error_count=expected_count, last_error="It refuses the key."
    )
