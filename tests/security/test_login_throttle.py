"""Guessing passwords: from one place, from many, at once; and nobody is locked out by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import RateLimitExceeded
from llmlb.http.access.credentials import DEVICE_COOKIE
from llmlb.http.access.passwords import AT_ONCE, BUSY_RETRY_AFTER_S, MOST_WAITING
from llmlb.http.access.throttle import (
    MOST_REMEMBERED,
    MOST_TIMES,
    PER_ADDRESS,
    PER_ADDRESS_UNDER_ATTACK,
    PER_DEVICE,
    UNDER_ATTACK,
    WINDOW_S,
    Throttle,
)
from tests.fakes.accounts import PASSWORD
from tests.fakes.asgi import Request
from tests.fakes.house import run_inline
from tests.security.town import STRANGER, Town, cookies_of, value_in

T = TypeVar("T")

WRONG = "not the password"


def at(address: str) -> dict[str, Any]:
    return {**STRANGER, "client": (address, 40_000)}


def addresses() -> Iterator[str]:
    """One after the other, each of another network."""
    return (str(IPv4Address(0x0A00_0001 + 256 * n)) for n in range(1_000_000))


class Worked:
    """Counts what is worked on in threads: each is one hash, and takes *takes_s*."""

    def __init__(self, town: Town, *, takes_s: float = 0) -> None:
        self.times, self._takes_s = 0, takes_s
        town.served.app.doors.passwords._run_in_thread = self

    async def __call__(self, sync_fn: Callable[[], T], /) -> T:
        self.times += 1
        await trio.sleep(self._takes_s)
        return await run_inline(sync_fn)


async def known_device(town: Town, name: str = "ann") -> dict[str, str]:
    """The cookie of a browser in which *name* has logged in before."""
    reply = await town.log_in(name, **at("198.51.100.77"))
    return {"cookie": f"{DEVICE_COOKIE}={value_in(cookies_of(reply)[DEVICE_COOKIE])}"}


async def besiege(town: Town, name: str = "ann") -> None:
    """Guess from everywhere, until the account counts as attacked."""
    for address, _ in zip(addresses(), range(UNDER_ATTACK), strict=False):
        assert (await town.log_in(name, WRONG, **at(address))).status == 401


def assert_held_up(reply: Request) -> int:
    """How long the next attempt has to wait."""
    assert (reply.status, reply.error["code"]) == (429, "rate_limit_exceeded")
    assert not cookies_of(reply)
    return int(reply.headers["retry-after"])


async def test_one_address_guesses_ten_times_in_a_quarter_of_an_hour(town: Town) -> None:
    worked = Worked(town)
    for _ in range(PER_ADDRESS):
        assert (await town.log_in("ann", WRONG)).status == 401
        await trio.sleep(1)

    wait_s = assert_held_up(await town.log_in("ann", WRONG))

    assert wait_s == WINDOW_S - PER_ADDRESS
    assert_held_up(await town.log_in("ann", PASSWORD))
    assert_held_up(await town.log_in("vic", PASSWORD))
    assert worked.times == PER_ADDRESS, "those that are held up cost nothing"
    await trio.sleep(wait_s - 1)
    assert_held_up(await town.log_in("ann", PASSWORD))
    await trio.sleep(1)
    assert (await town.log_in("ann", PASSWORD)).status == 200


async def test_guesses_at_many_names_count_together(town: Town) -> None:
    for number in range(PER_ADDRESS):
        assert (await town.log_in(f"user{number}", WRONG)).status == 401

    assert_held_up(await town.log_in("ann", PASSWORD))


async def test_many_guesses_at_once_each_count(town: Town) -> None:
    worked = Worked(town, takes_s=0.05)
    body = json.dumps({"username": "ann", "password": WRONG}).encode()
    requests = [
        town.served.request("POST", "/api/auth/login", body, **STRANGER) for _ in range(100)
    ]
    async with trio.open_nursery() as nursery:
        for request in requests:
            nursery.start_soon(request.run)

    assert sorted(r.status for r in requests) == [401] * PER_ADDRESS + [429] * 90
    assert worked.times == PER_ADDRESS


async def test_guesses_from_many_addresses_at_once_each_count(town: Town) -> None:
    body = json.dumps({"username": "ann", "password": WRONG}).encode()
    places = [a for a, _ in zip(addresses(), range(25), strict=False)]
    requests = [
        town.served.request("POST", "/api/auth/login", body, **at(place))
        for place in places
        for _ in range(PER_ADDRESS)
    ]
    async with trio.open_nursery() as nursery:
        for request in requests:
            nursery.start_soon(request.run)

    looked_at = sum(r.status == 401 for r in requests)
    assert looked_at <= UNDER_ATTACK + PER_ADDRESS_UNDER_ATTACK * len(places)


async def test_an_account_that_is_attacked_from_everywhere_opens_from_a_new_address(
    town: Town,
) -> None:
    await besiege(town)
    attacker = next(addresses())

    for address in ("198.51.100.1", "198.51.100.2"):
        assert (await town.log_in("ann", "mistyped", **at(address))).status == 401
        assert (await town.log_in("ann", PASSWORD, **at(address))).status == 200
    for _ in range(PER_ADDRESS_UNDER_ATTACK - 1):
        assert (await town.log_in("ann", WRONG, **at(attacker))).status == 401
    assert_held_up(await town.log_in("ann", WRONG, **at(attacker)))
    assert_held_up(await town.log_in("ann", PASSWORD, **at(attacker)))
    assert (await town.log_in("vic", PASSWORD, **at(attacker))).status == 200


async def test_a_known_device_opens_even_where_the_attacker_is(town: Town) -> None:
    device = await known_device(town)
    await besiege(town)
    for _ in range(PER_ADDRESS):
        await town.log_in("ann", WRONG)
    assert_held_up(await town.log_in("ann", PASSWORD))

    assert (await town.log_in("ann", PASSWORD, headers=device)).status == 200


async def test_a_known_device_guesses_ten_times_and_is_one_of_its_user_alone(town: Town) -> None:
    stolen, others = await known_device(town), await known_device(town, "vic")
    for _ in range(PER_DEVICE):
        assert (await town.log_in("ann", WRONG, headers=stolen)).status == 401

    assert_held_up(await town.log_in("ann", PASSWORD, headers=stolen))
    assert (await town.log_in("ann", PASSWORD)).status == 200, "it held up nobody but itself"
    for _ in range(PER_ADDRESS):
        assert (await town.log_in("ann", WRONG, headers=others)).status == 401
    assert_held_up(await town.log_in("ann", WRONG, headers=others))


@pytest.mark.parametrize("forged", ["x", "", "a.b.c", None])
async def test_a_device_that_nobody_knows_is_none(town: Town, forged: str | None) -> None:
    said = town.session("ann")[0] if forged is None else forged
    for _ in range(PER_ADDRESS):
        cookie = {"cookie": f"{DEVICE_COOKIE}={said}"}
        assert (await town.log_in("ann", WRONG, headers=cookie)).status == 401

    assert_held_up(await town.log_in("ann", WRONG, headers=cookie))


async def test_a_login_that_succeeds_is_no_failure(town: Town) -> None:
    """A script that logs in for each of its runs is no attack on itself."""
    for _ in range(2 * UNDER_ATTACK):
        assert (await town.log_in("ann", PASSWORD)).status == 200
    for _ in range(PER_ADDRESS):
        assert (await town.log_in("ann", WRONG)).status == 401


async def test_an_own_account_does_not_wash_an_address_clean(town: Town) -> None:
    guesses = 0
    for _ in range(50):
        if (await town.log_in("ann", WRONG)).status == 401:
            guesses += 1
        await town.log_in("vic", PASSWORD)

    assert guesses == PER_ADDRESS


# -- addresses that are made up


@pytest.mark.parametrize(
    "name", ["x-forwarded-for", "forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "via"]
)
async def test_a_made_up_address_is_no_new_one(town: Town, name: str) -> None:
    for number in range(PER_ADDRESS):
        said = f"for=10.9.8.{number}" if name == "forwarded" else f"10.9.8.{number}"
        assert (await town.log_in("ann", WRONG, headers={name: said})).status == 401

    assert_held_up(await town.log_in("ann", WRONG, headers={name: "10.9.9.9"}))


@pytest.mark.parametrize("settings", [{"trusted_proxies": "203.0.113.0/24"}], ids=str)
async def test_behind_a_proxy_only_what_the_proxy_has_seen_counts(town: Town) -> None:
    for number in range(PER_ADDRESS):
        chain = {"x-forwarded-for": f"10.9.8.{number}, 198.51.100.5"}
        assert (await town.log_in("ann", WRONG, headers=chain)).status == 401

    assert_held_up(
        await town.log_in("ann", WRONG, headers={"x-forwarded-for": "10.1.1.1, 198.51.100.5"})
    )
    others = {"x-forwarded-for": "198.51.100.5, 198.51.100.6"}
    assert (await town.log_in("ann", PASSWORD, headers=others)).status == 200


@pytest.mark.parametrize(
    "same",
    [
        [str(IPv6Address((0x20010DB8 << 96) + n * 0x1_0000_0001)) for n in range(11)],
        ["203.0.113.9", "::ffff:203.0.113.9"] * 6,
        ["fe80::1%eth0", "fe80::2%eth1"] * 6,
        ["", "no address"] * 6,
    ],
    ids=["a /64", "mapped", "zones", "none"],
)
async def test_addresses_that_one_host_has_count_as_one(town: Town, same: list[str]) -> None:
    statuses = [(await town.log_in("ann", WRONG, **at(address))).status for address in same[:11]]

    assert statuses == [401] * PER_ADDRESS + [429]


# -- what an answer tells


def told(reply: Request) -> tuple[int, bytes, dict[str, str]]:
    headers = {n: text for n, text in reply.headers.items() if n not in ("x-request-id", "date")}
    return reply.status, reply.body, headers


@pytest.mark.parametrize(
    "name", ["nobody", "", "ANN", " ann", "ann ", "a" * 1024, "ann\x00", "änn", "\u202eann"]
)
async def test_an_unknown_user_and_a_wrong_password_are_told_and_cost_the_same(
    town: Town, name: str
) -> None:
    worked = Worked(town)
    town.served.app.doors.passwords._nobodys = town.user("vic").password_hash  # made at the first
    answers = []
    for username in ("ann", name):
        body = json.dumps({"username": username, "password": WRONG}).encode()
        answers.append(await town("POST", "/api/auth/login", body))
        assert worked.times == len(answers)

    assert told(answers[0]) == told(answers[1])
    assert answers[0].status == 401


async def test_that_an_account_exists_is_not_told_by_how_many_guesses_it_takes(town: Town) -> None:
    for name in ("ann", "nobody"):
        await besiege(town, name)
    answers = [
        [told(await town.log_in(name, WRONG, **at(address))) for _ in range(4)]
        for name, address in (("ann", "198.51.100.1"), ("nobody", "198.51.100.2"))
    ]

    assert answers[0] == answers[1]


async def test_codes_of_invitations_are_guessed_as_slowly(town: Town) -> None:
    body = json.dumps({"invitation_code": "x", "username": "eve", "password": PASSWORD}).encode()
    for _ in range(PER_ADDRESS):
        assert (await town("POST", "/api/auth/register", body)).status == 400

    assert_held_up(await town("POST", "/api/auth/register", body))


async def test_whoever_is_held_up_keeps_what_is_open_already(town: Town) -> None:
    ann = town.by_token("ann")
    for _ in range(2 * PER_ADDRESS):
        await town.log_in("ann", WRONG)

    assert (await town("GET", "/api/users", headers=ann)).status == 200


# -- floods


async def test_a_flood_is_turned_away_and_keeps_no_known_device_out(town: Town) -> None:
    device = await known_device(town)
    Worked(town, takes_s=1.0)
    body = json.dumps({"username": "ann", "password": WRONG}).encode()
    flood = [
        town.served.request("POST", "/api/auth/login", body, **at(address))
        for address, _ in zip(addresses(), range(200), strict=False)
    ]
    for request in flood:
        town.served.begin(request)
    await town.served.scene.settle()

    new = await town.log_in("ann", PASSWORD, **at("198.51.100.1"))
    assert assert_held_up(new) == BUSY_RETRY_AFTER_S
    began_s = trio.current_time()
    assert (await town.log_in("ann", PASSWORD, headers=device)).status == 200
    assert trio.current_time() - began_s <= (MOST_WAITING + AT_ONCE) / AT_ONCE + 1
    for request in flood:
        await request.over.wait()
    assert sum(request.status == 401 for request in flood) == MOST_WAITING + AT_ONCE
    again = await town.log_in("ann", PASSWORD, **at("198.51.100.1"))
    assert again.status == 200, "what nobody looked at does not count"


def test_what_is_remembered_has_a_bound() -> None:
    throttle = Throttle(lambda: 0.0)
    for number, address in zip(range(50_000), addresses(), strict=False):
        throttle.failed(f"{number}" + "\U0001f600" * 1000, address, None)
    for _ in range(1_000):
        throttle.failed("ann", "10.0.0.1", None)

    assert len(throttle._failures) == MOST_REMEMBERED
    assert max(len(times) for times in throttle._failures.values()) <= MOST_TIMES
    assert max(len(part) for key in throttle._failures for part in key) < 100


def test_who_succeeds_takes_back_no_failures_of_others() -> None:
    throttle = Throttle(lambda: 0.0)
    for _, address in zip(range(UNDER_ATTACK), addresses(), strict=False):
        throttle.failed("ann", address, None)
    for _ in range(10):
        throttle.failed("ann", "192.0.2.1", None)
        throttle.succeeded("ann", "192.0.2.1", None)

    for _ in range(PER_ADDRESS_UNDER_ATTACK):
        throttle.refuse("ann", "192.0.2.2", None)
        throttle.failed("ann", "192.0.2.2", None)
    with pytest.raises(RateLimitExceeded):
        throttle.refuse("ann", "192.0.2.2", None)


def test_whoever_goes_on_is_not_forgotten_for_others() -> None:
    now_s = [0.0]
    throttle = Throttle(lambda: now_s[0])
    for number, address in zip(range(MOST_REMEMBERED), addresses(), strict=False):
        throttle.failed(f"user{number}", address, None)
        if number % 1_000 == 0:
            throttle.failed("ann", "192.0.2.1", None)
    with pytest.raises(RateLimitExceeded):
        throttle.refuse("ann", "192.0.2.1", None)


PLACES = st.tuples(
    st.sampled_from(["ann", "bob"]),
    st.sampled_from(["10.0.0.1", "10.0.0.2", None]),
    st.sampled_from([None, "device"]),
)


@given(
    st.lists(st.tuples(PLACES, st.sampled_from(["wrong", "right", "unseen"]), st.floats(0, 400)))
)
def test_no_order_of_attempts_gets_more_guesses(
    steps: list[tuple[tuple[str, str | None, str | None], str, float]],
) -> None:
    now_s = [0.0]
    throttle = Throttle(lambda: now_s[0])
    wrong: list[tuple[float, str | None, str | None]] = []
    waits_s: list[int] = []
    for (account, address, device), outcome, later_s in steps:
        now_s[0] += later_s
        try:
            throttle.refuse(account, address, device)
        except RateLimitExceeded as refusal:
            waits_s.append(refusal.retry_after_s or 0)
            continue
        throttle.failed(account, address, device)
        match outcome:
            case "wrong":
                wrong.append((now_s[0], address, device))
            case "right":
                throttle.succeeded(account, address, device)
            case _:
                throttle.take_back(account, address, device)
        if device is None:
            recent = [t for t, a, d in wrong if a == address and not d and t > now_s[0] - WINDOW_S]
            assert len(recent) <= PER_ADDRESS
    assert all(1 <= wait_s <= WINDOW_S for wait_s in waits_s)
