"""That a key gets no more than its limits in any minute, and is told the truth of when it does."""

from __future__ import annotations

import copy
import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from llmlb.accounts import ApiKey, KeyLimits
from llmlb.errors import RateLimitExceeded
from llmlb.http.access import limits
from llmlb.http.access.limits import WINDOW_S, Limits, Ticket, Window
from tests.fakes.accounts import key


class Counter:
    """Limits, and a clock beside them."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.limits = Limits(lambda: self.now_s)

    def copy(self) -> Counter:
        """What would happen, in another world."""
        other = Counter()
        other.now_s = self.now_s
        other.limits._budgets = copy.deepcopy(self.limits._budgets)
        return other

    def enters(self, one: ApiKey) -> Ticket | RateLimitExceeded:
        try:
            return self.limits.enter(one)
        except RateLimitExceeded as refusal:
            return refusal

    def asks(self, one: ApiKey, tokens: int = 0) -> bool:
        """One request that takes no time."""
        match self.enters(one):
            case Ticket() as ticket:
                with ticket:
                    ticket.spent(tokens)
                return True
            case refusal:
                self.refusal = refusal
                return False


@pytest.fixture
def counter() -> Counter:
    return Counter()


def limited(
    requests: int | None = None, tokens: int | None = None, at_once: int | None = None
) -> ApiKey:
    return key(limits=KeyLimits(requests, tokens, at_once))


@pytest.mark.parametrize("one", [None, key()])
def test_without_limits_nothing_is_counted_and_nothing_told(
    counter: Counter, one: ApiKey | None
) -> None:
    for _ in range(1000):
        with counter.limits.enter(one) as ticket:
            ticket.spent(10**9)
        assert ticket.headers() == ()
    assert counter.limits._budgets == {}


def test_a_limit_of_requests_is_one_of_any_minute(counter: Counter) -> None:
    one = limited(requests=3)
    for _ in range(3):
        assert counter.asks(one)
        counter.now_s += 10
    assert not counter.asks(one)
    assert str(counter.refusal) == "The API key may use 3 requests per minute."
    assert counter.refusal.retry_after_s == 30
    counter.now_s += 30
    assert counter.asks(one)
    assert not counter.asks(one), "the second of the three still counts"
    counter.now_s += 10
    assert counter.asks(one)


def test_what_was_refused_does_not_count(counter: Counter) -> None:
    one = limited(requests=1)
    assert counter.asks(one)
    for _ in range(59):
        counter.now_s += 1
        assert not counter.asks(one)
    counter.now_s += 1
    assert counter.asks(one)


def test_keys_have_limits_of_their_own(counter: Counter) -> None:
    one = limited(requests=1)
    assert counter.asks(one)
    assert counter.asks(key("other", limits=KeyLimits(1)))
    assert not counter.asks(one)


def test_tokens_count_when_they_are_spent(counter: Counter) -> None:
    one = limited(tokens=100)
    assert counter.asks(one, 60)
    counter.now_s += 20
    assert counter.asks(one, 60), "nobody knows beforehand what it will cost"
    assert not counter.asks(one)
    assert str(counter.refusal) == "The API key may use 100 tokens per minute."
    assert counter.refusal.retry_after_s == 40
    counter.now_s += 40
    assert counter.asks(one)


@pytest.mark.parametrize("nothing", [0, -5])
def test_what_cost_nothing_counts_for_nothing(counter: Counter, nothing: int) -> None:
    one = limited(tokens=1)
    assert counter.asks(one, nothing)
    assert counter.asks(one)


def test_one_request_may_cost_more_than_a_minute_and_the_next_waits_longer_than_its_own(
    counter: Counter,
) -> None:
    one = limited(tokens=100)
    assert counter.asks(one, 10)
    counter.now_s += 30
    assert counter.asks(one, 10_000)
    counter.now_s += 30
    assert not counter.asks(one), "what was spent first has slid out, and it does not help"
    assert counter.refusal.retry_after_s == 30


@pytest.mark.parametrize(
    "nothing", [limited(requests=0), limited(tokens=0), limited(at_once=0)], ids="rtc"
)
def test_a_limit_that_cannot_be_read_allows_nothing(counter: Counter, nothing: ApiKey) -> None:
    assert not counter.asks(nothing)
    assert counter.refusal.retry_after_s in (1, 60)


def test_limits_that_are_changed_count_at_once(counter: Counter) -> None:
    for _ in range(5):
        assert counter.asks(limited(requests=5))
    assert not counter.asks(limited(requests=5))
    assert counter.asks(limited(requests=6))
    assert not counter.asks(limited(requests=2))
    assert counter.asks(limited())


# -- at once


def test_so_many_run_at_once_and_no_more(counter: Counter) -> None:
    one = limited(at_once=2)
    first, second = counter.limits.enter(one), counter.limits.enter(one)
    with first:
        with second:
            assert not counter.asks(one)
            assert str(counter.refusal) == "The API key may have 2 requests at once."
            assert counter.refusal.retry_after_s == 1
        assert counter.asks(one)
    assert counter.asks(one)


async def test_a_place_is_given_back_however_a_request_ends(
    counter: Counter, autojump_clock: MockClock
) -> None:
    one = limited(at_once=1)
    with pytest.raises(ZeroDivisionError), counter.limits.enter(one):
        raise ZeroDivisionError
    with trio.move_on_after(5) as patience, counter.limits.enter(one):
        await trio.sleep_forever()
    assert patience.cancelled_caught
    assert counter.asks(one)


def test_what_is_refused_for_running_at_once_does_not_count_as_a_request(counter: Counter) -> None:
    one = limited(requests=2, at_once=1)
    with counter.limits.enter(one):
        for _ in range(5):
            assert not counter.asks(one)
    assert counter.asks(one)


def test_how_long_requests_run_plays_no_part_in_how_many_begin(counter: Counter) -> None:
    one = limited(requests=1)
    with counter.limits.enter(one):
        counter.now_s += 60
        assert counter.asks(one)


# -- what is told


def test_a_client_is_told_of_its_limits_in_the_words_of_openai(counter: Counter) -> None:
    one = limited(requests=5, tokens=1000)
    with counter.limits.enter(one) as ticket:
        counter.now_s += 10
        ticket.spent(250)
    assert dict(ticket.headers()) == {
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "4",
        "x-ratelimit-reset-requests": "50s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "750",
        "x-ratelimit-reset-tokens": "60s",
    }
    counter.now_s += 60
    assert dict(ticket.headers())["x-ratelimit-remaining-requests"] == "5"
    assert dict(ticket.headers())["x-ratelimit-reset-requests"] == "0s"


def test_only_what_is_limited_is_told(counter: Counter) -> None:
    for one, told in ((limited(requests=1), "requests"), (limited(tokens=1), "tokens")):
        ticket = counter.limits.enter(one)
        assert {name.rpartition("-")[2] for name, _ in ticket.headers()} == {told}
    assert counter.limits.enter(limited(at_once=1)).headers() == ()


def test_whoever_is_refused_is_told_of_the_limits_too(counter: Counter) -> None:
    one = limited(requests=1, tokens=10)
    counter.asks(one, 100)
    counter.asks(one)
    told = dict(counter.refusal.headers)
    assert told["x-ratelimit-remaining-requests"] == "0"
    assert told["x-ratelimit-remaining-tokens"] == "0"
    with counter.limits.enter(limited(at_once=1)):
        assert not counter.asks(limited(requests=9, at_once=1))
    assert dict(counter.refusal.headers)["x-ratelimit-limit-requests"] == "9"


# -- memory


def test_budgets_of_keys_that_are_not_used_are_forgotten(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_IDLE", 10)
    running = key("running", limits=KeyLimits(1, None, 1))
    with counter.limits.enter(running):
        for n in range(100):
            counter.now_s += 10
            assert counter.asks(key(f"{n}", limits=KeyLimits(1)))
            assert len(counter.limits._budgets) <= 11
        assert not counter.asks(running), "but not while it runs"
    for n in range(20):
        assert counter.asks(key(f"more {n}", limits=KeyLimits(1)))
    assert len(counter.limits._budgets) >= 20, "nor what still counts"


def test_a_window_keeps_few_entries_however_many_come() -> None:
    window = Window()
    for n in range(100_000):
        window.add(1, n / 1000)
        window.used(n / 1000)
    assert len(window._entries) <= 62


# -- against a model that remembers every instant

STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.125, 0.5, 0.875, 1.0, 5.0, 20.0, 59.0, 60.0]),
        st.integers(0, 400),
    ),
    min_size=1,
    max_size=80,
)


@given(STEPS, st.none() | st.integers(1, 12), st.none() | st.integers(1, 1000))
def test_never_more_than_the_limit_within_any_minute(
    steps: list[tuple[float, int]], requests: int | None, tokens: int | None
) -> None:
    """Of tokens: never one more request once the limit is reached."""
    counter, one = Counter(), limited(requests, tokens)
    entered: list[tuple[float, int]] = []
    for pause_s, cost in steps:
        counter.now_s += pause_s
        recent = [(at_s, spent) for at_s, spent in entered if at_s > counter.now_s - WINDOW_S]
        free = (requests is None or len(recent) < requests) and (
            tokens is None or sum(spent for _, spent in recent) < tokens
        )
        if counter.asks(one, cost):
            assert free
            entered.append((counter.now_s, cost))
        elif free:  # what comes within a second is counted as of its end
            counter.now_s += 1
            assert counter.asks(one, cost)
            entered.append((counter.now_s, cost))


@given(STEPS, st.none() | st.integers(1, 12), st.none() | st.integers(1, 1000))
def test_who_has_waited_as_long_as_was_said_is_let_in_and_not_much_earlier(
    steps: list[tuple[float, int]], requests: int | None, tokens: int | None
) -> None:
    counter, one = Counter(), limited(requests, tokens)
    for pause_s, cost in steps:
        counter.now_s += pause_s
        if counter.asks(one, cost):
            continue
        after_s = counter.refusal.retry_after_s
        assert after_s is not None
        assert 1 <= after_s <= WINDOW_S
        for earlier_s, lets_in in ((0, True), (2, False)):
            elsewhere = counter.copy()
            elsewhere.now_s += after_s - earlier_s
            if elsewhere.now_s >= counter.now_s:
                assert elsewhere.asks(one) == lets_in


@given(STEPS)
def test_what_is_told_agrees_with_what_happens(steps: list[tuple[float, int]]) -> None:
    counter, one = Counter(), limited(requests=4, tokens=500)
    for pause_s, cost in steps:
        counter.now_s += pause_s
        match counter.enters(one):
            case Ticket() as ticket:
                ticket.spent(cost)
                told = dict(ticket.headers())
                left = int(told["x-ratelimit-remaining-requests"])
                alike = counter.copy()
                more = sum(alike.asks(one) for _ in range(10))
                assert more == (left if told["x-ratelimit-remaining-tokens"] != "0" else 0)
            case refusal:
                told = dict(refusal.headers)
                assert "0" in (
                    told["x-ratelimit-remaining-requests"],
                    told["x-ratelimit-remaining-tokens"],
                )
        for what in ("requests", "tokens"):
            anew = counter.copy()
            anew.now_s += int(told[f"x-ratelimit-reset-{what}"].removesuffix("s"))
            then = dict(anew.limits.enter(limited(10**6, 10**6)).headers())
            expected = {"requests": 10**6 - 1, "tokens": 10**6}[what]
            assert int(then[f"x-ratelimit-remaining-{what}"]) == expected


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**9)), max_size=50),
    st.integers(0, 10**10),
)
def test_a_wait_is_true_for_any_instants(steps: list[tuple[float, int]], limit: int) -> None:
    window, now_s = Window(), 0.0
    for pause_s, amount in steps:
        now_s += pause_s
        window.add(amount, now_s)
    wait_s = window.wait_s(limit, now_s)
    assert (wait_s == 0) == (window.used(now_s) < limit)
    assert (wait_s == math.inf) == (limit == 0)
    if 0 < wait_s < math.inf:
        assert wait_s <= WINDOW_S + 1e-6, "as far as numbers go"
        assert window.used(now_s + wait_s + 1e-6) < limit
