"""How long clients of the lane may take, seen to by one task for all of them."""

from __future__ import annotations

import math
from typing import Protocol

import trio

LOOK_EVERY_S = 1.0
"""A timer per request would cost more than all that a second's delay could."""


class Timed(Protocol):
    """A connection that may take too long."""

    def look(self, now_s: float, *, stopping: bool) -> None:
        """End it, if the client has taken too long, or if it idles while the server is stopping."""
        ...


class LaneClock:
    """Owns the set of connections, and looks at each of them once a second."""

    def __init__(self) -> None:
        self._connections: set[Timed] = set()
        self._any = trio.Event()
        self.stopping = False
        """The server stops."""
        self.now_s = -math.inf
        """When they were last looked at: good enough to tell how long something lasts."""

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: Timed) -> None:
        """Look at it from now on."""
        if not self._connections:
            self.now_s = trio.current_time()
            self._any.set()
        self._connections.add(connection)

    def discard(self, connection: Timed) -> None:
        """It has ended."""
        self._connections.discard(connection)

    def stop_idle(self) -> None:
        """The server stops: whoever is asking nothing has nothing to wait for, now or later."""
        self.stopping = True
        self._look()

    async def run(self) -> None:
        """Look, until cancelled; while there is no connection, nothing runs."""
        while True:
            await self._any.wait()
            await trio.sleep(LOOK_EVERY_S)
            self._look()
            if not self._connections:
                self._any = trio.Event()

    def _look(self) -> None:
        self.now_s = trio.current_time()
        for connection in tuple(self._connections):
            connection.look(self.now_s, stopping=self.stopping)
