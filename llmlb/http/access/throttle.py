"""How fast passwords may be guessed, such that nobody can lock somebody else out by guessing."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

from llmlb.account_form import NAME_CHARS
from llmlb.errors import RateLimitExceeded

WINDOW_S = 900.0
PER_ADDRESS = 10
"""Failures within the window, whatever the accounts."""
PER_DEVICE = 10
"""The same for a device from which the account's own user has logged in before."""
UNDER_ATTACK = 30
"""So many failures of one account within the window, from anywhere, mean that it is attacked."""
PER_ADDRESS_UNDER_ATTACK = 2
"""What an address may then fail at that account. A new address always has these, so that the user
comes in from anywhere but where the attacker is, and from a known device even from there."""

MOST_TIMES = 2 * UNDER_ATTACK
"""Of each. What is taken back must not make an attack look like none."""

MOST_REMEMBERED = 20_000
"""Addresses, devices and accounts. The longest quiet ones are forgotten first."""


@dataclass(slots=True)
class Throttle:
    """Owns the failures of the last quarter of an hour.

    A sliding window per address, per device and per account. Only an address or a device is
    ever refused, never an account as such: to refuse that would let anybody lock its user out.
    """

    clock: Callable[[], float]
    """Monotonic seconds."""
    _failures: OrderedDict[tuple[str, ...], deque[float]] = field(default_factory=OrderedDict)

    def refuse(self, account: str, address: str | None, device: str | None) -> None:
        """Raise RateLimitExceeded if this one has to wait before the next attempt."""
        limits: list[tuple[tuple[str, ...], int]]
        if device is not None:
            limits = [(("device", device), PER_DEVICE)]
        else:
            by_address, by_account, by_pair = _keys(account, address)
            limits = [(by_address, PER_ADDRESS)]
            if self._count(by_account) >= UNDER_ATTACK:
                limits.append((by_pair, PER_ADDRESS_UNDER_ATTACK))
        wait_s = max(self._wait_s(key, limit) for key, limit in limits)
        if wait_s > 0:
            raise RateLimitExceeded(
                "Too many failed attempts to log in: wait before the next one.",
                retry_after_s=math.ceil(wait_s),
            )

    def failed(self, account: str, address: str | None, device: str | None) -> None:
        """The password was wrong, or there is no such account."""
        for key in _keys(account, address) if device is None else (("device", device),):
            self._add(key)

    def take_back(self, account: str, address: str | None, device: str | None) -> None:
        """What was just told to have failed has not: it was right, or nobody has looked."""
        for key in _keys(account, address) if device is None else (("device", device),):
            times = self._failures.get(key)
            if times:
                times.pop()
            if not times:
                self._failures.pop(key, None)

    def succeeded(self, account: str, address: str | None, device: str | None) -> None:
        """Whoever mistyped and then got it right begins anew; the address as a whole does not.

        Else an attacker who has an account could wash the address clean by logging in.
        """
        self.take_back(account, address, device)
        by_pair = _keys(account, address)[2]
        for key in (by_pair,) if device is None else (by_pair, ("device", device)):
            self._failures.pop(key, None)

    def _add(self, key: tuple[str, ...]) -> None:
        times = self._failures.setdefault(key, deque(maxlen=MOST_TIMES))
        times.append(self.clock())
        self._failures.move_to_end(key)
        while len(self._failures) > MOST_REMEMBERED:
            self._failures.popitem(last=False)

    def _recent(self, key: tuple[str, ...]) -> deque[float]:
        times = self._failures.get(key)
        if times is None:
            return deque()
        began_s = self.clock() - WINDOW_S
        while times and times[0] <= began_s:
            times.popleft()
        return times

    def _count(self, key: tuple[str, ...]) -> int:
        return len(self._recent(key))

    def _wait_s(self, key: tuple[str, ...], limit: int) -> float:
        times = self._recent(key)
        if len(times) < limit:
            return 0.0
        return times[len(times) - limit] + WINDOW_S - self.clock()


def _keys(account: str, address: str | None) -> tuple[tuple[str, ...], ...]:
    """What a failure counts for: the address, the account, and the two of them together."""
    name, group = account[: NAME_CHARS + 1], group_of(address)  # no account has a longer name
    return ("address", group), ("account", name), ("pair", group, name)


def group_of(address: str | None) -> str:
    """What counts as one place: an address of IPv4, or the /64 of IPv6 that one host has."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return address or "unknown"
    if isinstance(found, IPv6Address):
        return str(ip_network((found, 64), strict=False))
    return str(found)
