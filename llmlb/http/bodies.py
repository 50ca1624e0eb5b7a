"""How many bytes of request bodies are held in memory at once, and who waits for room."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import trio

from llmlb.errors import Overloaded


@dataclass(slots=True)
class BodyBudget:
    """Owns the count of body bytes in memory, over all requests, and the line for it."""

    limit_bytes: int
    held_bytes: int = 0
    _line: deque[tuple[int, trio.Event]] = field(default_factory=deque)

    def take(self, n_bytes: int) -> bool:
        """Whether *n_bytes* more may be held; they count from now on if so.

        Who fits at once does not stand behind larger ones that wait.
        """
        if self.held_bytes + n_bytes > self.limit_bytes:
            return False
        self.held_bytes += n_bytes
        return True

    def give_back(self, n_bytes: int) -> None:
        self.held_bytes -= n_bytes
        while self._line and self.take(self._line[0][0]):
            self._line.popleft()[1].set()

    async def wait(self, n_bytes: int) -> None:
        """Return once *n_bytes* more are held, first come, first served. Cancel to give up.

        Raises Overloaded if they never can be.
        """
        if n_bytes > self.limit_bytes:
            raise overloaded()
        if not self._line and self.take(n_bytes):
            return
        place = (n_bytes, trio.Event())
        self._line.append(place)
        try:
            await place[1].wait()
        except trio.Cancelled:
            if place[1].is_set():
                self.give_back(n_bytes)
            else:
                self._line.remove(place)
                self.give_back(0)  # whoever stood behind it may fit
            raise


def overloaded() -> Overloaded:
    """For a body that there is no room for."""
    return Overloaded(
        "Too many request bodies are being held at once; try again in a moment.", retry_after_s=1
    )
