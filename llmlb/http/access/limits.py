"""How much a key may ask for: requests and tokens a minute, and requests at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from llmlb.accounts import ApiKey, KeyId, KeyLimits
from llmlb.errors import RateLimitExceeded
from llmlb.http.downstream import Headers

if TYPE_CHECKING:
    from typing import Self

WINDOW_S = 60.0
_GRAIN_S = 1.0
"""What comes within a second is counted together, as of its end: at most 61 entries are kept."""

_NO_LIMITS = KeyLimits()

MOST_IDLE = 1_000
"""Budgets of keys that may not be used any more, before they are looked through."""


@dataclass(slots=True)
class Window:
    """How much of something there was in the last minute: a window that slides."""

    _entries: deque[list[float]] = field(default_factory=deque)
    """Instants of the first and the latest of each grain, and how much."""

    def used(self, now_s: float) -> int:
        """How much counts now."""
        while self._entries and self._entries[0][1] + WINDOW_S <= now_s:
            self._entries.popleft()
        return int(sum(entry[2] for entry in self._entries))

    def add(self, amount: int, now_s: float) -> None:
        if self._entries and now_s - self._entries[-1][0] < _GRAIN_S:
            self._entries[-1][1] = now_s
            self._entries[-1][2] += amount
        else:
            self._entries.append([now_s, now_s, amount])

    def wait_s(self, limit: int, now_s: float) -> float:
        """How long until less than *limit* counts; infinite for a limit of 0."""
        over = self.used(now_s) - limit
        if over < 0:
            return 0.0
        for _, latest_s, amount in self._entries:
            over -= int(amount)
            if over < 0:
                return latest_s + WINDOW_S - now_s
        return math.inf

    def empty_in_s(self, now_s: float) -> float:
        """How long until nothing counts any more."""
        self.used(now_s)
        return self._entries[-1][1] + WINDOW_S - now_s if self._entries else 0.0


@dataclass(slots=True)
class _Budget:
    """What one key has used of late, and what it is doing."""

    requests: Window = field(default_factory=Window)
    tokens: Window = field(default_factory=Window)
    live: set[Ticket] = field(default_factory=set)

    def idle(self, now_s: float) -> bool:
        return not (self.live or self.requests.used(now_s) or self.tokens.used(now_s))


@dataclass(slots=True, eq=False)
class Ticket:
    """One request's place within the limits of its key; a context manager."""

    _limits: KeyLimits
    _budget: _Budget | None
    _clock: Callable[[], float]

    def spent(self, tokens: int) -> None:
        """The request has cost so many tokens."""
        if self._budget is not None and tokens > 0:
            self._budget.tokens.add(tokens, self._clock())

    def headers(self) -> Headers:
        """What the client is told of its limits, in OpenAI's words."""
        if self._budget is None:
            return ()
        return _headers(self._limits, self._budget, self._clock())

    def __enter__(self) -> Self:
        if self._budget is not None:
            self._budget.live.add(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._budget is not None:
            self._budget.live.discard(self)


class Limits:
    """Owns what keys with limits have used in the last minute."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """*clock* tells monotonic seconds."""
        self._clock = clock
        self._budgets: dict[KeyId, _Budget] = {}

    def enter(self, key: ApiKey | None) -> Ticket:
        """A ticket for one more request of *key*, to be entered at once.

        Raises RateLimitExceeded, which says when the next one may come. Tokens are known only
        when they are spent: requests that run at the same time may go beyond the limit together,
        and it then takes as much longer until the next one may begin.
        """
        if key is None or key.limits == _NO_LIMITS:
            return Ticket(_NO_LIMITS, None, self._clock)
        now_s, limits = self._clock(), key.limits
        budget = self._budget_of(key.id, now_s)
        told = _headers(limits, budget, now_s)
        if limits.max_concurrency is not None and len(budget.live) >= limits.max_concurrency:
            raise RateLimitExceeded(
                f"The API key may have {limits.max_concurrency} requests at once.",
                retry_after_s=1,
                headers=told,
            )
        # Both, for whoever has waited for the one must not find the other in the way.
        waits_s = {
            f"{limit} {what}": window.wait_s(limit, now_s)
            for limit, window, what in (
                (limits.requests_per_minute, budget.requests, "requests"),
                (limits.tokens_per_minute, budget.tokens, "tokens"),
            )
            if limit is not None
        }
        wait_s = max(waits_s.values(), default=0.0)
        if wait_s > 0:
            allowed = max(waits_s, key=lambda allowed: waits_s[allowed])
            raise RateLimitExceeded(
                f"The API key may use {allowed} per minute.",
                retry_after_s=math.ceil(min(wait_s, WINDOW_S)),
                headers=told,
            )
        budget.requests.add(1, now_s)
        return Ticket(limits, budget, self._clock)

    def _budget_of(self, key_id: KeyId, now_s: float) -> _Budget:
        if key_id not in self._budgets and len(self._budgets) >= MOST_IDLE:
            self._budgets = {k: b for k, b in self._budgets.items() if not b.idle(now_s)}
        return self._budgets.setdefault(key_id, _Budget())


def _headers(limits: KeyLimits, budget: _Budget, now_s: float) -> Headers:
    """Limit, what remains of it, and in how long all of it will again."""
    told: list[tuple[str, str]] = []
    for limit, window, what in (
        (limits.requests_per_minute, budget.requests, "requests"),
        (limits.tokens_per_minute, budget.tokens, "tokens"),
    ):
        if limit is not None:
            left = max(0, limit - window.used(now_s))
            told += [
                (f"x-ratelimit-limit-{what}", str(limit)),
                (f"x-ratelimit-remaining-{what}", str(left)),
                (f"x-ratelimit-reset-{what}", f"{math.ceil(window.empty_in_s(now_s))}s"),
            ]
    return tuple(told)
