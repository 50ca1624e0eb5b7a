"""How late is whatever is due: the lag of the event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from prometheus_client import CollectorRegistry, Histogram

EVERY_S = 1.0

_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopLag:
    """Owns the record of how much too long one sleep after the other took.

    A sleep a second costs next to nothing. An instrument of Trio's would see every step, and
    would make every step slower for it.
    """

    def __init__(
        self, registry: CollectorRegistry, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._clock = clock
        self._lag = Histogram(
            "llmlb_event_loop_lag_seconds",
            "How late a task came to run that was due, looked at once a second.",
            buckets=_LAG_S,
            registry=registry,
        )

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look at it until the end of the block."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            yield
            nursery.cancel_scope.cancel()

    async def _watch(self) -> None:
        while True:
            due_s = self._clock() + EVERY_S
            await trio.sleep(EVERY_S)
            self._lag.observe(max(0.0, self._clock() - due_s))
