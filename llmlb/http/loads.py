"""Calls that make an endpoint load a model: they may outlive the client that asked.

To close such a call would break off the load, and the next client would begin it anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
import trio

from llmlb.accounting import Lease
from llmlb.house import House
from llmlb.http.turned_away import shutting_down
from llmlb.types import Endpoint

log = structlog.get_logger()

MOST_LEFT = 8
"""So many calls go on without a client at most, over all endpoints."""

LOOK_EVERY_S = 2.0
"""So often it is looked whether the model is in memory by now."""


@dataclass(slots=True, eq=False)
class _Load:
    """One call, and the task that makes it."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    finished: bool = False
    failure: Exception | None = None
    lease: Lease | None = None
    """Ours once the client has left."""

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            with self.scope:
                await work()
                self.finished = True
        except Exception as error:  # noqa: BLE001 - raised where the client waits, if it does
            self.failure = error
        finally:
            self.ended.set()
            if self.lease is not None:
                self.lease.release()


class Loads:
    """Owns the calls that go on without their clients. Bounded in number and in time."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._left: set[_Load] = set()

    async def carry(
        self, work: Callable[[], Awaitable[None]], lease: Lease, abandon: Callable[[], bool]
    ) -> None:
        """Do *work* under *lease*; if the caller is cancelled it may go on, lease and all.

        *abandon* is asked then whether it may; if it says so, it has seen to it that the client
        is sent nothing more. Raises what *work* raises, ShuttingDown, ActorGone.
        """
        load = _Load()
        self._house.start_soon(load.run, work)
        try:
            await load.ended.wait()
        except trio.Cancelled:
            if not load.ended.is_set() and len(self._left) < MOST_LEFT and abandon():
                self._leave(load, lease)
            else:
                load.scope.cancel()
                with trio.CancelScope(shield=True):  # to close a call takes a second at most
                    await load.ended.wait()
            raise
        self._house.suspect(lease.endpoint)  # it has the model in memory by now
        if load.failure is not None:
            raise load.failure
        if not load.finished:
            raise shutting_down()

    def _leave(self, load: _Load, lease: Lease) -> None:
        load.lease = lease.hand_over()
        load.scope.deadline = trio.current_time() + self._house.settings.load_grace_s
        log.info(
            "a load goes on without its client", endpoint=lease.endpoint.name, model=lease.model
        )
        self._left.add(load)
        self._house.start_soon(self._watch, load, lease.endpoint, lease.model)

    async def _watch(self, load: _Load, endpoint: Endpoint, model: str) -> None:
        """End *load* as soon as it has done its work, or is of no use."""
        try:
            while not load.ended.is_set():
                self._house.suspect(endpoint)
                with trio.move_on_after(LOOK_EVERY_S):
                    await load.ended.wait()
                known = self._house.registry.catalog.endpoints.get(endpoint.id)
                if known is None or not known.would_load(model) or not self._house.open:
                    load.scope.cancel()
        finally:
            self._left.discard(load)
